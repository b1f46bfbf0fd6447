//! The destination of a request, by what its listener is.

use http::request::Parts;

use super::destination::Destination;
use super::{forward, reverse};
use crate::proxy::error::ProxyError;
use crate::proxy::source::InTunnel;
use crate::runtime::{ListenerRuntime, ModeRuntime};

/// Works out the destination of a caller's request on this listener, or inside of a tunnel that it has opened.
pub(in crate::proxy) fn resolve(
    listener: &ListenerRuntime,
    inside: Option<&InTunnel>,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, ProxyError> {
    match &listener.mode {
        ModeRuntime::Forward(table) | ModeRuntime::Socks5(table) if let Some(inside) = inside => {
            forward::inside(table, inside, head, caller)
        }
        ModeRuntime::Forward(table) => forward::destination(table, head, caller),
        ModeRuntime::Socks5(_) => Err(ProxyError::denied(
            "this listener speaks SOCKS 5; give it socks5h://HOST:PORT, or use a forward listener",
        )),
        ModeRuntime::Reverse { table, hosts } => reverse::destination(table, hosts.as_deref(), head, caller),
        ModeRuntime::Token(_) => Err(ProxyError::denied("this listener is a token endpoint and forwards nothing")),
    }
}
