//! Where a secret is, told by a person: a variable or a file. What is neither may be the secret itself, which belongs into no
//! file that others read, and is therefore never taken and never repeated.

use std::path::{Path, PathBuf};

use crate::config::SecretPlace;
use crate::secret::is_variable_name;

/// A name without a blank that is longer and has no `_` is rather a secret.
const LONGEST_WORD: usize = 16;

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Variable(String),
    /// What may be the name of a variable that is not set yet, or a short secret.
    NotSetYet(String),
    File(PathBuf),
    /// A path at which there is no file.
    NoFileYet(PathBuf),
    /// Nothing that is known here: the secret itself, perhaps.
    Unknown,
}

impl Told {
    pub(super) fn place(self) -> Option<SecretPlace> {
        match self {
            Self::Variable(name) => Some(SecretPlace::Env(name)),
            Self::File(path) => Some(SecretPlace::File(path)),
            Self::NotSetYet(_) | Self::NoFileYet(_) | Self::Unknown => None,
        }
    }
}

/// Reads an answer. A file that is there and a variable that is set are what they are called.
pub(super) fn told(answer: &str) -> Told {
    told_where(answer, &is_set, &Path::is_file)
}

/// Whether this is a variable.
pub(super) fn is_set(name: &str) -> bool {
    is_variable_name(name) && std::env::var_os(name).is_some()
}

/// Whether this may be called a variable that is not set yet.
pub(super) fn is_variable(name: &str) -> bool {
    is_set(name) || (is_variable_name(name) && is_like_a_name(name))
}

/// Whether this may be what a unit calls a credential.
pub(super) fn is_credential(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.bytes().all(usual) && (is_like_a_name(name) || name.contains('-'))
}

/// Whether this may be called a file that is not there yet.
pub(super) fn is_file(path: &Path) -> bool {
    path.is_file() || path.to_str().is_none_or(is_like_a_path)
}

fn told_where(answer: &str, is_set: &dyn Fn(&str) -> bool, is_file: &dyn Fn(&Path) -> bool) -> Told {
    let in_braces = answer.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
    let with_sign = in_braces.or_else(|| answer.strip_prefix('$')).or_else(|| answer.strip_prefix("env:"));
    if let Some(name) = with_sign.filter(|name| is_variable_name(name)) {
        return Told::Variable(name.to_owned());
    }
    let in_capitals = |name: &str| !name.bytes().any(|byte| byte.is_ascii_lowercase());
    if is_set(answer) {
        return Told::Variable(answer.to_owned());
    }
    if is_variable_name(answer) && in_capitals(answer) && is_like_a_name(answer) {
        return Told::NotSetYet(answer.to_owned());
    }
    // A shell writes the home folder so; nobody would look there by that name.
    let home = answer.strip_prefix("~/").zip(std::env::home_dir());
    let path = home.map_or_else(|| PathBuf::from(answer), |(below, home)| home.join(below));
    match () {
        () if is_file(&path) => Told::File(path),
        () if is_like_a_path(answer) => Told::NoFileYet(path),
        () => Told::Unknown,
    }
}

fn is_like_a_name(name: &str) -> bool {
    name.len() <= LONGEST_WORD || name.contains('_')
}

fn is_like_a_path(text: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &str) -> Told {
        told_where(answer, &|name| name == "lower_and_set", &|path| path == Path::new("there.secret"))
    }

    #[test]
    fn a_credential_is_a_name_and_no_secret() {
        for name in ["orders", "orders-client-secret", "ORDERS_CLIENT_SECRET"] {
            assert!(is_credential(name), "{name}");
        }
        for secret in ["", "s3cr3t~Q.vZ8", "AKIAIOSFODNN7EXAMPLE", "../orders", "aGVsbG8gd29ybGQ/"] {
            assert!(!is_credential(secret), "{secret}");
        }
    }

    #[test]
    fn variables_and_files_are_told_apart_and_a_secret_is_neither() {
        for (answer, name) in [
            ("$ORDERS_CLIENT_SECRET", "ORDERS_CLIENT_SECRET"),
            ("${lower}", "lower"),
            ("env:X", "X"),
            ("lower_and_set", "lower_and_set"),
        ] {
            assert_eq!(said(answer), Told::Variable(name.into()), "{answer}");
        }
        for name in ["ORDERS_CLIENT_SECRET", "SECRET", "JBSWY3DPEHPK3PXP"] {
            assert_eq!(said(name), Told::NotSetYet(name.into()), "a secret may look like it");
        }
        assert_eq!(said("there.secret"), Told::File("there.secret".into()));
        for path in ["/run/secrets/orders", "./orders.secret", "../x"] {
            assert_eq!(said(path), Told::NoFileYet(path.into()));
        }
        for secret in [
            "s3cr3t~Q.vZ8",
            "AKIAIOSFODNN7EXAMPLE",
            "aGVsbG8gd29ybGQ/",
            "$2y$10$abc",
            "correct horse",
            "orders.secret",
            "{",
            "s3cr3t",
        ] {
            assert_eq!(said(secret), Told::Unknown, "{secret}");
        }
    }
}
