//! What the tests of this module share: a file under the name `proxy.toml`, in an environment of their own.

use std::path::Path;

use super::{Config, ConfigErrors};
use crate::credential::{CredentialKind, TokenSettings};

/// The settings of a text that has no problems.
pub(super) fn config(text: &str) -> Config {
    parse_in(Path::new(""), text).map_err(|errors| errors.to_string()).unwrap()
}

/// How the first credential of a text is asked for.
pub(super) fn token_settings(text: &str) -> TokenSettings {
    match config(text).credentials.remove(0).kind {
        CredentialKind::OAuth(token) => *token,
        CredentialKind::Fixed(_) => panic!("a fixed credential is not asked for"),
    }
}

/// The messages about a text, one for each problem.
pub(super) fn problems(text: &str) -> Vec<String> {
    problems_in(Path::new(""), text)
}

/// The same for a text in a directory of its own.
pub(super) fn problems_in(dir: &Path, text: &str) -> Vec<String> {
    parse_in(dir, text).err().map_or_else(Vec::new, |errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// A text in a directory of its own.
pub(super) fn parse_in(dir: &Path, text: &str) -> Result<Config, ConfigErrors> {
    Config::parse_with("proxy.toml", text, dir, &|name| match name {
        "SECRET" | "ORDERS_CLIENT_SECRET" | "SEARCH_API_KEY" => Some("sentinel".to_owned()),
        "EMPTY" => Some(" ".to_owned()),
        _ => None,
    })
}
