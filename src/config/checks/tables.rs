//! Every table of a file, read but not yet held against each other.

use std::collections::HashSet;

use crate::config::syntax::named::{Named, Names};
use crate::config::syntax::value::Spanned;
use crate::config::tables::callers::Caller;
use crate::config::tables::listeners::{Listener, Mode};
use crate::config::tables::upstreams::Upstream;
use crate::config::types::AdminConfig;
use crate::credential::CredentialSettings;
use crate::proxy::{ForwardSaid, ForwardSettings};

pub(crate) struct Tables<'a> {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin: Option<Spanned<AdminConfig>>,
    pub(crate) upstreams: Named<Upstream>,
    /// Where each credential stands.
    pub(crate) credentials: Named<Spanned<CredentialSettings>>,
    pub(crate) callers: Named<Caller>,
    /// Where `[intercept]` is.
    pub(crate) intercept_at: Option<usize>,
    /// Where `[cache]` is.
    pub(crate) cache_at: Option<usize>,
    pub(crate) caller_names: Names<'a>,
    pub(crate) forward: ForwardSettings,
    pub(crate) forward_said: ForwardSaid,
    /// Every name in the file, also of tables that could not be read.
    pub(crate) upstream_names: Names<'a>,
    pub(crate) credential_names: Names<'a>,
}

/// A listener and the upstreams that it knows.
pub(crate) struct Reached<'t> {
    pub(crate) listener: &'t Listener,
    pub(crate) upstreams: Vec<&'t Upstream>,
}

impl<'t> Reached<'t> {
    pub(crate) fn by_each(tables: &'t Tables<'_>) -> Vec<Self> {
        let of = |listener| Self { listener, upstreams: reached(listener, &tables.upstreams) };
        tables.listeners.iter().map(of).collect()
    }
}

/// The upstreams that a listener knows: the ones it names, once each, or all where callers name the target and it names none.
pub(crate) fn reached<'t>(listener: &Listener, upstreams: &'t Named<Upstream>) -> Vec<&'t Upstream> {
    match (&listener.upstreams, listener.mode) {
        (Some(names), _) => {
            let mut seen = HashSet::new();
            let once = names.iter().filter(|name| seen.insert(&name.value));
            once.filter_map(|name| upstreams.named(&name.value)).collect()
        }
        (None, Some(Mode::Forward | Mode::Socks5)) => upstreams.iter().collect(),
        (None, _) => Vec::new(),
    }
}
