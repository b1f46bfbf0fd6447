//! A status report as a person reads it on a terminal.

use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};

use super::attention::{attention, refused};
use super::sparkline::sparkline;
use super::text::clean;
use crate::admin::{
    CacheStatus, Counts, CredentialStatus, HistoryReport, Latency, ListenerStatus, Reload, SharedStatus, StatusReport,
    UpstreamStatus,
};
use crate::cli::output::{BOLD, counted, span};

/// Cells of the bar of a token's remaining life.
const BAR_CELLS: u64 = 20;

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// The whole report, ending in a line end. `now` is this machine's clock: what the bars are measured by.
pub(super) fn render(report: &StatusReport, history: Option<&HistoryReport>, place: &str, now: SystemTime) -> String {
    let mut out = format!("{BOLD}attache {}{BOLD:#} at {}\n", clean(&report.version), clean(place));
    if report.stopping {
        out += &format!("{YELLOW}stopping{YELLOW:#}  callers have to go elsewhere, requests in progress may finish\n");
    }
    if let Some(cache) = &report.cache {
        out += &format!("cache  {}\n", sharing(cache, now));
    }
    if !report.attention.is_empty() {
        section(&mut out, "needs attention", report.attention.len());
        out += &attention(&report.attention);
    }
    section(&mut out, "credentials", report.credentials.len());
    let width = widest(report.credentials.iter().map(|credential| credential.name.as_str()));
    let from: Vec<_> = report.credentials.iter().map(|credential| credential.shared.as_ref().map(origin)).collect();
    let column = widest(from.iter().flatten().map(String::as_str));
    for (credential, from) in report.credentials.iter().zip(from) {
        let from = from.map_or_else(String::new, |from| format!("{from:<column$}  "));
        let is_told = report.attention.iter().any(|one| one.is_about_credential(&credential.name));
        render_credential(credential, &from, &mut out, width, now, is_told);
    }
    section(&mut out, "upstreams", report.upstreams.len());
    let name = widest(report.upstreams.iter().map(|upstream| upstream.name.as_str()));
    let origin = widest(report.upstreams.iter().map(|upstream| upstream.origin.as_str()));
    for upstream in &report.upstreams {
        let with = upstream
            .credential
            .as_ref()
            .map_or_else(|| "no credential".to_owned(), |with| format!("with {}", clean(with)));
        let open = counted(upstream.connections, "connection");
        out += &format!("  {:<name$}  {:<origin$}  {with}, {open}\n", clean(&upstream.name), clean(&upstream.origin));
        if let Some(line) = served(upstream) {
            out += &format!("  {:<name$}  {DIM}{line}{DIM:#}\n", "");
        }
        let samples =
            history.and_then(|history| history.upstreams.iter().find(|samples| samples.name == upstream.name));
        if let Some(line) = samples.zip(history).and_then(|(samples, history)| sparkline(samples, history.interval)) {
            out += &format!("  {:<name$}  {line}\n", "");
        }
    }
    out += &refused(&report.refused_hosts);
    section(&mut out, "listeners", report.listeners.len());
    let name = widest(report.listeners.iter().map(|listener| listener.name.as_str()));
    for listener in &report.listeners {
        let (called, mode, address) = (clean(&listener.name), clean(&listener.mode), clean(&listener.address));
        out += &format!("  {called:<name$}  {mode:<7}  {address}\n");
        if let Some(line) = without_token(listener) {
            out += &format!("  {:<name$}  {YELLOW}{line}{YELLOW:#}\n", "");
        }
    }
    if let Some(reload) = report.reloads.first() {
        section(&mut out, "last reload", 1);
        out += &render_reload(reload);
    }
    out
}

/// What an upstream was asked, how long that took, and the outcome of refused tokens; nothing before the first request.
fn served(upstream: &UpstreamStatus) -> Option<String> {
    let requests = nonzero_counts(&upstream.requests)?;
    let latency = upstream.latency_ms.as_ref().map(|Latency { p50, p95, p99 }| {
        format!("; p50 ≤ {}, p95 ≤ {}, p99 ≤ {}", millis(*p50), millis(*p95), millis(*p99))
    });
    let refused = nonzero_counts(&upstream.unauthorized).map(|refused| format!("; refused tokens: {refused}"));
    Some(format!("{requests}{}{}", latency.unwrap_or_default(), refused.unwrap_or_default()))
}

