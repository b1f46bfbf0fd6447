//! A forward listener: callers name the target themselves.

use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;

use super::choice;
use super::destination::{Destination, ResolvedRoute, Tunnel};
use super::target::{self, Target};
use crate::dial::{Host, Origin, Scheme};
use crate::proxy::error::ProxyError;
use crate::proxy::refusals::Refused;
use crate::proxy::source::InTunnel;
use crate::route::{Arrival, ForwardTable, HttpScheme, TunnelPorts};
use crate::runtime::ListenerRoute;

/// The destination of a forward-proxy request.
pub(in crate::proxy) fn destination(
    table: &ForwardTable<Arc<ListenerRoute>>,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, ProxyError> {
    match target::parse(head)? {
        Target::Absolute(scheme, authority) => {
            let asked = Asked { path: head.uri.path(), caller };
            find(table, scheme, &authority.host, authority.port_or_default(scheme), asked)
        }
        Target::Authority(authority, port) => tunnel(table, &authority.host, port, caller),
        Target::Asterisk(_) => Ok(Destination::Itself),
        Target::Origin(_) => Err(ProxyError::bad_request(
            "this is a forward proxy: set HTTP_PROXY to its address and request http://HOST/PATH, \
             or use a reverse listener as the base URL",
        )),
    }
}

/// What routes of one origin are told apart by.
#[derive(Clone, Copy)]
struct Asked<'a> {
    path: &'a str,
    caller: Option<&'a str>,
}

fn find(
    table: &ForwardTable<Arc<ListenerRoute>>,
    scheme: Scheme,
    host: &str,
    port: u16,
    asked: Asked<'_>,
) -> Result<Destination, ProxyError> {
    let Some((routes, arrival)) = table.find(scheme, host, port) else {
        return Ok(Destination::Unmatched(origin(scheme, host, port)?));
    };
    let at = choice::choose(routes, asked.path, asked.caller)?;
    check_http(at, arrival, host)?;
    let pattern = &at.route.upstream.settings.origin;
    ResolvedRoute::new(at, pattern, host, None).map(Destination::Route).ok_or_else(|| {
        // The table and the pattern read the same configuration, so this does not happen.
        ProxyError::denied(format!("upstream {:?} does not cover {host}", at.route.name()))
    })
}

fn check_http(at: &Arc<ListenerRoute>, arrival: Arrival, host: &str) -> Result<(), ProxyError> {
    if arrival != Arrival::Alias || at.route.settings.http != HttpScheme::Refuse {
        return Ok(());
    }
    let name = at.route.name();
    let detail = format!("upstream {name:?} takes https:// only (http = \"refuse\"); request https://{host}");
    Err(ProxyError::denied(detail).on(at).refusing(Refused::Rules(name.into())))
}

/// What a CONNECT to this canonical host and port asks for.
pub(in crate::proxy) fn tunnel(
    table: &ForwardTable<Arc<ListenerRoute>>,
    host: &str,
    port: u16,
    caller: Option<&str>,
) -> Result<Destination, ProxyError> {
    if let Some(routes) = table.find_tunnel(host, port) {
        let at = choice::for_tunnel(routes, caller)?;
        let origin = origin(at.route.upstream.settings.origin.base().scheme, host, port)?;
        let shared = choice::is_shared(routes);
        return Ok(Destination::Tunnel(Tunnel {
            at: Some(Arc::clone(at)),
            origin,
            alias: false,
            shared,
            only_way: false,
        }));
    }
    match table.find(Scheme::Http, host, port) {
        // Programs that tunnel http too (undici, websockets, curl -p) open one to port 80.
        Some((routes, arrival)) => {
            let at = choice::for_tunnel(routes, caller)?;
            check_http(at, arrival, host)?;
            let origin = origin(Scheme::Http, host, port)?;
            let shared = choice::is_shared(routes);
            Ok(Destination::Tunnel(Tunnel { at: Some(Arc::clone(at)), origin, alias: true, shared, only_way: false }))
        }
        None => {
            check_port(table.tunnels(), host, port)?;
            let origin = origin(Scheme::Https, host, port)?;
            Ok(Destination::Tunnel(Tunnel { at: None, origin, alias: false, shared: false, only_way: false }))
        }
    }
}

/// The destination of a request inside of an opened tunnel: what the tunnel was opened for, and nothing else.
pub(in crate::proxy) fn inside(
    table: &ForwardTable<Arc<ListenerRoute>>,
    inside: &InTunnel,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, ProxyError> {
    let (authority, asterisk) = match target::parse(head)? {
        Target::Origin(host) => (host, false),
        Target::Asterisk(host) => (host, true),
        Target::Absolute(scheme, authority) if scheme == inside.scheme => (Some(authority), false),
        Target::Absolute(..) => return Err(ProxyError::bad_request("the target has another scheme than its tunnel")),
        Target::Authority(..) => return Err(ProxyError::bad_request("there is no CONNECT inside of a tunnel")),
    };
    if let Some(authority) = authority
        && (*authority.host != *inside.host || authority.port_or_default(inside.scheme) != inside.port)
    {
        return Err(ProxyError::bad_request(format!(
            "the request names another host or port than its tunnel, which was opened for {}:{}",
            inside.host, inside.port
        )));
    }
    let asked = Asked { path: head.uri.path(), caller };
    let mut destination = find(table, inside.scheme, &inside.host, inside.port, asked)?;
    if asterisk && let Destination::Route(reached) = &mut destination {
        reached.path = Some(PathAndQuery::from_static("*"));
    }
    Ok(destination)
}

/// RFC 9110 section 9.3.6: a tunnel carries anything, and a proxy that opens one to any port is a way to send spam.
fn check_port(tunnels: &TunnelPorts, host: &str, port: u16) -> Result<(), ProxyError> {
    match tunnels {
        TunnelPorts::Listed(ports) if !tunnels.permit(port) => {
            let known: Vec<String> = ports.iter().map(u16::to_string).collect();
            Err(ProxyError::denied(format!(
                "no upstream covers {host}:{port}, and tunnels elsewhere lead to port {} only; \
                 to open this one, write [forward] connect_ports = [{port}]",
                known.join(", ")
            ))
            .refusing(Refused::Port(format!("{host}:{port}").into())))
        }
        _ => Ok(()),
    }
}

fn origin(scheme: Scheme, host: &str, port: u16) -> Result<Origin, ProxyError> {
    let host = Host::parse(host).map_err(|error| ProxyError::bad_request(error.to_string()))?;
    Ok(Origin { scheme, host, port })
}
