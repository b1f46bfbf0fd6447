//! Every table of a file, read but not yet held against each other.

use crate::config::syntax::value::Spanned;
use crate::config::tables::callers::Caller;
use crate::config::tables::listeners::{Listener, Mode};
use crate::config::tables::upstreams::Upstream;
use crate::config::types::AdminConfig;
use crate::credential::CredentialSettings;
use crate::proxy::ForwardSettings;

pub(crate) struct Tables<'a> {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin: Option<Spanned<AdminConfig>>,
    pub(crate) upstreams: Vec<Upstream>,
    /// Where each credential stands.
    pub(crate) credentials: Vec<Spanned<CredentialSettings>>,
    pub(crate) callers: Vec<Caller>,
    /// Where `[intercept]` is.
    pub(crate) intercept_at: Option<usize>,
    /// Where `[cache]` is.
    pub(crate) cache_at: Option<usize>,
    pub(crate) caller_names: Vec<&'a str>,
    pub(crate) forward: ForwardSettings,
    /// Every name in the file, also of tables that could not be read.
    pub(crate) upstream_names: Vec<&'a str>,
    pub(crate) credential_names: Vec<&'a str>,
}

/// The upstreams that a listener knows: the ones it names, or all where callers name the target and it names none.
pub(crate) fn reached<'t>(listener: &Listener, upstreams: &'t [Upstream]) -> Vec<&'t Upstream> {
    match (&listener.upstreams, listener.mode) {
        (Some(names), _) => {
            names.iter().filter_map(|name| upstreams.iter().find(|upstream| upstream.name() == name.value)).collect()
        }
        (None, Some(Mode::Forward | Mode::Socks5)) => upstreams.iter().collect(),
        (None, _) => Vec::new(),
    }
}
