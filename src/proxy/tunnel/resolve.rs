//! A tunnel's upstream, reached before anything is promised to the caller.

use std::sync::Arc;

use super::passthrough::{passes_unread, target};
use super::plan::{Plan, plan};
use crate::dial::{Origin, Transport};
use crate::proxy::admit::unmatched;
use crate::proxy::error::ProxyError;
use crate::proxy::routing::destination::Tunnel;
use crate::proxy::state::Proxy;
use crate::runtime::{ListenerRoute, ListenerRuntime, Runtime};
use crate::tls::CertificateAuthority;
use crate::upstream::{ExchangeError, Upstream};

pub(super) struct ResolvedTunnel {
    pub(super) tunnel: Tunnel,
    pub(super) upstream: Arc<Upstream>,
    pub(super) opening: Opening,
}

/// What of a tunnel is opened, with the connection through which the rest passes.
pub(super) enum Opening {
    Nothing(Transport),
    PlainHttp(Transport),
    PlainHttpAlone,
    /// Plain HTTP and TLS; a connection is made when something else comes.
    All(Arc<CertificateAuthority>),
}

/// Decides about a tunnel, and reaches its upstream.
pub(super) async fn resolve(
    proxy: &Proxy,
    runtime: &Runtime,
    listener: &ListenerRuntime,
    tunnel: Tunnel,
) -> Result<ResolvedTunnel, ProxyError> {
    match tunnel.at.clone() {
        Some(at) => resolve_on(proxy, runtime, &at, tunnel).await.map_err(|error| error.on(&at)),
        None => resolve_unmatched(runtime, listener, tunnel).await,
    }
}

async fn resolve_unmatched(
    runtime: &Runtime,
    listener: &ListenerRuntime,
    tunnel: Tunnel,
) -> Result<ResolvedTunnel, ProxyError> {
    let asked = target(&tunnel.origin);
    let upstream = Arc::clone(unmatched::admit(runtime, listener, &tunnel.origin, &asked)?);
    let dialled = upstream.dial(&tunnel.origin).await;
    let dialled = dialled.map_err(|error| ProxyError::unmatched_exchange(&asked, &error))?;
    listener.metrics.count_tunnel();
    listener.metrics.tunnels.inc();
    Ok(ResolvedTunnel { tunnel, upstream, opening: Opening::Nothing(dialled) })
}

async fn resolve_on(
    proxy: &Proxy,
    runtime: &Runtime,
    at: &ListenerRoute,
    tunnel: Tunnel,
) -> Result<ResolvedTunnel, ProxyError> {
    let upstream = Arc::clone(&at.route.upstream);
    let failed = |error| ProxyError::exchange(at.route.name(), &error);
    let opening = match plan(runtime, at, &tunnel)? {
        Plan::PlainHttpAlone => {
            verify(proxy, at, &tunnel.origin).await.map_err(failed)?;
            Opening::PlainHttpAlone
        }
        Plan::Intercept(authority) => {
            verify(proxy, at, &tunnel.origin).await.map_err(failed)?;
            Opening::All(authority)
        }
        Plan::PlainHttp => Opening::PlainHttp(upstream.dial(&tunnel.origin).await.map_err(failed)?),
        Plan::Unread => {
            let dialled = upstream.dial(&tunnel.origin).await.map_err(failed)?;
            passes_unread(at, &tunnel.origin);
            Opening::Nothing(dialled)
        }
    };
    Ok(ResolvedTunnel { tunnel, upstream, opening })
}

/// The upstream's own certificate comes first: an invalid one must never be made into a valid one (by a leaf of the local CA).
/// The connection is kept for the first request.
async fn verify(proxy: &Proxy, at: &ListenerRoute, asked: &Origin) -> Result<(), ExchangeError> {
    let upstream = &at.route.upstream;
    if at.route.settings.origin_from.is_some() {
        // Which host it is comes with the token, so there is nothing to dial yet; each request verifies what it dials.
        return Ok(());
    }
    let origin = upstream.settings.origin.at_host(asked.host.as_str());
    proxy.pool.ready(upstream, origin.as_ref().unwrap_or(asked)).await
}
