//! What the tests of this module share: a file under the name `proxy.toml`, in an environment of their own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Config, ConfigErrors};
use crate::credential::{CredentialKind, TokenSettings};

/// The settings of a text that has no problems.
pub(crate) fn config(text: &str) -> Config {
    parse_in(Path::new(""), text).map_err(|errors| errors.to_string()).unwrap()
}

/// How the first credential of a text is asked for.
pub(crate) fn token_settings(text: &str) -> TokenSettings {
    match config(text).credentials.remove(0).kind {
        CredentialKind::OAuth(token) => Arc::unwrap_or_clone(token),
        CredentialKind::Fixed(_) => panic!("a fixed credential is not asked for"),
    }
}

/// The messages about a text, one for each problem.
pub(crate) fn problems(text: &str) -> Vec<String> {
    problems_in(Path::new(""), text)
}

/// The same for a text in a directory of its own.
pub(crate) fn problems_in(dir: &Path, text: &str) -> Vec<String> {
    parse_in(dir, text).err().map_or_else(Vec::new, |errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// A text in a directory of its own.
pub(crate) fn parse_in(dir: &Path, text: &str) -> Result<Config, ConfigErrors> {
    Config::parse_with("proxy.toml", text, dir, &|name| match name {
        "SECRET" | "ORDERS_CLIENT_SECRET" | "SEARCH_API_KEY" => Some("sentinel".to_owned()),
        "CACHE_KEY" => Some("0123456789abcdef".repeat(4)),
        "EMPTY" => Some(" ".to_owned()),
        _ => None,
    })
}

/// Keeps a test's folder to its user: secrets in it are read by nobody else.
pub(crate) fn keep(folder: &Path) {
    #[cfg(unix)]
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

/// A credential named `key`.
pub(crate) const CREDENTIAL: &str = "[credentials.key]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = { env = \"SECRET\" }\n";

/// A file with one upstream and its credential `a`, of which these are the further lines.
pub(crate) fn with_credential(rest: &str) -> String {
    format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
         credential = \"a\"\n[credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\n{rest}\n"
    )
}

pub(crate) fn forward(rest: &str) -> String {
    format!("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{rest}")
}

pub(crate) fn reverse(upstreams: &str, rest: &str) -> String {
    format!("[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstreams = {upstreams}\n{rest}")
}

pub(crate) fn upstream(name: &str, origin: &str, rest: &str) -> String {
    format!("[upstreams.{name}]\norigin = \"{origin}\"\n{rest}")
}

/// What the readers asked for on this thread: table and key, or the whole path and what its value was read as.
pub(crate) type Asked = BTreeSet<(String, String)>;

thread_local! {
    static KEYS: RefCell<Asked> = RefCell::default();
    static FORMS: RefCell<Asked> = RefCell::default();
}

/// Notes that a key was asked for, whether it was there or not.
pub(crate) fn note_key(table: &str, key: &str) {
    KEYS.with_borrow_mut(|asked| asked.insert((table.to_owned(), key.to_owned())));
}

/// Notes as what a value was read, as `keys.txt` writes it.
pub(crate) fn note_form(path: &str, form: &str) {
    FORMS.with_borrow_mut(|asked| asked.insert((path.to_owned(), form.to_owned())));
}

/// Everything noted on this thread so far: keys, and forms.
pub(crate) fn noted() -> (Asked, Asked) {
    (KEYS.with_borrow(Clone::clone), FORMS.with_borrow(Clone::clone))
}
