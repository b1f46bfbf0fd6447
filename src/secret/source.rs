//! Where the bytes of a secret come from. A source is read each time it is used, so a rotated file takes effect without a
//! reload.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Secret, command, file};
use crate::digest::digest;

/// Where systemd puts the credentials of a service (systemd.exec, `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A place that holds a secret. Line ends at its end and a byte order mark at its beginning are no part of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// Written into the configuration or given by the program; works, but everyone who can read the file has it.
    Literal(Secret),
    /// An environment variable.
    Env(String),
    File(PathBuf),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// What a program prints. It is run each time the secret is needed.
    Command {
        /// The program and its arguments. No shell reads them.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// A member of a JSON document that another place holds.
    Field {
        /// The place.
        of: Box<Self>,
        /// Names and indexes with dots between: `data.client_secret`.
        path: String,
    },
}

/// Why a secret could not be read. Names the place, never the content.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SecretError {
    /// The variable is not in the environment.
    #[error("the environment variable {0} is not set")]
    EnvUnset(String),
    /// The variable or file holds bytes that are no UTF-8 text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// Nothing but white space.
    #[error("{0} is empty")]
    Empty(String),
    /// The file could not be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The program brought none.
    #[error("{place} is not available: {reason}")]
    Command {
        /// The program.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The document has no such member.
    #[error("{place} {reason}")]
    Field {
        /// Where the document is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SecretSource {
    /// Reads the secret now. Blocks, on files (for 5 s at most) and on programs (for their own time): call it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// When the place is missing, unreadable, empty, too large or not UTF-8; when the program fails or takes too long.
    pub(crate) fn read(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Literal(secret) => bare(secret.expose()),
            Self::Env(name) => {
                let text = Zeroizing::new(std::env::var(name).map_err(|error| match error {
                    std::env::VarError::NotPresent => SecretError::EnvUnset(name.clone()),
                    std::env::VarError::NotUnicode(_) => SecretError::NotText(self.to_string()),
                })?);
                bare(&text)
            }
            Self::File(path) => self.text(&read_file(path)?)?,
            Self::Credential(name) => self.text(&read_file(&credential_path(name)?)?)?,
            Self::Command { argv, timeout } => {
                let failed = |reason| SecretError::Command { place: self.to_string(), reason };
                self.text(&command::run(argv, *timeout).map_err(failed)?)?
            }
            Self::Field { of, path } => {
                let wrong = |reason: &str| SecretError::Field { place: of.to_string(), reason: reason.to_owned() };
                select(&of.read()?, path).map_err(wrong)?
            }
        };
        if secret.is_blank() { Err(SecretError::Empty(self.to_string())) } else { Ok(secret) }
    }

    /// A digest that tells this secret from another. A program is not run for it: its words count, because what it prints
    /// is asked for only when a secret is needed.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], SecretError> {
        match self {
            Self::Command { argv, .. } => Ok(digest(argv.iter().map(String::as_bytes))),
            Self::Field { of, path } if of.is_command() => Ok(digest([&of.fingerprint()?[..], path.as_bytes()])),
            _ => self.read().map(|secret| secret.fingerprint()),
        }
    }

    /// True in a unit of systemd's that loads credentials.
    #[must_use]
    pub(crate) fn is_in_unit() -> bool {
        std::env::var_os(CREDENTIALS_DIRECTORY).is_some()
    }

    /// True if reading it runs a program.
    #[must_use]
    pub(crate) fn is_command(&self) -> bool {
        match self {
            Self::Command { .. } => true,
            Self::Field { of, .. } => of.is_command(),
            _ => false,
        }
    }

    fn text(&self, bytes: &[u8]) -> Result<Secret, SecretError> {
        let text = std::str::from_utf8(bytes).map_err(|_invalid| SecretError::NotText(self.to_string()))?;
        Ok(bare(text))
    }
}

/// What belongs to the secret: not the line ends behind it, nor the byte order mark before it, which editors and shells put
/// there in every kind of place.
fn bare(text: &str) -> Secret {
    Secret::new(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).to_owned())
}

/// The name of an environment variable, as shells take it: letters, digits and `_`.
#[must_use]
pub(crate) fn is_variable_name(name: &str) -> bool {
    let usual = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    usual && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("the secret in the configuration"),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Credential(name) => write!(f, "the systemd credential {name}"),
            // Its arguments may be a key to the secret.
            Self::Command { argv, .. } => write!(f, "the output of {}", argv.first().map_or("", String::as_str)),
            Self::Field { of, .. } => write!(f, "a member of {of}"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

fn credential_path(name: &str) -> Result<PathBuf, SecretError> {
    let unset = || SecretError::EnvUnset(format!("{CREDENTIALS_DIRECTORY}, which systemd sets,"));
    let directory = std::env::var_os(CREDENTIALS_DIRECTORY).ok_or_else(unset)?;
    Ok(Path::new(&directory).join(name))
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    file::read(path).map_err(|reason| SecretError::Unreadable { path: path.display().to_string(), reason })
}

/// The text or number at this path of a JSON document.
fn select(document: &Secret, path: &str) -> Result<Secret, &'static str> {
    let mut document: Value = serde_json::from_str(document.expose()).map_err(|_error| "is no JSON document")?;
    let found = path.split('.').try_fold(&document, |value, name| match value {
        Value::Object(members) => members.get(name),
        Value::Array(entries) => name.parse::<usize>().ok().and_then(|index| entries.get(index)),
        _ => None,
    });
    let secret = match found {
        Some(Value::String(text)) => Ok(bare(text)),
        Some(Value::Number(number)) => Ok(Secret::new(number.to_string())),
        Some(_) => Err("has no text at the configured field"),
        None => Err("has no such field as configured"),
    };
    wipe(&mut document);
    secret
}

/// The other members are secrets as well.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(entries) => entries.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
