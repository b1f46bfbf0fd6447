//! Changes to an environment written down, so that a shell that reads them has exactly these values.

use super::environment::Change;
use crate::secret::is_variable_name;

/// Who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    /// bash, zsh, ksh, dash: `export NAME='value'`.
    Posix,
    /// fish: `set -gx NAME 'value'`.
    Fish,
    /// `PowerShell`: `$env:NAME = 'value'`.
    PowerShell,
    /// A `.env` file, for docker compose, systemd and the like; a shell can read it too.
    Dotenv,
}

/// A shell whose language is not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shells are bash (also for sh, zsh and ksh), fish and powershell")]
pub(crate) struct UnknownShell;

impl Notation {
    /// The language of a shell, by its name or its path.
    ///
    /// # Errors
    /// When the shell is unknown.
    pub(crate) fn of_shell(shell: &str) -> Result<Self, UnknownShell> {
        let name = shell.rsplit(['/', '\\']).next().unwrap_or(shell);
        match name.strip_suffix(".exe").unwrap_or(name) {
            "bash" | "sh" | "zsh" | "ksh" | "dash" | "ash" => Ok(Self::Posix),
            "fish" => Ok(Self::Fish),
            "powershell" | "pwsh" => Ok(Self::PowerShell),
            _ => Err(UnknownShell),
        }
    }

    /// One line, or more where a value has several; nothing where this notation has no way to say it, nor for what is no
    /// variable's name: names are written as they are.
    #[must_use]
    pub(crate) fn line(self, name: &str, change: &Change) -> Option<String> {
        if !is_variable_name(name) {
            return None;
        }
        Some(match (self, change) {
            (Self::Posix, Change::Set(value)) => format!("export {name}={}", posix(value)),
            (Self::Posix, Change::Unset) => format!("unset {name}"),
            (Self::Fish, Change::Set(value)) => format!("set -gx {name} {}", fish(value)),
            (Self::Fish, Change::Unset) => format!("set -e {name}"),
            (Self::PowerShell, Change::Set(value)) => format!("$env:{name} = {}", powershell(value)),
            (Self::PowerShell, Change::Unset) => {
                format!("Remove-Item -ErrorAction SilentlyContinue -LiteralPath Env:{name}")
            }
            (Self::Dotenv, Change::Set(value)) => format!("{name}={}", dotenv(value)),
            (Self::Dotenv, Change::Unset) => return None,
        })
    }
}

/// POSIX.1 section 2.2.2: nothing has a meaning between single quotes, and a single quote cannot stand there.
fn posix(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// Between single quotes only `\'` and `\\` have a meaning.
fn fish(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A quote is written twice, and the typographic ones count as quotes too.
fn powershell(value: &str) -> String {
    let mut text = String::from("'");
    for character in value.chars() {
        text.push(character);
        if matches!(character, '\'' | '\u{2018}'..='\u{201b}') {
            text.push(character);
        }
    }
    text.push('\'');
    text
}

/// Plain where it can be, since some readers take quotes literally; else as a shell would have it.
fn dotenv(value: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,*".contains(&byte);
    if !value.is_empty() && value.bytes().all(usual) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
