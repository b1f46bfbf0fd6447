//! Pieces of configuration that nearly every conversation needs.

use super::TokenServer;

/// `[listeners.proxy]`, a forward one.
pub const FORWARD: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

/// `[admin]`, for metrics.
pub const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// `[listeners.base]`, a reverse one for these upstreams.
pub fn reverse(upstreams: &[&str]) -> String {
    format!("[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstreams = {upstreams:?}\n")
}

/// `[credentials.key]`.
pub fn credential(tokens: &TokenServer) -> String {
    format!(
        "[credentials.key]\ntoken_endpoint = \"{}\"\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n",
        tokens.endpoint()
    )
}

/// `[upstreams.NAME]` with the credential; more keys of it may follow.
pub fn upstream(name: &str, origin: &str) -> String {
    format!("[upstreams.{name}]\norigin = \"{origin}\"\ncredential = \"key\"\n")
}
