//! What a person should see first: each thing that does not work as a sentence, with its next step. Made from a status report,
//! so that the page, the terminal and scripts say the same.

use std::time::{Duration, SystemTime};

use super::report::{Attention, CredentialStatus, RefusedHost, StatusReport, UpstreamStatus};

/// What is older is history.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// A failure after which requests have been answered.
const RECOVERED: Duration = Duration::from_secs(60);

const FAILING: &str = "failing";
const WARNING: &str = "warning";

/// The worst first.
pub(super) fn of(report: &StatusReport, now: SystemTime) -> Vec<Attention> {
    let mut all: Vec<Attention> = report.credentials.iter().flat_map(credential).collect();
    all.extend(reload(report));
    all.extend(waiting(report));
    all.extend(report.upstreams.iter().filter_map(|upstream| failure(upstream, now)));
    all.extend(cache(report));
    all.extend(report.upstreams.iter().filter_map(|upstream| tunnel(upstream, now)));
    all.extend(hosts(report, now));
    all.sort_by_key(|one| one.level != FAILING);
    all
}

fn credential(one: &CredentialStatus) -> Vec<Attention> {
    let about = |level, sentence: &str, next_step: String| Attention {
        level,
        about: "credential".into(),
        name: Some(one.name.clone()),
        sentence: sentence.to_owned(),
        next_step,
        at: one.last_refresh_at.clone(),
    };
    let failed = one.last_error.as_ref().map(|error| {
        // While the token before it is valid, no request fails.
        let level = if one.usable { WARNING } else { FAILING };
        let said = one.remedy.as_ref().and_then(|remedy| error.strip_suffix(remedy.as_str()));
        let sentence = said.map_or(error.as_str(), |said| said.trim_end_matches(['.', ';', ' ']));
        about(level.into(), sentence, one.remedy.clone().unwrap_or_else(|| "attache check --live".to_owned()))
    });
    let narrowed = one.missing_scope.as_ref().map(|missing| {
        let sentence = format!("the authorization server did not grant {missing}");
        about(WARNING.into(), &sentence, "allow the client this scope there, or take it out of `scope`".to_owned())
    });
    failed.into_iter().chain(narrowed).collect()
}

fn reload(report: &StatusReport) -> Option<Attention> {
    // That it was not taken is told as what it is.
    let newest = report.reloads.first().filter(|reload| !reload.ok && report.waiting_file.is_none())?;
    let more = newest.problems.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let first = newest.problems.first().map_or("", String::as_str);
    Some(Attention {
        level: WARNING.into(),
        about: "configuration".into(),
        name: None,
        sentence: format!("the configuration was not taken, the old one stays: {first}{more}"),
        next_step: "mend the file, then attache check".to_owned(),
        at: Some(newest.at.clone()),
    })
}

fn waiting(report: &StatusReport) -> Option<Attention> {
    let waiting = report.waiting_file.as_ref()?;
    Some(Attention {
        level: WARNING.into(),
        about: "configuration".into(),
        name: None,
        sentence: format!("the changed file waits: {}", waiting.because.join(", ")),
        next_step: waiting.next_step.clone(),
        at: Some(waiting.since.clone()),
    })
}

fn failure(upstream: &UpstreamStatus, now: SystemTime) -> Option<Attention> {
    let failure = upstream.last_failure.as_ref()?;
    let limit = if failure.recovered { RECOVERED } else { RECENT };
    if !is_within(&failure.at, limit, now) {
        return None;
    }
    let since = if failure.recovered { "; later ones were answered" } else { "" };
    Some(Attention {
        level: if failure.recovered { WARNING } else { FAILING }.into(),
        about: "upstream".into(),
        name: Some(upstream.name.clone()),
        sentence: format!("a request was answered {}: {}{since}", failure.status, failure.sentence),
        next_step: "attache check --live".to_owned(),
        at: Some(failure.at.clone()),
    })
}

fn is_within(at: &str, limit: Duration, now: SystemTime) -> bool {
    let age = humantime::parse_rfc3339(at).ok().map(|at| now.duration_since(at).unwrap_or_default());
    age.is_some_and(|age| age <= limit)
}

fn cache(report: &StatusReport) -> Option<Attention> {
    let cache = report.cache.as_ref().filter(|cache| cache.state != "connected")?;
    let what = if cache.state == "away" { "is away, so each replica asks for itself" } else { "refuses writes" };
    let why = cache.last_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    Some(Attention {
        level: WARNING.into(),
        about: "cache".into(),
        name: None,
        sentence: format!("the shared cache {what}{why}"),
        next_step: "attache check --live".to_owned(),
        at: Some(cache.since.clone()),
    })
}

