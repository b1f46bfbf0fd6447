//! Which listener programs go through, where it is, and whether anybody is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::cli::output::Failure;
use crate::config::{Config, ListenerConfig};
use crate::listen::ListenAddress;
use crate::proxy::ListenerMode;

/// How long a listener on this machine may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The forward listener that is meant; `None` where there is none, and a CA to be trusted all the same.
pub(super) fn listener<'c>(config: &'c Config, name: Option<&str>) -> Result<Option<&'c ListenerConfig>, Failure> {
    let is_forward = |listener: &&ListenerConfig| matches!(listener.mode, ListenerMode::Forward { .. });
    let forward: Vec<&ListenerConfig> = config.listeners.iter().filter(is_forward).collect();
    let names = || forward.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    let source = &config.source;
    match (name, forward.as_slice()) {
        (None, []) if config.intercept.is_some() => Ok(None),
        (_, []) => Err(Failure::failed(format!(
            "{}; add one, or give programs the base URL of a reverse listener",
            no_forward(config)
        ))),
        (None, [only]) => Ok(Some(only)),
        (None, _) => Err(Failure::usage(format!(
            "{source} has several forward listeners; name one with --listener: {}",
            names()
        ))),
        (Some(name), _) => forward.iter().find(|listener| listener.name == name).copied().map(Some).ok_or_else(|| {
            Failure::usage(format!("there is no forward listener {name:?} in {source}; there are: {}", names()))
        }),
    }
}

/// What it lacks.
pub(super) fn no_forward(config: &Config) -> String {
    format!("{} has no listener with mode = \"forward\", which is what HTTP_PROXY needs", config.source)
}

/// Where programs on this machine reach a listener.
pub(super) fn address(listener: &ListenerConfig) -> Result<SocketAddr, Failure> {
    let name = &listener.name;
    match &listener.address {
        ListenAddress::Unix(_) => Err(Failure::failed(format!(
            "listener {name:?} is a unix socket, which HTTP_PROXY cannot name; give a listener an IP address and a port"
        ))),
        ListenAddress::Tcp(address) if address.port() == 0 => Err(Failure::failed(format!(
            "listener {name:?} takes a free port (0), another one at each start; write a port into its address, or use \
             `attache exec`"
        ))),
        ListenAddress::Tcp(address) => {
            // Every address includes this machine's own.
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            };
            Ok(SocketAddr::new(ip, address.port()))
        }
    }
}

/// True if something takes connections there. Nothing is sent.
pub(super) fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
}
