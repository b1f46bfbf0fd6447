//! Tunnels that pass unread: how they are called, counted and told of.

use std::sync::atomic::Ordering;

use crate::dial::Origin;
use crate::runtime::ListenerRoute;

/// Counts a tunnel to a configured upstream that is not opened, and says once what that means.
pub(super) fn passes_unread(at: &ListenerRoute, origin: &Origin) {
    at.metrics.tunnels.inc();
    at.metrics.count_tunnel();
    if at.route.credential.is_some() {
        at.metrics.unread_tunnel.note();
        at.metrics.upstream.unread.inc();
    }
    if at.route.credential.is_none() || at.tunnel_warned.swap(true, Ordering::Relaxed) {
        return;
    }
    tracing::warn!(
        target: "attache::proxy", upstream = %at.route.name(),
        "a CONNECT tunnel to {} carries no token, because what is inside is encrypted; \
         let the program request http://{} through this proxy, use a reverse listener as its base URL, \
         or have TLS opened by a local CA: `attache ca init` and [intercept]",
        target(origin),
        instead(origin),
    );
}

/// What a CONNECT asks for: what will be spoken there is not known yet.
pub(in crate::proxy) fn target(origin: &Origin) -> String {
    format!("{}:{}", origin.host, origin.port)
}

/// The host to request through the proxy instead of a tunnel: with its port, unless that goes without saying.
pub(in crate::proxy) fn instead(origin: &Origin) -> String {
    if matches!(origin.port, 80 | 443) { origin.host.to_string() } else { target(origin) }
}
