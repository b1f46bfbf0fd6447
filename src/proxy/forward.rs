//! A forward listener: callers name the target themselves.

use std::sync::Arc;

use http::request::Parts;

use super::destination::{Destination, Reached};
use super::error::Refusal;
use super::target::{self, Target};
use crate::route::{Arrival, ForwardTable, TunnelPorts};
use crate::runtime::Lane;
use crate::upstream::{Host, Origin, Scheme};

/// The destination of a forward-proxy request.
pub(super) fn destination(table: &ForwardTable<Arc<Lane>>, head: &Parts) -> Result<Destination, Refusal> {
    match target::parse(head)? {
        Target::Absolute(scheme, authority) => find(table, scheme, &authority.host, authority.port_or_default(scheme)),
        Target::Authority(authority, port) => Ok(match table.find_tunnel(&authority.host, port) {
            Some(lane) => Destination::Tunnel(Some(Arc::clone(lane)), tunnel_origin(lane, &authority.host, port)?),
            None => {
                check_port(table.tunnels(), &authority.host, port)?;
                Destination::Tunnel(None, origin(Scheme::Https, &authority.host, port)?)
            }
        }),
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

fn tunnel_origin(lane: &Lane, host: &str, port: u16) -> Result<Origin, Refusal> {
    let scheme = lane.route.upstream.settings.origin.base().scheme;
    origin(scheme, host, port)
}

fn origin(scheme: Scheme, host: &str, port: u16) -> Result<Origin, Refusal> {
    let host = Host::parse(host).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(Origin { scheme, host, port })
}