/// What could get no token at a listener, and why.
fn without_token(listener: &ListenerStatus) -> Option<String> {
    let unread = listener.tunnels.get("false").copied().unwrap_or(0);
    let tunnels = (unread > 0)
        .then(|| format!("{} passed unread: TLS inside, and no local CA opens it", counted(unread, "tunnel")));
    let denials = (listener.would_deny > 0)
        .then(|| format!("{} to hosts that no upstream covers", counted(listener.would_deny, "request")));
    let all: Vec<String> = tunnels.into_iter().chain(denials).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn render_reload(reload: &Reload) -> String {
    let (at, cause) = (clean(&reload.at), reload.cause);
    let lines = if reload.ok { &reload.changes } else { &reload.problems };
    let nothing = if lines.is_empty() { ": nothing is different" } else { "" };
    let (colour, word) = if reload.ok { (GREEN, "done") } else { (RED, "refused, the old configuration stays") };
    let mut out = format!("  {at}  {cause}  {colour}{word}{colour:#}{nothing}\n");
    for line in lines {
        out += &format!("    {}\n", clean(line));
    }
    out
}

/// What was counted at all: `injected 5, failed 1`.
fn nonzero_counts(counts: &Counts) -> Option<String> {
    let counted = counts.iter().filter(|(_, count)| **count > 0);
    let all: Vec<String> = counted.map(|(name, count)| format!("{} {count}", clean(name).replace('_', " "))).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn millis(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

fn section(out: &mut String, title: &str, entries: usize) {
    let none = if entries == 0 { ": none" } else { "" };
    out.push_str(&format!("\n{BOLD}{title}{BOLD:#}{none}\n"));
}

/// `valkey 8.1.8 · 12 replicas · 0.6 ms`
fn sharing(cache: &CacheStatus, now: SystemTime) -> String {
    let since = ago(&cache.since, now).map_or_else(String::new, |since| format!(" {}", span(since.as_secs())));
    let server = clean(cache.server.as_deref().unwrap_or(&cache.address));
    let replicas = counted(cache.replicas, "replica");
    match &*cache.state {
        "connected" => {
            let took = cache.latency_ms.map_or_else(String::new, |took| format!(" · {}", millis(took)));
            format!("{server} · {replicas}{took}")
        }
        "away" => {
            let why = cache.last_error.as_ref().map_or_else(String::new, |why| format!("\n       {}", clean(why)));
            format!("{RED}away{since}, each asks for itself{RED:#}{why}")
        }
        state => format!("{server} · {replicas} · {YELLOW}{}{since}{YELLOW:#}", clean(state).replace('_', " ")),
    }
}

/// How this replica came by a token.
fn origin(shared: &SharedStatus) -> String {
    match (shared.origin.as_deref(), shared.by.as_deref()) {
        _ if shared.why_not.is_some() => "not shared".to_owned(),
        (Some("adopted"), Some(by)) => format!("adopted from {}", clean(by)),
        (Some(origin), _) => clean(origin),
        (None, _) => "-".to_owned(),
    }
}

fn render_credential(
    credential: &CredentialStatus,
    from: &str,
    out: &mut String,
    width: usize,
    now: SystemTime,
    is_told: bool,
) {
    let colour = match &*credential.state {
        "ready" => GREEN,
        "refreshing" => YELLOW,
        "failed" => RED,
        _ => DIM,
    };
    let state = clean(&credential.state);
    let life = life(credential, now);
    let required = if credential.required { ", required" } else { "" };
    out.push_str(&format!(
        "  {:<width$}  {colour}{state:<10}{colour:#}  {life}  {from}generation {}{required}\n",
        clean(&credential.name),
        credential.generation
    ));
    let indent = " ".repeat(width + 4);
    let mut more = |line: String| out.push_str(&format!("{indent}{line}\n"));
    if let Some(line) = last_refresh(credential, now) {
        more(format!("{DIM}{line}{DIM:#}"));
    }
    if let Some(why) = credential.shared.as_ref().and_then(|shared| shared.why_not.as_ref()) {
        more(format!("{DIM}not shared: {}{DIM:#}", clean(why)));
    }
    if let Some(secret) = &credential.secret {
        more(format!("{DIM}the server takes {}{DIM:#}", clean(secret)));
    }
    if let Some(missing) = &credential.missing_scope {
        more(format!("{YELLOW}granted without the scope {}{YELLOW:#}", clean(missing)));
    }
    if let Some(error) = credential.last_error.as_ref().filter(|_| !is_told) {
        let remedy = credential.remedy.as_deref();
        // It ends with the remedy, which has a line of its own here.
        let what = remedy.and_then(|remedy| error.strip_suffix(remedy)?.strip_suffix("; ")).unwrap_or(error);
        more(format!("{RED}last error{RED:#}  {}", clean(what)));
        more(format!("next step   {}", clean(remedy.unwrap_or("attache check --live tells the likely cause"))));
    }
}

/// A bar and the time that is left; both of one width, so that the columns stand.
fn life(credential: &CredentialStatus, now: SystemTime) -> String {
    let Some(left) = credential.expires_in else {
        let held = if credential.state == "ready" { "does not expire" } else { "nothing held" };
        return format!("{DIM}{held:<31}{DIM:#}");
    };
    let age = credential.fetched_at.as_deref().and_then(|at| ago(at, now)).map_or(0, |age| age.as_secs());
    let whole = left.saturating_add(age).max(1);
    // Rounded up: a token that lives has a cell.
    let cells = left.saturating_mul(BAR_CELLS).div_ceil(whole).min(BAR_CELLS);
    let colour = if cells * 5 > BAR_CELLS { GREEN } else { YELLOW };
    let bar = |cells: u64, sign: &str| sign.repeat(usize::try_from(cells).unwrap_or_default());
    format!("{colour}{}{colour:#}{DIM}{}{DIM:#}  {:>9}", bar(cells, "█"), bar(BAR_CELLS - cells, "░"), span(left))
}

fn last_refresh(credential: &CredentialStatus, now: SystemTime) -> Option<String> {
    let since = ago(credential.last_refresh_at.as_deref()?, now)?;
    let took = credential.last_refresh_took_ms.map_or_else(String::new, |took| format!(", took {took} ms"));
    Some(format!("last token request {} ago{took}", span(since.as_secs())))
}

fn ago(written: &str, now: SystemTime) -> Option<Duration> {
    let at = humantime::parse_rfc3339_weak(written).ok()?;
    Some(now.duration_since(at).unwrap_or_default())
}

fn widest<'a>(words: impl Iterator<Item = &'a str>) -> usize {
    words.map(|word| word.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(credential: &str) -> String {
        let document = format!(
            r#"{{"version":"1.2.3","new":1,"credentials":[{credential}],"listeners":[{{"name":"proxy","address":"127.0.0.1:1","mode":"forward"}}],
            "upstreams":[{{"name":"api","origin":"https://api.test","credential":"key","connections":1}},{{"name":"open","origin":"https://o.test"}}]}}"#
        );
        let report: StatusReport = serde_json::from_str(&document).unwrap();
        let now = humantime::parse_rfc3339("2026-11-24T10:10:00Z").unwrap();
        anstream::adapter::strip_str(&render(&report, None, "unix:/a.sock", now)).to_string()
    }

    #[test]
    fn everything_that_runs_is_shown() {
        let shown = rendered(
            r#"{"name":"key","state":"ready","generation":3,"expires_in":2700,"fetched_at":"2026-11-24T09:55:00Z",
                "last_refresh_at":"2026-11-24T09:55:00Z","last_refresh_took_ms":12,"required":true}"#,
        );
        assert_eq!(
            shown,
            "attache 1.2.3 at unix:/a.sock\n\ncredentials\n\
             \x20 key  ready       ███████████████░░░░░     45 min  generation 3, required\n\
             \x20      last token request 15 min ago, took 12 ms\n\
             \nupstreams\n  api   https://api.test  with key, 1 connection\n  open  https://o.test    no credential, 0 connections\n\
             \nlisteners\n  proxy  forward  127.0.0.1:1\n"
        );
    }

    #[test]
    fn an_error_comes_with_its_next_step() {
        let failed = |error: &str| {
            rendered(&format!(r#"{{"name":"key","state":"failed","generation":0,"last_error":"{error}"}}"#))
        };
        let shown = failed("h:9 refuses connections; check the port");
        assert!(shown.contains("last error  h:9 refuses connections; check the port\n"), "{shown}");
        assert!(shown.contains("next step   attache check --live") && shown.contains("nothing held"), "{shown}");
        assert!(!failed("a\\u001b[2Jb").contains('\u{1b}'));
        // The remedy that the server gives with it is the next step, and is not said twice.
        let shown = failed("h refuses connections; check the port\",\"remedy\":\"check the port");
        assert!(
            shown.contains("last error  h refuses connections\n") && shown.contains("next step   check the port\n")
        );
    }

    #[test]
    fn a_token_that_lives_has_a_cell_and_a_fixed_one_no_bar() {
        let shown = rendered(
            r#"{"name":"key","state":"ready","generation":1,"expires_in":1,"fetched_at":"2026-11-24T09:00:00Z"}"#,
        );
        assert!(shown.contains("█░░░░░░░░░░░░░░░░░░░        1 s"), "{shown}");
        assert!(rendered(r#"{"name":"k","state":"ready","generation":1}"#).contains("does not expire"));
    }

    #[test]
    fn the_shared_cache_has_a_line_and_each_credential_says_whose_token_it_has() {
        let of = |cache: &str| {
            let document = format!(
                r#"{{"version":"1","cache":{{"since":"2026-11-24T10:00:00Z","address":"c:6379","replicas":12,{cache}}},"credentials":[
                {{"name":"a","state":"empty","generation":0,"shared":{{"generation":12,"origin":"adopted","by":"orders-x2","why_not":null}}}},
                {{"name":"b","state":"empty","generation":0,"shared":{{"why_not":"`shared` is false"}}}}]}}"#
            );
            let report: StatusReport = serde_json::from_str(&document).unwrap();
            let now = humantime::parse_rfc3339("2026-11-24T10:03:00Z").unwrap();
            anstream::adapter::strip_str(&render(&report, None, "here", now)).to_string()
        };
        let shown = of(r#""state":"connected","server":"valkey 8.1.8","latency_ms":0.61"#);
        assert!(shown.starts_with("attache 1 at here\ncache  valkey 8.1.8 · 12 replicas · 0.6 ms\n"), "{shown}");
        assert!(shown.contains("  adopted from orders-x2  generation 0\n"), "{shown}");
        assert!(
            shown.contains("  not shared              generation 0\n     not shared: `shared` is false\n"),
            "{shown}"
        );
        let shown = of(r#""state":"away","last_error":"it did not answer in time""#);
        assert!(
            shown.contains("cache  away 3 m 0 s, each asks for itself\n       it did not answer in time\n"),
            "{shown}"
        );
        let shown = of(r#""state":"refusing_writes""#);
        assert!(shown.contains("cache  c:6379 · 12 replicas · refusing writes 3 m 0 s\n"), "{shown}");
    }

    #[test]
    fn what_was_served_and_what_was_not_is_told_in_words() {
        let report: StatusReport = serde_json::from_str(
            r#"{"version":"1","upstreams":[{"name":"api","origin":"https://a.test","requests":{"injected":5,"failed":0,"passed_without_token":1},
            "unauthorized":{"retried_ok":2},"latency_ms":{"p50":1.0,"p95":25.0,"p99":50.0}}],
            "listeners":[{"name":"proxy","address":"127.0.0.1:1","mode":"forward","tunnels":{"true":3,"false":2},"would_deny":1}],
            "reloads":[{"at":"2026-01-01T00:00:00Z","cause":"file","ok":false,"changes":[],"problems":["proxy.toml:1:1: wrong"]}]}"#,
        )
        .unwrap();
        let shown = anstream::adapter::strip_str(&render(&report, None, "here", SystemTime::UNIX_EPOCH)).to_string();
        assert!(
            shown.contains(
                "injected 5, passed without token 1; p50 ≤ 1.0 ms, p95 ≤ 25 ms, p99 ≤ 50 ms; refused tokens: retried ok 2"
            ),
            "{shown}"
        );
        assert!(
            shown.contains("2 tunnels passed unread: TLS inside, and no local CA opens it; 1 request to hosts"),
            "{shown}"
        );
        assert!(shown.contains("file  refused, the old configuration stays\n    proxy.toml:1:1: wrong\n"), "{shown}");
    }
}
