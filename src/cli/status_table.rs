//! A status report as a person reads it on a terminal. What is not known here, of a newer attache, is left out.

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
}

#[derive(Debug, Deserialize)]
struct Listener {
    name: String,
    address: String,
    mode: String,
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
        }
        section(&mut out, "listeners", self.listeners.len());
        let name = widest(self.listeners.iter().map(|listener| listener.name.as_str()));
        for listener in &self.listeners {
            let (called, mode, address) = (clean(&listener.name), clean(&listener.mode), clean(&listener.address));
            out += &format!("  {called:<name$}  {mode:<7}  {address}\n");
        }
        out
    }
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
}
