//! A forward listener: callers name the target themselves.

use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;

use super::destination::{Destination, Reached, Tunnel};
use super::error::Refusal;
use super::intercept::Inside;
use super::target::{self, Target};
use crate::route::{Arrival, ForwardTable, TunnelPorts};
use crate::runtime::Lane;
use crate::upstream::{Host, Origin, Scheme};

/// The destination of a forward-proxy request.
pub(super) fn destination(table: &ForwardTable<Arc<Lane>>, head: &Parts) -> Result<Destination, Refusal> {
    match target::parse(head)? {
        Target::Absolute(scheme, authority) => find(table, scheme, &authority.host, authority.port_or_default(scheme)),
        Target::Authority(authority, port) => tunnel(table, &authority.host, port),
        Target::Asterisk(_) => Ok(Destination::Itself),
        Target::Origin(_) => Err(Refusal::bad_request(
            "this is a forward proxy: set HTTP_PROXY to its address and request http://HOST/PATH, \
             or use a reverse listener as the base URL",
        )),
    }
}

fn find(table: &ForwardTable<Arc<Lane>>, scheme: Scheme, host: &str, port: u16) -> Result<Destination, Refusal> {
    match table.find(scheme, host, port) {
        Some((lane, Arrival::Same | Arrival::Upgraded)) => {
            let pattern = &lane.route.upstream.settings.origin;
            Reached::new(lane, pattern, host, None).map(Destination::Route).ok_or_else(|| {
                // The table and the pattern read the same configuration, so this does not happen.
                Refusal::denied(format!("upstream {:?} does not cover {host}", lane.route.name()))
            })
        }
        Some((lane, Arrival::HttpRefused)) => {
            let refusal = Refusal::denied(format!(
                "upstream {:?} takes https:// only (http = \"refuse\"); request https://{host}",
                lane.route.name()
            ));
            Ok(Destination::Refused(Arc::clone(lane), refusal))
        }
        None => Ok(Destination::Unmatched(origin(scheme, host, port)?)),
    }
}

/// What a CONNECT to this canonical host and port asks for.
pub(super) fn tunnel(table: &ForwardTable<Arc<Lane>>, host: &str, port: u16) -> Result<Destination, Refusal> {
    if let Some(lane) = table.find_tunnel(host, port) {
        let scheme = lane.route.upstream.settings.origin.base().scheme;
        let origin = origin(scheme, host, port)?;
        return Ok(Destination::Tunnel(Tunnel { lane: Some(Arc::clone(lane)), origin, alias: false }));
    }
    match table.find(Scheme::Http, host, port) {
        // Programs that tunnel http too (undici, websockets, curl -p) open one to port 80.
        Some((lane, Arrival::Upgraded)) => {
            let origin = origin(Scheme::Http, host, port)?;
            Ok(Destination::Tunnel(Tunnel { lane: Some(Arc::clone(lane)), origin, alias: true }))
        }
        Some(_) => find(table, Scheme::Http, host, port),
        None => {
            check_port(table.tunnels(), host, port)?;
            Ok(Destination::Tunnel(Tunnel { lane: None, origin: origin(Scheme::Https, host, port)?, alias: false }))
        }
    }
}

/// The destination of a request inside of an opened tunnel: what the tunnel was opened for, and nothing else.
pub(super) fn inside(table: &ForwardTable<Arc<Lane>>, inside: &Inside, head: &Parts) -> Result<Destination, Refusal> {
    let (authority, asterisk) = match target::parse(head)? {
        Target::Origin(host) => (host, false),
        Target::Asterisk(host) => (host, true),
        Target::Absolute(scheme, authority) if scheme == inside.scheme => (Some(authority), false),
        Target::Absolute(..) => return Err(Refusal::bad_request("the target has another scheme than its tunnel")),
        Target::Authority(..) => return Err(Refusal::bad_request("there is no CONNECT inside of a tunnel")),
    };
    if let Some(authority) = authority
        && (*authority.host != *inside.host || authority.port_or_default(inside.scheme) != inside.port)
    {
        return Err(Refusal::bad_request(format!(
            "the request names another host or port than its tunnel, which was opened for {}:{}",
            inside.host, inside.port
        )));
    }
    let mut destination = find(table, inside.scheme, &inside.host, inside.port)?;
    if asterisk && let Destination::Route(reached) = &mut destination {
        reached.path = Some(PathAndQuery::from_static("*"));
    }
    Ok(destination)
}

/// RFC 9110 section 9.3.6: a tunnel carries anything, and a proxy that opens one to any port is a way to send spam.
fn check_port(tunnels: &TunnelPorts, host: &str, port: u16) -> Result<(), Refusal> {
    match tunnels {
        TunnelPorts::Listed(ports) if !tunnels.permit(port) => {
            let known: Vec<String> = ports.iter().map(u16::to_string).collect();
            Err(Refusal::denied(format!(
                "no upstream covers {host}:{port}, and tunnels elsewhere lead to port {} only; \
                 to open this one, write [forward] connect_ports = [{port}]",
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

fn origin(scheme: Scheme, host: &str, port: u16) -> Result<Origin, Refusal> {
    let host = Host::parse(host).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(Origin { scheme, host, port })
}