fn tunnel(upstream: &UpstreamStatus, now: SystemTime) -> Option<Attention> {
    let at = upstream.last_unread_tunnel.as_ref().filter(|at| is_within(at, RECENT, now))?;
    Some(Attention {
        level: WARNING.into(),
        about: "upstream".into(),
        name: Some(upstream.name.clone()),
        sentence: "a tunnel passed unread, without a token: TLS inside, and no local CA opens it".to_owned(),
        next_step: "attache ca init and [intercept], or let the program ask for http://".to_owned(),
        at: Some(at.clone()),
    })
}

fn hosts(report: &StatusReport, now: SystemTime) -> Option<Attention> {
    let is_told = |newest: &&RefusedHost| newest.refused && is_within(&newest.last, RECENT, now);
    let newest = report.refused_hosts.first().filter(is_told)?;
    let count: u64 = report.refused_hosts.iter().map(|host| host.count).sum();
    let requests = if count == 1 { "1 request".to_owned() } else { format!("{count} requests") };
    Some(Attention {
        level: WARNING.into(),
        about: "hosts".into(),
        name: None,
        sentence: format!("{requests} refused, since no upstream covers the host; the last one was {}", newest.origin),
        next_step: format!(
            "add [upstreams.NAME] with origin = \"{}\", or set [forward] unmatched = \"pass\"",
            newest.origin
        ),
        at: Some(newest.last.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(document: &str) -> Vec<(String, String, String)> {
        let report: StatusReport = serde_json::from_str(document).unwrap();
        let now = humantime::parse_rfc3339("2026-01-01T00:10:00Z").unwrap();
        of(&report, now)
            .into_iter()
            .map(|one| (format!("{} {}", one.level, one.about), one.sentence, one.next_step))
            .collect()
    }

    #[test]
    fn what_fails_requests_comes_before_what_may() {
        let all = told(
            r#"{"version":"1","credentials":[{"name":"a","state":"failed","generation":0,"last_error":"h refuses; check the port","remedy":"check the port"}],
            "upstreams":[{"name":"api","origin":"https://a.test","credential":"a","last_unread_tunnel":"2026-01-01T00:01:00Z"}],
            "refused_hosts":[{"origin":"https://x.test","count":3,"listener":"proxy","last":"2026-01-01T00:00:00Z","refused":true}],
            "reloads":[{"at":"2026-01-01T00:00:00Z","cause":"file","ok":false,"changes":[],"problems":["p:1:1: wrong","p:2:1: too"]}]}"#,
        );
        let first = |index: usize| (all[index].0.as_str(), all[index].1.as_str());
        assert_eq!(first(0), ("failing credential", "h refuses"));
        assert_eq!(all[0].2, "check the port");
        assert_eq!(first(1).0, "warning configuration");
        assert!(all[1].1.ends_with("p:1:1: wrong (and 1 more)"), "{all:?}");
        assert!(all[2].1.starts_with("a tunnel passed unread"), "{all:?}");
        assert!(
            all[3].1.starts_with("3 requests refused") && all[3].2.contains("origin = \"https://x.test\""),
            "{all:?}"
        );
    }

    #[test]
    fn a_file_that_waits_is_told_once() {
        let all = told(
            r#"{"version":"1","waiting_file":{"since":"2026-01-01T00:00:00Z","because":["credential a is new"],"next_step":"attache reload"},
            "reloads":[{"at":"2026-01-01T00:00:00Z","cause":"file","ok":false,"changes":[],"problems":["it waits"]}]}"#,
        );
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(
            (all[0].1.as_str(), all[0].2.as_str()),
            ("the changed file waits: credential a is new", "attache reload")
        );
    }

    #[test]
    fn an_old_failure_of_an_upstream_is_not_told_and_nothing_is_told_of_a_sound_one() {
        let at = |at: &str, recovered: bool| {
            told(&format!(
                r#"{{"version":"1","upstreams":[{{"name":"api","origin":"https://a.test","credential":null,
                "last_failure":{{"at":"{at}","status":502,"sentence":"it is gone","recovered":{recovered}}}}}]}}"#
            ))
        };
        assert_eq!(at("2026-01-01T00:05:00Z", false)[0].1, "a request was answered 502: it is gone");
        assert!(at("2025-12-31T23:00:00Z", false).is_empty());
        assert!(at("2026-01-01T00:05:00Z", true).is_empty(), "it is over");
        assert!(at("2026-01-01T00:09:30Z", true)[0].0.starts_with("warning"));
    }
}
