//! CONNECT: reach the upstream first, then say 200, then let the first bytes decide. A snapshot of the configuration is not
//! kept for the life of a tunnel: each request inside takes its own.

use std::rc::Rc;

use http::Response;

use super::resolve::resolve;
use super::serve::serve_tunnel;
use crate::listen::{Handler, Incoming};
use crate::proxy::body::response::CallerBody;
use crate::proxy::error::ProxyError;
use crate::proxy::routing::destination::Tunnel;
use crate::proxy::source::{InTunnel, TunnelSource};
use crate::proxy::state::Proxy;
use crate::runtime::{ListenerRuntime, Runtime};

/// Answers a CONNECT request, and serves what follows; its requests are answered by what `handler` makes.
pub(in crate::proxy) async fn open<H: Handler>(
    proxy: &Rc<Proxy>,
    (runtime, listener): (&Runtime, &ListenerRuntime),
    source: TunnelSource,
    tunnel: Tunnel,
    mut body: Incoming,
    handler: impl FnOnce(InTunnel) -> Rc<H> + 'static,
) -> Result<Response<CallerBody>, ProxyError> {
    let resolved = resolve(proxy, runtime, listener, tunnel).await?;
    let Some(upgrade) = body.take_upgrade() else {
        let detail = "a connection of this kind cannot become a tunnel; use HTTP/1.1 or HTTP/2";
        return Err(ProxyError::bad_request(detail).on_optional(resolved.tunnel.at.as_ref()));
    };
    let serving = Rc::clone(proxy);
    proxy.spawn(async move {
        if let Ok(caller) = upgrade.upgraded().await {
            serve_tunnel(&serving, &source, resolved, caller, handler).await;
        }
    });
    Ok(Response::new(CallerBody::empty()))
}
