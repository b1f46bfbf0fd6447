//! A status report as a person reads it on a terminal. What is not known here, of a newer attache, is left out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use serde::Deserialize;

use super::output::BOLD;

/// Cells of the bar of a token's remaining life.
const BAR: u64 = 20;

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// `/api/status`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    version: String,
    #[serde(default)]
    credentials: Vec<Credential>,
    #[serde(default)]
    upstreams: Vec<Upstream>,
    #[serde(default)]
    listeners: Vec<Listener>,
    /// The newest first.
    #[serde(default)]
    reloads: Vec<Reload>,
}

#[derive(Debug, Deserialize)]
struct Reload {
    at: String,
    cause: String,
    ok: bool,
    #[serde(default)]
    changes: Vec<String>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug, Deserialize)]
struct Credential {
    name: String,
    state: String,
    generation: u64,
    expires_in: Option<u64>,
    missing_scope: Option<String>,
    secret: Option<String>,
    fetched_at: Option<String>,
    last_refresh_at: Option<String>,
    last_refresh_took_ms: Option<u64>,
    #[serde(default)]
    required: bool,
    last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Upstream {
    name: String,
    origin: String,
    credential: Option<String>,
    #[serde(default)]
    connections: i64,
    #[serde(default)]
    requests: BTreeMap<String, u64>,
    #[serde(default)]
    unauthorized: BTreeMap<String, u64>,
    latency_ms: Option<Latency>,
}

#[derive(Debug, Deserialize)]
struct Listener {
    name: String,
    address: String,
    mode: String,
    #[serde(default)]
    tunnels: BTreeMap<String, u64>,
    #[serde(default)]
    would_deny: u64,
}

impl Report {
    /// The whole report, ending in a line end. `now` is this machine's clock: what the bars are measured by.
    pub(super) fn render(&self, place: &str, now: SystemTime) -> String {
        let mut out = format!("{BOLD}attache {}{BOLD:#} at {}\n", clean(&self.version), clean(place));
        section(&mut out, "credentials", self.credentials.len());
        let width = widest(self.credentials.iter().map(|credential| credential.name.as_str()));
        for credential in &self.credentials {
            credential.render(&mut out, width, now);
        }
        section(&mut out, "upstreams", self.upstreams.len());
        let name = widest(self.upstreams.iter().map(|upstream| upstream.name.as_str()));
        let origin = widest(self.upstreams.iter().map(|upstream| upstream.origin.as_str()));
        for upstream in &self.upstreams {
            let with = upstream
                .credential
                .as_ref()
                .map_or_else(|| "no credential".to_owned(), |with| format!("with {}", clean(with)));
            let open = counted(upstream.connections, "connection");
            out +=
                &format!("  {:<name$}  {:<origin$}  {with}, {open}\n", clean(&upstream.name), clean(&upstream.origin));
            if let Some(line) = upstream.served() {
                out += &format!("  {:<name$}  {DIM}{line}{DIM:#}\n", "");
            }
        }
        section(&mut out, "listeners", self.listeners.len());
        let name = widest(self.listeners.iter().map(|listener| listener.name.as_str()));
        for listener in &self.listeners {
            let (called, mode, address) = (clean(&listener.name), clean(&listener.mode), clean(&listener.address));
            out += &format!("  {called:<name$}  {mode:<7}  {address}\n");
            if let Some(line) = listener.without_token() {
                out += &format!("  {:<name$}  {YELLOW}{line}{YELLOW:#}\n", "");
            }
        }
        if let Some(reload) = self.reloads.first() {
            section(&mut out, "last reload", 1);
            out += &reload.render();
        }
        out
    }
}

impl Upstream {
    /// What it was asked, how long that took, and what became of refused tokens; nothing before the first request.
    fn served(&self) -> Option<String> {
        let requests = told(&self.requests)?;
        let latency = self.latency_ms.as_ref().map(|Latency { p50, p95, p99 }| {
            format!("; p50 {}, p95 {}, p99 {}", millis(*p50), millis(*p95), millis(*p99))
        });
        let refused = told(&self.unauthorized).map(|refused| format!("; refused tokens: {refused}"));
        Some(format!("{requests}{}{}", latency.unwrap_or_default(), refused.unwrap_or_default()))
    }
}

impl Listener {
    /// What could get no token here, and why.
    fn without_token(&self) -> Option<String> {
        let unread = self.tunnels.get("false").copied().unwrap_or(0);
        let tunnels =
            (unread > 0).then(|| format!("{unread} tunnels passed unread: TLS inside, and no local CA opens it"));
        let denials =
            (self.would_deny > 0).then(|| format!("{} requests to hosts that no upstream covers", self.would_deny));
        let all: Vec<String> = tunnels.into_iter().chain(denials).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Reload {
    fn render(&self) -> String {
        let (at, cause) = (clean(&self.at), clean(&self.cause));
        let lines = if self.ok { &self.changes } else { &self.problems };
        let nothing = if lines.is_empty() { ": nothing is different" } else { "" };
        let (colour, word) = if self.ok { (GREEN, "done") } else { (RED, "refused, the old configuration stays") };
        let mut out = format!("  {at}  {cause}  {colour}{word}{colour:#}{nothing}\n");
        for line in lines {
            out += &format!("    {}\n", clean(line));
        }
        out
    }
}

/// What was counted at all: `injected 5, failed 1`.
fn told(counts: &BTreeMap<String, u64>) -> Option<String> {
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

impl Credential {
    fn render(&self, out: &mut String, width: usize, now: SystemTime) {
        let colour = match self.state.as_str() {
            "ready" => GREEN,
            "refreshing" => YELLOW,
            "failed" => RED,
            _ => DIM,
        };
        let state = clean(&self.state);
        let life = self.life(now);
        let required = if self.required { ", required" } else { "" };
        out.push_str(&format!(
            "  {:<width$}  {colour}{state:<10}{colour:#}  {life}  generation {}{required}\n",
            clean(&self.name),
            self.generation
        ));
        let indent = " ".repeat(width + 4);
        let mut more = |line: String| out.push_str(&format!("{indent}{line}\n"));
        if let Some(line) = self.last_refresh(now) {
            more(format!("{DIM}{line}{DIM:#}"));
        }
        if let Some(secret) = &self.secret {
            more(format!("{DIM}the server takes {}{DIM:#}", clean(secret)));
        }
        if let Some(missing) = &self.missing_scope {
            more(format!("{YELLOW}granted without the scope {}{YELLOW:#}", clean(missing)));
        }
        if let Some(error) = &self.last_error {
            let (what, next) = taken_apart(error);
            more(format!("{RED}last error{RED:#}  {}", clean(what)));
            more(format!("next step   {}", clean(next)));
        }
    }

    /// A bar and the time that is left; both of one width, so that the columns stand.
    fn life(&self, now: SystemTime) -> String {
        let Some(left) = self.expires_in else {
            let held = if self.state == "ready" { "does not expire" } else { "nothing held" };
            return format!("{DIM}{held:<31}{DIM:#}");
        };
        let age = self.fetched_at.as_deref().and_then(|at| ago(at, now)).map_or(0, |age| age.as_secs());
        let whole = left.saturating_add(age).max(1);
        // Rounded up: a token that lives has a cell.
        let cells = left.saturating_mul(BAR).div_ceil(whole).min(BAR);
        let colour = if cells * 5 > BAR { GREEN } else { YELLOW };
        let bar = |cells: u64, sign: &str| sign.repeat(usize::try_from(cells).unwrap_or_default());
        format!("{colour}{}{colour:#}{DIM}{}{DIM:#}  {:>9}", bar(cells, "█"), bar(BAR - cells, "░"), span(left))
    }

    fn last_refresh(&self, now: SystemTime) -> Option<String> {
        let since = ago(self.last_refresh_at.as_deref()?, now)?;
        let took = self.last_refresh_took_ms.map_or_else(String::new, |took| format!(", took {took} ms"));
        Some(format!("last token request {} ago{took}", span(since.as_secs())))
    }
}

/// An error says what to do after its first semicolon; where it does not, the likely cause can be asked for.
fn taken_apart(error: &str) -> (&str, &str) {
    error.split_once("; ").unwrap_or((error, "attache check --live tells the likely cause"))
}

fn ago(written: &str, now: SystemTime) -> Option<Duration> {
    let at = humantime::parse_rfc3339_weak(written).ok()?;
    Some(now.duration_since(at).unwrap_or_default())
}

/// Two units at most: `59 min`, `3 h 5 m`.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) if minutes < 10 => format!("{minutes} m {seconds} s"),
        (0, 0, minutes, _) => format!("{minutes} min"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} m"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn counted(count: i64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn widest<'a>(words: impl Iterator<Item = &'a str>) -> usize {
    words.map(|word| word.chars().count()).max().unwrap_or(0)
}

/// What came over the wire draws nothing on the terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(credential: &str) -> String {
        let document = format!(
            r#"{{"version":"1.2.3","new":1,"credentials":[{credential}],"listeners":[{{"name":"proxy","address":"127.0.0.1:1","mode":"forward"}}],
            "upstreams":[{{"name":"api","origin":"https://api.test","credential":"key","connections":1}},{{"name":"open","origin":"https://o.test"}}]}}"#
        );
        let report: Report = serde_json::from_str(&document).unwrap();
        let now = humantime::parse_rfc3339("2026-11-24T10:10:00Z").unwrap();
        anstream::adapter::strip_str(&report.render("unix:/a.sock", now)).to_string()
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
        assert!(shown.contains("last error  h:9 refuses connections\n"), "{shown}");
        assert!(shown.contains("next step   check the port\n") && shown.contains("nothing held"), "{shown}");
        assert!(failed("no").contains("next step   attache check --live"));
        assert!(!failed("a\\u001b[2Jb").contains('\u{1b}'));
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
    fn spans_have_two_units_at_most() {
        let spans: Vec<String> = [5, 65, 3599, 3600, 90_000].map(span).into();
        assert_eq!(spans, ["5 s", "1 m 5 s", "59 min", "1 h 0 m", "1 d 1 h"]);
    }

