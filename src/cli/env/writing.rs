//! The variables, as a shell or a file takes them.

use crate::cli::output::{self, Failure, data};
use crate::exec::{Change, Environment, Notation};

/// What is not set is taken out only where it is there: a shell's user sees what really changes.
pub(super) fn write(environment: &Environment, notation: Notation) -> Result<(), Failure> {
    for (name, change) in &environment.changes {
        if *change == Change::Unset && std::env::var_os(name).is_none() {
            continue;
        }
        if let Some(line) = notation.line(name, change) {
            data(format_args!("{line}"))?;
        }
    }
    Ok(())
}

/// An object of the variables; `null` is one that is to be taken out.
pub(super) fn json(environment: &Environment) -> Result<(), Failure> {
    let member = |(name, change): &(String, Change)| {
        let value = match change {
            Change::Set(value) => serde_json::Value::String(value.clone()),
            Change::Unset => serde_json::Value::Null,
        };
        (name.clone(), value)
    };
    output::json(&environment.changes.iter().map(member).collect::<serde_json::Map<_, _>>())
}

/// The language of the shell that started attache, as far as the environment tells.
pub(super) fn own_shell() -> Notation {
    let usual = if cfg!(windows) { Notation::PowerShell } else { Notation::Posix };
    std::env::var("SHELL").ok().and_then(|shell| Notation::of_shell(&shell).ok()).unwrap_or(usual)
}
