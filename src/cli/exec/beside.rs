//! The configuration that serves one command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::args::BesideArgs;
use super::base;
use super::known::{distinct, upstreams_of};
use crate::cli::output::Failure;
use crate::config::{Config, ListenerConfig};
use crate::listen::ListenAddress;
use crate::proxy::ListenerMode;

/// The name of the listener that the command has as its proxy.
pub(super) const PROXY: &str = "exec";

/// The configuration on free ports, so that it runs beside another attache: a proxy, and a listener for each base URL.
pub(super) fn beside(mut config: Config, args: &BesideArgs) -> Result<Config, Failure> {
    let upstreams = match &args.listener {
        None => config.upstreams.iter().map(|upstream| upstream.connection.name.clone()).collect(),
        Some(name) => upstreams_of(&config, name)?,
    };
    base::check(&args.base, &config, &upstreams)?;
    let users = if args.any_user { None } else { users() };
    let listener = |name: &str, mode: ListenerMode| ListenerConfig {
        name: name.to_owned(),
        address: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        mode,
        callers: None,
        users: users.clone(),
        socket_mode: None,
        tls: None,
        proxy_protocol: None,
        trusted_proxies: None,
        title_case: false,
    };
    config.listeners = vec![listener(PROXY, ListenerMode::Forward { upstreams })];
    let bases = base::modes(&args.base).map(|(name, mode)| listener(&name, mode));
    config.listeners.extend(bases);
    // There is one caller, and it is asked nothing.
    for upstream in &mut config.upstreams {
        Arc::make_mut(&mut upstream.route).callers = None;
    }
    if !args.isolate {
        config.forward.open(config.forward_said);
    }
    if let Some(others) = args.unmatched {
        config.forward.unmatched = others.into();
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
