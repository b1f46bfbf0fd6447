//! The configuration that serves one command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::known::{distinct, upstreams_of};
use crate::cli::output::Failure;
use crate::config::{Config, ListenerConfig};
use crate::listen::ListenAddress;
use crate::proxy::ListenerMode;

/// The configuration with one listener, on a free port, so that it runs beside another attache.
pub(super) fn beside(mut config: Config, listener: Option<&str>, any_user: bool) -> Result<Config, Failure> {
    let upstreams = match listener {
        None => config.upstreams.iter().map(|upstream| upstream.connection.name.clone()).collect(),
        Some(name) => upstreams_of(&config, name)?,
    };
    config.listeners = vec![ListenerConfig {
        name: "exec".to_owned(),
        address: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        mode: ListenerMode::Forward { upstreams },
        callers: None,
        users: if any_user { None } else { users() },
        socket_mode: None,
        tls: None,
        title_case: false,
    }];
    // There is one caller, and it is asked nothing.
    for upstream in &mut config.upstreams {
        Arc::make_mut(&mut upstream.route).callers = None;
    }
    config.admin = None;
    // What was read is what runs: a changed file must not bring the other listeners back.
    config.file = None;
    distinct(&config)?;
    Ok(config)
}

/// A port of this machine is open to its other users too, and they are not to have these tokens.
#[cfg(target_os = "linux")]
fn users() -> Option<Vec<u32>> {
    // Where the system shows no connections (ProcSubset=pid), no connection's owner could be told, and every caller would be refused.
    std::fs::read("/proc/net/tcp").ok()?;
    Some(crate::exec::users())
}

#[cfg(not(target_os = "linux"))]
const fn users() -> Option<Vec<u32>> {
    None
}
