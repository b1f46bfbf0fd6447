//! Words for people on stderr, data on stdout, and what an exit code means.

use std::fmt::{Arguments, Display};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::{ConfigErrors, Problem};
use crate::telemetry::log::journal;

/// `EX_CONFIG` of sysexits.h.
const CONFIG: u8 = 78;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    /// 78: the configuration, every problem of it.
    Config(ConfigErrors),
    /// 2: the command line.
    Usage(String),
    /// 126, 127: a command that does not start, as a shell says it.
    Command(String, u8),
    /// 128 and a signal's number: it was ended at once, as was asked for, whatever was cut off.
    Ended(u8),
    /// 1: anything else.
    Failed(String),
    /// 1: it has been said already.
    Told,
    /// 78: it has been said already.
    ConfigTold,
}

impl Failure {
    pub(super) fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(super) fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Says it on stderr.
    pub(super) fn report(&self) {
        let red = AnsiColor::Red.on_default().bold();
        let said = match self {
            Self::Config(errors) => problems(Level::Error, &errors.source, &errors.problems),
            Self::Usage(message) | Self::Failed(message) | Self::Command(message, _) => {
                if talks_json() {
                    record(Level::Error, message, Map::new())
                } else {
                    line(Level::Error, format_args!("{red}error:{red:#} {message}"))
                }
            }
            Self::Told | Self::ConfigTold | Self::Ended(_) => Ok(()),
        };
        // Without stderr only the exit code remains.
        drop(said);
    }

    /// The same for a program that reads stdout as JSON: a document, and nothing on stderr besides.
    pub(super) fn in_json(self) -> Self {
        let (document, told) = match &self {
            Self::Config(errors) => {
                let problems: Vec<String> = ConfigErrors::lines(&errors.source, &errors.problems).collect();
                (json!({ "ok": false, "error": errors.to_string(), "problems": problems }), Self::ConfigTold)
            }
            Self::Failed(message) => (json!({ "ok": false, "error": message }), Self::Told),
            _ => return self,
        };
        match json(&document) {
            Ok(()) => told,
            Err(failure) => failure,
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::ConfigTold => CONFIG,
            Self::Usage(_) => 2,
            Self::Command(_, code) | Self::Ended(code) => *code,
            Self::Failed(_) | Self::Told => 1,
        })
    }
}

/// `--log-format json`: what is said stands between the lines of the log, and a program that reads those reads all of stderr.
static TALKS_JSON: AtomicBool = AtomicBool::new(false);

/// From here on stderr has one JSON object a line.
pub(super) fn talk_json() {
    TALKS_JSON.store(true, Ordering::Relaxed);
}

pub(super) fn talks_json() -> bool {
    TALKS_JSON.load(Ordering::Relaxed)
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    const fn of_log(self) -> tracing::Level {
        match self {
            Self::Info => tracing::Level::INFO,
            Self::Warning => tracing::Level::WARN,
            Self::Error => tracing::Level::ERROR,
        }
    }
}

/// A line for people. Colours go only to a terminal.
pub(super) fn talk(said: Arguments<'_>) -> Result<(), Failure> {
    if talks_json() {
        return record(Level::Info, &said.to_string(), Map::new());
    }
    line(Level::Info, said)
}

/// A line for people; in JSON a record with this message, and with what is in the line as fields.
pub(super) fn tell(said: Arguments<'_>, message: &str, fields: &[(&str, Value)]) -> Result<(), Failure> {
    if !talks_json() {
        return line(Level::Info, said);
    }
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    record(Level::Info, message, fields)
}

/// What went wrong where nothing else can tell it: the log has no place for it, or does not stand yet.
pub(super) fn alarm(message: &str, place: &str) {
    // Without stderr nobody can be told.
    let _said = if talks_json() {
        record(Level::Error, message, [("place".to_owned(), place.into())].into_iter().collect())
    } else {
        line(Level::Error, format_args!("error: {message} ({place})"))
    };
}

fn line(level: Level, said: Arguments<'_>) -> Result<(), Failure> {
    let said = format!("{said}\n");
    let text = journal::for_stderr(said.as_bytes(), level.of_log());
    anstream::stderr().write_all(&text).map_err(Failure::failed)
}

/// What is wrong with a configuration, or unwise about it: a line each, and in JSON an object each.
pub(super) fn problems(level: Level, source: &str, problems: &[Problem]) -> Result<(), Failure> {
    let warning = if level == Level::Warning { "warning: " } else { "" };
    for (problem, line) in problems.iter().zip(ConfigErrors::lines(source, problems)) {
        if talks_json() {
            let (line, column) = problem.at.unzip();
            let file = problem.file.as_deref().unwrap_or(source);
            let fields = json!({ "file": file, "line": line, "column": column });
            let message = problem.to_string();
            record(level, &message, fields.as_object().cloned().unwrap_or_default())?;
        } else {
            self::line(level, format_args!("{warning}{line}"))?;
        }
    }
    Ok(())
}

/// As the log writes its lines.
fn record(level: Level, message: &str, fields: Map<String, Value>) -> Result<(), Failure> {
    let level = level.of_log();
    let plain = anstream::adapter::strip_str(message).to_string();
    let mut document = Map::new();
    document.insert("timestamp".into(), humantime::format_rfc3339_micros(SystemTime::now()).to_string().into());
    document.insert("level".into(), level.as_str().into());
    document.insert("message".into(), plain.trim().into());
    document.extend(fields);
    document.insert("target".into(), "attache::cli".into());
    let text = format!("{}\n", Value::Object(document));
    std::io::stderr().write_all(&journal::for_stderr(text.as_bytes(), level)).map_err(Failure::failed)
}

/// A question for people, which its answer follows on the same line.
pub(super) fn ask(question: Arguments<'_>) -> Result<(), Failure> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{question}").and_then(|()| stderr.flush()).map_err(Failure::failed)
}

/// A line of data. A reader that has gone away (`| head`) is no error worth a message.
pub(super) fn data(line: Arguments<'_>) -> Result<(), Failure> {
    writeln!(anstream::stdout(), "{line}").map_err(|_| Failure::Told)
}

/// A whole text as data, as it is.
pub(super) fn text(text: &[u8]) -> Result<(), Failure> {
    anstream::stdout().write_all(text).map_err(|_closed| Failure::Told)
}

/// One JSON document as data.
pub(super) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(Failure::failed)?;
    data(format_args!("{text}"))
}

/// `1 request`, `2 requests`.
pub(super) fn counted(count: impl Display, what: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// For what is the point of a line.
pub(super) const BOLD: Style = Style::new().bold();

/// Two units at most: `59 min`, `3 h 5 m`.
pub(super) fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) if minutes < 10 => format!("{minutes} m {seconds} s"),
        (0, 0, minutes, _) => format!("{minutes} min"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} m"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let spans: Vec<String> = [5, 65, 3599, 3600, 90_000].map(span).into();
        assert_eq!(spans, ["5 s", "1 m 5 s", "59 min", "1 h 0 m", "1 d 1 h"]);
    }
}
