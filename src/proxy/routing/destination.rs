//! What a target turned out to be. Decided before anything is sent; `attache explain` asks the same question.

use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;

use super::forward;
use super::reverse;
use crate::dial::{Origin, OriginPattern};
use crate::proxy::error::Refusal;
use crate::proxy::tunnel::intercept::Inside;
use crate::runtime::{ListenerRoute, ListenerRuntime, ModeRuntime};

/// Where a request goes.
#[derive(Debug)]
pub(in crate::proxy) enum Destination {
    /// To a configured upstream.
    Route(Reached),
    /// To an origin that no upstream covers.
    Unmatched(Origin),
    /// CONNECT, to a configured upstream or not.
    Tunnel(Tunnel),
    /// To nowhere: an upstream covers it, and does not take it like this.
    Refused(Arc<ListenerRoute>, Refusal),
    /// To attache: `OPTIONS *` on a forward listener.
    Itself,
}

/// What a CONNECT asks for.
#[derive(Debug)]
pub(in crate::proxy) struct Tunnel {
    /// `None`: no upstream covers it.
    pub(in crate::proxy) listener_route: Option<Arc<ListenerRoute>>,
    /// Host and port as they were asked for.
    pub(in crate::proxy) origin: Origin,
    /// Host and port are the `http` name of an https upstream (`api.example.com:80`): there is nothing to tunnel to, but plain
    /// HTTP has a way.
    pub(in crate::proxy) alias: bool,
    /// Several upstreams share its origin: only what is inside says which one is meant.
    pub(in crate::proxy) shared: bool,
}

/// A configured upstream, at one concrete origin.
#[derive(Debug)]
pub(in crate::proxy) struct Reached {
    pub(in crate::proxy) listener_route: Arc<ListenerRoute>,
    /// `None` for an upstream with one origin: it is in its settings.
    origin: Option<Origin>,
    /// `None`: as the caller wrote it.
    pub(in crate::proxy) path: Option<PathAndQuery>,
}

impl Reached {
    /// `None` if the pattern does not cover the host.
    pub(in crate::proxy) fn new(
        listener_route: &Arc<ListenerRoute>,
        pattern: &OriginPattern,
        host: &str,
        path: Option<PathAndQuery>,
    ) -> Option<Self> {
        let origin = match pattern {
            OriginPattern::Exact(origin) if origin.host.as_str() == host => None,
            OriginPattern::Exact(_) => return None,
            OriginPattern::Wildcard { .. } => Some(pattern.at_host(host)?),
        };
        Some(Self { listener_route: Arc::clone(listener_route), origin, path })
    }

    /// A route whose origin comes with its token; it has to be put in with [`Reached::at`] before anything is sent.
    pub(in crate::proxy) fn without_origin(listener_route: &Arc<ListenerRoute>, path: Option<PathAndQuery>) -> Self {
        Self { listener_route: Arc::clone(listener_route), origin: None, path }
    }

    /// The same route at this origin.
    pub(in crate::proxy) fn at(&self, origin: Origin) -> Self {
        Self { listener_route: Arc::clone(&self.listener_route), origin: Some(origin), path: self.path.clone() }
    }

    /// The host, where the upstream has several.
    pub(in crate::proxy) fn host(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.host.as_str())
    }

    pub(in crate::proxy) fn origin(&self) -> &Origin {
        self.origin.as_ref().unwrap_or_else(|| self.listener_route.route.upstream.settings.origin.base())
    }
}

/// Works out the destination of a caller's request on this listener, or inside of a tunnel that it has opened.
pub(in crate::proxy) fn of(
    listener: &ListenerRuntime,
    inside: Option<&Inside>,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, Refusal> {
    match &listener.mode {
        ModeRuntime::Forward(table) | ModeRuntime::Socks5(table) if let Some(inside) = inside => {
            forward::inside(table, inside, head, caller)
        }
        ModeRuntime::Forward(table) => forward::destination(table, head, caller),
        ModeRuntime::Socks5(_) => {
            Err(Refusal::denied("this listener speaks SOCKS 5; give it socks5h://HOST:PORT, or use a forward listener"))
        }
        ModeRuntime::Reverse { table, hosts } => reverse::destination(table, hosts.as_deref(), head, caller),
        ModeRuntime::Token(_) => Err(Refusal::denied("this listener is a token endpoint and forwards nothing")),
    }
}
