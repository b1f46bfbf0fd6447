//! What people write who know it from elsewhere, and what means nothing here: `$NAME`, `env:NAME`, `op://…`. It stays as
//! it is and is warned of.

use crate::secret::is_variable_name;

/// A text that looks as if something were to be put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint<'t> {
    /// `$NAME`; the name, if it is told that this is none of a secret's characters.
    Dollar(Option<&'t str>),
    Env,
    OnePassword,
}

/// Where a text stands, which decides how much of it may be meant as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    /// A dollar sign may be a part of it, and it is never shown.
    Secret,
    /// A shell may read it.
    Argument,
}

impl<'t> Hint<'t> {
    pub(super) fn of(text: &'t str, place: Place) -> Option<Self> {
        let whole = text.strip_prefix('$').filter(|name| is_variable_name(name) && name.len() > 1);
        match place {
            Place::Argument => whole.map(|name| Self::Dollar(Some(name))),
            // As shells name their variables: a secret may well begin with a dollar sign.
            Place::Secret if whole.is_some_and(|name| !name.bytes().any(|byte| byte.is_ascii_lowercase())) => {
                Some(Self::Dollar(None))
            }
            Place::Plain if whole.or_else(|| inside(text)).is_some() => {
                Some(Self::Dollar(whole.or_else(|| inside(text))))
            }
            _ if text.strip_prefix("env:").is_some_and(is_variable_name) => Some(Self::Env),
            _ if text.starts_with("op://") => Some(Self::OnePassword),
            _ => None,
        }
    }

    /// What is unwise, and what to write.
    pub(super) fn words(self, key: &str, place: Place) -> (String, String) {
        let is_secret = place == Place::Secret;
        match self {
            Self::Dollar(Some(name)) => (
                format!("`{key}` has ${name}, which stays as it is: without braces nothing is put in its place"),
                format!("write ${{{name}}}, or $${name} if the dollar sign is meant"),
            ),
            Self::Dollar(None) => (
                format!("`{key}` is a dollar sign and a name, and is taken as it is"),
                "write { env = \"NAME\" } with the name of the variable".to_owned(),
            ),
            Self::Env => (
                format!("`{key}` begins with \"env:\", which means nothing here and stays as it is"),
                "write { env = \"NAME\" } with the name of the variable".to_owned(),
            ),
            Self::OnePassword => (
                format!("`{key}` begins with \"op://\", which means nothing here and stays as it is"),
                if is_secret {
                    "write { command = [\"op\", \"read\", \"op://…\"] }"
                } else {
                    "put the value into an environment variable, and write ${NAME}"
                }
                .to_owned(),
            ),
        }
    }
}

/// A `$NAME` within a text, in capital letters: paths and patterns have dollar signs of their own.
fn inside(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        let end =
            behind.find(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'));
        let name = &behind[..end.unwrap_or(behind.len())];
        if !before.ends_with('$') && name.len() > 1 && is_variable_name(name) {
            return Some(name);
        }
        rest = behind.strip_prefix('$').unwrap_or(behind);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_from_elsewhere_is_noticed() {
        let plain = |text| Hint::of(text, Place::Plain);
        assert_eq!(plain("https://$HOST/token"), Some(Hint::Dollar(Some("HOST"))));
        assert_eq!(plain("$client_id"), Some(Hint::Dollar(Some("client_id"))));
        assert_eq!(plain("env:CLIENT_ID"), Some(Hint::Env));
        assert_eq!(plain("op://vault/item/id"), Some(Hint::OnePassword));
        for fine in ["a$b", "$", "$1", "$$HOST", "cost$", "env:", "env:a b", "https://a.test"] {
            assert_eq!(plain(fine), None, "{fine}");
        }
        let secret = |text| Hint::of(text, Place::Secret);
        assert_eq!(secret("$CLIENT_SECRET"), Some(Hint::Dollar(None)));
        for fine in ["pa$SWORD", "$ecret", "$a"] {
            assert_eq!(secret(fine), None, "{fine}");
        }
        assert_eq!(Hint::of("op://vault/item/id", Place::Secret), Some(Hint::OnePassword));
        assert_eq!(Hint::of("cat $FILE", Place::Argument), None);
        assert_eq!(Hint::of("$FILE", Place::Argument), Some(Hint::Dollar(Some("FILE"))));
    }
}
