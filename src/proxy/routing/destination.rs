//! What a target turned out to be.

use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::dial::{Origin, OriginPattern};
use crate::runtime::ListenerRoute;

/// Where a request goes.
#[derive(Debug)]
pub(in crate::proxy) enum Destination {
    /// To a configured upstream.
    Route(ResolvedRoute),
    /// To an origin that no upstream covers.
    Unmatched(Origin),
    /// CONNECT, to a configured upstream or not.
    Tunnel(Tunnel),
    /// To attache: `OPTIONS *` on a forward listener.
    Itself,
}

/// What a CONNECT asks for.
#[derive(Debug)]
pub(in crate::proxy) struct Tunnel {
    /// `None`: no upstream covers it.
    pub(in crate::proxy) at: Option<Arc<ListenerRoute>>,
    /// Host and port as they were asked for.
    pub(in crate::proxy) origin: Origin,
    /// Host and port are the `http` name of an https upstream (`api.example.com:80`): there is nothing to tunnel to, but plain
    /// HTTP has a way.
    pub(in crate::proxy) alias: bool,
    /// Several upstreams share its origin: only what is inside says which one is meant.
    pub(in crate::proxy) shared: bool,
    /// A request of plain HTTP has no other way (SOCKS); after CONNECT it could have been sent to the proxy itself.
    pub(in crate::proxy) only_way: bool,
}

/// A configured upstream, at one concrete origin.
#[derive(Debug)]
pub(in crate::proxy) struct ResolvedRoute {
    pub(in crate::proxy) at: Arc<ListenerRoute>,
    /// `None` for an upstream with one origin: it is in its settings.
    origin: Option<Origin>,
    /// `None`: as the caller wrote it.
    pub(in crate::proxy) path: Option<PathAndQuery>,
}

impl ResolvedRoute {
    /// `None` if the pattern does not cover the host.
    pub(in crate::proxy) fn new(
        at: &Arc<ListenerRoute>,
        pattern: &OriginPattern,
        host: &str,
        path: Option<PathAndQuery>,
    ) -> Option<Self> {
        let origin = match pattern {
            OriginPattern::Exact(origin) if origin.host.as_str() == host => None,
            OriginPattern::Exact(_) => return None,
            OriginPattern::Wildcard { .. } => Some(pattern.at_host(host)?),
        };
        Some(Self { at: Arc::clone(at), origin, path })
    }

    /// A route whose origin comes with its token; it has to be put in with [`ResolvedRoute::at_origin`] before anything is sent.
    pub(in crate::proxy) fn without_origin(at: &Arc<ListenerRoute>, path: Option<PathAndQuery>) -> Self {
        Self { at: Arc::clone(at), origin: None, path }
    }

    pub(in crate::proxy) fn at_origin(&self, origin: Origin) -> Self {
        Self { at: Arc::clone(&self.at), origin: Some(origin), path: self.path.clone() }
    }

    /// The host, where the upstream has several.
    pub(in crate::proxy) fn host(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.host.as_str())
    }

    pub(in crate::proxy) fn origin(&self) -> &Origin {
        self.origin.as_ref().unwrap_or_else(|| self.at.route.upstream.settings.origin.base())
    }
}
