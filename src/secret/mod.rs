//! Bytes that must not be seen, and where they come from.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that prints nothing; its memory is zeroed when it goes.
//! Reading it is an explicit [`Secret::expose`], which few places call: tests/it/tidy.rs lists them.

pub(crate) mod access;
mod command;
mod digests;
mod file;
mod list;
mod pasted;
mod source;

use std::fmt;

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use digests::Digests;
pub(crate) use list::Secrets;
pub(crate) use source::{SecretError, SecretSource, is_variable_name};

/// A secret text.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes over a text; the caller keeps no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself. Call it where the secret is put on the wire, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// True for nothing but white space: no authorization server has such a secret.
    #[must_use]
    pub(crate) fn is_blank(&self) -> bool {
        self.expose().trim().is_empty()
    }

    /// A SHA-256 digest that tells two secrets apart without telling either.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, self.expose().as_bytes()).as_ref());
        out
    }
}

/// By fingerprint, so that the time it takes says nothing about the text.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_tells_nothing() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret(…))");
    }

    #[test]
    fn equal_secrets_have_equal_fingerprints() {
        let fingerprint = |text: &str| Secret::new(text.into()).fingerprint();
        assert_eq!(fingerprint("a"), fingerprint("a"));
        assert_ne!(fingerprint("a"), fingerprint("b"));
    }
}
