//! What a target turned out to be. Decided before anything is sent; `attache explain` asks the same question.

use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;

use super::error::Refusal;
use super::{forward, reverse};
use crate::runtime::{Lane, ListenerRuntime, ModeRuntime};
use crate::upstream::{Origin, OriginPattern};

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// To a configured upstream.
    Route(Reached),
    /// To an origin that no upstream covers.
    Unmatched(Origin),
    /// Through, unread: CONNECT, to a configured upstream or not.
    Tunnel(Option<Arc<Lane>>, Origin),
    /// To nowhere: an upstream covers it, and does not take it like this.
    Refused(Arc<Lane>, Refusal),
    /// To attache: `OPTIONS *` on a forward listener.
    Itself,
}

/// A configured upstream, at one concrete origin.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) lane: Arc<Lane>,
    /// `None` for an upstream with one origin: it is in its settings.
    origin: Option<Origin>,
    /// `None`: as the caller wrote it.
    pub(super) path: Option<PathAndQuery>,
}

impl Reached {
    /// `None` if the pattern does not cover the host.
    pub(super) fn new(
        lane: &Arc<Lane>,
        pattern: &OriginPattern,
        host: &str,
        path: Option<PathAndQuery>,
    ) -> Option<Self> {
        let origin = match pattern {
            OriginPattern::Exact(origin) if origin.host.as_str() == host => None,
            OriginPattern::Exact(_) => return None,
            OriginPattern::Wildcard { .. } => Some(pattern.at_host(host)?),
        };
        Some(Self { lane: Arc::clone(lane), origin, path })
    }

    /// A route whose origin comes with its token; it has to be put in with [`Reached::at`] before anything is sent.
    pub(super) fn without_origin(lane: &Arc<Lane>, path: Option<PathAndQuery>) -> Self {
        Self { lane: Arc::clone(lane), origin: None, path }
    }

    /// The same route at this origin.
    pub(super) fn at(&self, origin: Origin) -> Self {
        Self { lane: Arc::clone(&self.lane), origin: Some(origin), path: self.path.clone() }
    }

    pub(super) fn origin(&self) -> &Origin {
        self.origin.as_ref().unwrap_or_else(|| self.lane.route.upstream.settings.origin.base())
    }
}

/// Works out the destination of a request on this listener.
pub(super) fn of(listener: &ListenerRuntime, head: &Parts) -> Result<Destination, Refusal> {
    match &listener.mode {
        ModeRuntime::Forward(table) => forward::destination(table, head),
        ModeRuntime::Socks5(_) => {
            Err(Refusal::denied("this listener speaks SOCKS 5; give it socks5h://HOST:PORT, or use a forward listener"))
        }
        ModeRuntime::Reverse { table, hosts } => reverse::destination(table, hosts.as_deref(), head),
        ModeRuntime::Token(_) => Err(Refusal::denied("this listener is a token endpoint and forwards nothing")),
    }
}
