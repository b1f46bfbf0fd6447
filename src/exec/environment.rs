//! The variables by which programs find a proxy and trust a certificate authority. Nearly every library has names of its
//! own; which one honours which was tried with real ones.

use std::collections::BTreeSet;

use super::client_files;
use super::setup::{Proxy, Setup};
use super::{java, no_proxy};

/// Where requests go through. Both spellings: curl and wget read `http_proxy` in small letters only, because a server
/// that runs CGI programs lets its callers set `HTTP_PROXY` (httpoxy); others read only the capitals.
const PROXY: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];

/// Would lead past attache where they are set, and are changed there. They are not set otherwise: `ALL_PROXY` stands for every
/// protocol, most of which attache does not speak, and programs that read nothing else mean SOCKS by it.
const PROXY_IF_SET: [&str; 12] = [
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
    "NPM_CONFIG_HTTPS_PROXY",
    "NPM_CONFIG_PROXY",
    "PIP_PROXY",
    "WSS_PROXY",
    "WS_PROXY",
    "all_proxy",
    "npm_config_https_proxy",
    "npm_config_proxy",
    "ws_proxy",
    "wss_proxy",
];

/// Programs that look at the environment only when they are asked to: Node.js (from 22.21 and 24.5) and Perl's LWP.
const SWITCHES: [&str; 2] = ["NODE_USE_ENV_PROXY", "PERL_LWP_ENV_PROXY"];

/// Files of trusted certificates. Most of them replace what a program trusts, so all name a bundle with the system's.
const BUNDLE: [&str; 19] = [
    "AWS_CA_BUNDLE",
    "BUNDLE_SSL_CA_CERT",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "COMPOSER_CAFILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HEX_CACERTS_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "YARN_HTTPS_CA_FILE_PATH",
    // npm reads NODE_EXTRA_CA_CERTS, but not where an npmrc names a cafile, and many a machine's does.
    "npm_config_cafile",
];

/// The same in another spelling, and changed where it is set.
const BUNDLE_IF_SET: [&str; 1] = ["NPM_CONFIG_CAFILE"];

/// Not for these programs. `REQUEST_METHOD` has them believe that a web server started them, so that they take no proxy from
/// the environment (httpoxy); a SOCKS proxy would lead past attache.
const UNWANTED: [&str; 3] = ["REQUEST_METHOD", "SOCKS_PROXY", "socks_proxy"];

/// What happens to a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is this, whatever it was.
    Set(String),
    /// It is taken out.
    Unset,
}

/// The changes to an environment, and what a person should know about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    /// By name, each once.
    pub(crate) changes: Vec<(String, Change)>,
    /// Sentences: what was left out of `NO_PROXY`, and what in there still leads past attache.
    pub(crate) notes: Vec<String>,
}

impl Environment {
    /// True if programs do not go through the proxy for this name or address.
    #[must_use]
    pub(crate) fn goes_direct(&self, host: &str) -> bool {
        let value = self.changes.iter().find(|(name, _)| name == "NO_PROXY").map(|(_, change)| change);
        matches!(value, Some(Change::Set(list)) if list.split(',').any(|entry| entry.eq_ignore_ascii_case(host)))
    }
}

impl Setup<'_> {
    /// What has to change in an environment, of which `current` tells the variables, so that programs use the proxy.
    #[must_use]
    pub(crate) fn environment(&self, current: &dyn Fn(&str) -> Option<String>) -> Environment {
        let mut changes: Vec<(String, Change)> = Vec::new();
        let mut set = |names: &[&str], value: &str| {
            changes.extend(names.iter().map(|name| ((*name).to_owned(), Change::Set(value.to_owned()))));
        };
        let is_set = |name: &&str| current(name).is_some_and(|value| !value.trim().is_empty());
        if let Some(url) = self.proxy.as_ref().map(Proxy::url) {
            set(&PROXY, url);
            set(&PROXY_IF_SET.into_iter().filter(is_set).collect::<Vec<_>>(), url);
            set(&SWITCHES, "1");
        }
        if let Some(trust) = self.trust {
            set(&BUNDLE, &trust.bundle);
            set(&BUNDLE_IF_SET.into_iter().filter(is_set).collect::<Vec<_>>(), &trust.bundle);
            for (name, value) in &trust.variables {
                set(&[name], value);
            }
        }
        let before = ["no_proxy", "NO_PROXY"].map(|name| current(name).unwrap_or_default());
        let direct = no_proxy::merge(&before, self.upstreams);
        let java = java::options(self, &direct.entries, current("JAVA_TOOL_OPTIONS").as_deref());
        if !java.is_empty() {
            set(&["JAVA_TOOL_OPTIONS"], &java);
        }
        let mut notes = Vec::new();
        if self.proxy.is_some() {
            let no_proxy = direct.entries.join(",");
            for name in ["NO_PROXY", "no_proxy"] {
                // An empty variable and none mean the same to programs, but not to every shell.
                let change = if no_proxy.is_empty() { Change::Unset } else { Change::Set(no_proxy.clone()) };
                changes.push((name.to_owned(), change));
            }
            changes.extend(UNWANTED.map(|name| (name.to_owned(), Change::Unset)));
            notes = direct.notes;
            if self.proxy.as_ref().is_some_and(Proxy::has_password) {
                notes.push(
                    "Java takes no password for a proxy from its options: give such programs a base URL, or a listener \
                     without callers"
                        .to_owned(),
                );
            }
        }
        changes.sort_by(|one, other| one.0.cmp(&other.0));
        Environment { changes, notes }
    }
}

/// Every variable that may be changed, for who takes it all back.
pub(crate) fn all_variables() -> impl Iterator<Item = &'static str> {
    let plain = PROXY.into_iter().chain(PROXY_IF_SET).chain(SWITCHES).chain(BUNDLE).chain(BUNDLE_IF_SET);
    plain.chain(client_files::VARIABLES).chain(["JAVA_TOOL_OPTIONS", "NO_PROXY", "no_proxy"])
}

/// True for a variable that [`Setup::environment`] may set or take out.
pub(super) fn may_be_changed(name: &str) -> bool {
    all_variables().chain(UNWANTED).any(|known| known == name)
}

/// The variables that name files of trusted certificates, for a bundle that has what they had.
pub(super) fn trusted_before(current: &dyn Fn(&str) -> Option<String>) -> BTreeSet<String> {
    let files = BUNDLE.into_iter().chain(BUNDLE_IF_SET).filter_map(current);
    files.filter(|path| !path.trim().is_empty()).collect()
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
