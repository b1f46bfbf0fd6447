//! Words for people on stderr, data on stdout, and what an exit code means.

use std::fmt::{Arguments, Display};
use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::config::ConfigErrors;

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
            Self::Config(errors) => talk(format_args!("{errors}")),
            Self::Usage(message) | Self::Failed(message) | Self::Command(message, _) => {
                talk(format_args!("{red}error:{red:#} {message}"))
            }
            Self::Told | Self::ConfigTold => Ok(()),
        };
        // Without stderr there is nobody to tell; the exit code remains.
        drop(said);
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::ConfigTold => CONFIG,
            Self::Usage(_) => 2,
            Self::Command(_, code) => *code,
            Self::Failed(_) | Self::Told => 1,
        })
    }
}

/// A line for people. Colours go only to a terminal.
pub(super) fn talk(line: Arguments<'_>) -> Result<(), Failure> {
    writeln!(anstream::stderr(), "{line}").map_err(Failure::failed)
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
    anstream::stdout().write_all(text).map_err(|_gone| Failure::Told)
}

/// One JSON document as data.
pub(super) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(Failure::failed)?;
    data(format_args!("{text}"))
}

/// For what is the point of a line.
pub(super) const BOLD: Style = Style::new().bold();