    #[test]
    fn what_was_served_and_what_was_not_is_told_in_words() {
        let report: Report = serde_json::from_str(
            r#"{"version":"1","upstreams":[{"name":"api","origin":"https://a.test","requests":{"injected":5,"failed":0,"passed_without_token":1},
            "unauthorized":{"retried_ok":2},"latency_ms":{"p50":1.0,"p95":25.0,"p99":50.0}}],
            "listeners":[{"name":"proxy","address":"127.0.0.1:1","mode":"forward","tunnels":{"true":3,"false":2},"would_deny":1}],
            "reloads":[{"at":"2026-01-01T00:00:00Z","cause":"file","ok":false,"changes":[],"problems":["proxy.toml:1:1: wrong"]}]}"#,
        )
        .unwrap();
        let shown = anstream::adapter::strip_str(&report.render("here", SystemTime::UNIX_EPOCH)).to_string();
        assert!(
            shown.contains(
                "injected 5, passed without token 1; p50 1.0 ms, p95 25 ms, p99 50 ms; refused tokens: retried ok 2"
            ),
            "{shown}"
        );
        assert!(
            shown.contains("2 tunnels passed unread: TLS inside, and no local CA opens it; 1 requests to hosts"),
            "{shown}"
        );
        assert!(shown.contains("file  refused, the old configuration stays\n    proxy.toml:1:1: wrong\n"), "{shown}");
    }
}
