//! Where the bytes of a secret come from. A source is read each time it is used, so a rotated file takes effect without a
//! reload.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Secret;

/// The largest secret file that is read; a private key or a token fits many times over.
const MAX_FILE: u64 = 1024 * 1024;

/// A place that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written into the configuration or given by the program; works, but everyone who can read the file has it.
    Literal(Secret),
    /// An environment variable.
    Env(String),
    /// A file; trailing line ends are not part of the secret.
    File(PathBuf),
}

/// Why a secret could not be read. Names the place, never the content.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
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
}

impl SecretSource {
    /// Reads the secret now. Files are read blockingly: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the place is missing, unreadable, empty, larger than 1 MiB or not UTF-8.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Literal(secret) => secret.clone(),
            Self::Env(name) => Secret::new(std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => SecretError::EnvUnset(name.clone()),
                std::env::VarError::NotUnicode(_) => SecretError::NotText(self.to_string()),
            })?),
            Self::File(path) => read_file(path, || self.to_string())?,
        };
        if secret.is_blank() { Err(SecretError::Empty(self.to_string())) } else { Ok(secret) }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("the secret in the configuration"),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

fn read_file(path: &PathBuf, place: impl Fn() -> String) -> Result<Secret, SecretError> {
    use std::io::Read as _;

    let unreadable = |reason: String| SecretError::Unreadable { path: path.display().to_string(), reason };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable("it is larger than 1 MiB, which is no secret".into()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_invalid| SecretError::NotText(place()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_newline_is_not_part_of_a_file_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret \r\n").unwrap();
        assert_eq!(SecretSource::File(path).read().unwrap().expose(), "s3cret ");
    }

    #[test]
    fn missing_and_empty_places_are_named() {
        let unset = SecretSource::Env("ATTACHE_TEST_SURELY_UNSET".into()).read().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable ATTACHE_TEST_SURELY_UNSET is not set");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        std::fs::write(&path, "\n").unwrap();
        assert!(SecretSource::File(path).read().unwrap_err().to_string().ends_with("empty is empty"));
        assert!(SecretSource::File(dir.path().join("none")).read().unwrap_err().to_string().starts_with("cannot read"));
    }
}
