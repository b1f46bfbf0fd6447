//! What the configuration says about a parent proxy. Plain data; `config` fills it in.

use std::path::PathBuf;

use super::no_proxy::NoProxyRule;
use crate::dial::origin::Origin;
use crate::secret::Secrets;

/// A proxy of the network's, between attache and the servers that it connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParentProxySettings {
    /// The key of the configuration that names it, for sentences: `via` or `proxy`.
    pub(crate) key: &'static str,
    /// Where it listens, and whether it is spoken to by TLS.
    pub(crate) proxy: Origin,
    pub(crate) login: Option<ParentProxyLogin>,
    /// PEM certificates that an `https` proxy is trusted by **instead of** the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// What is reached without it.
    pub(crate) except: Vec<NoProxyRule>,
}

/// `username` and `password` of a parent proxy: Basic (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParentProxyLogin {
    /// Without a colon.
    pub(crate) username: String,
    /// Read for each connection.
    pub(crate) password: Secrets,
}
