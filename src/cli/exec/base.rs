//! `--base VAR=UPSTREAM`: a base URL for programs that read no proxy from their environment.

use std::collections::BTreeSet;

use super::args::Base;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::dial::OriginPattern;
use crate::exec::{Change, Environment};
use crate::listen::ListenAddress;
use crate::proxy::{AcceptedHosts, ListenerMode};

/// Each upstream is known, and has one origin.
pub(super) fn check(bases: &[Base], config: &Config, known: &[String]) -> Result<(), Failure> {
    for Base { variable, upstream } in bases {
        if !known.contains(upstream) {
            let source = &config.source;
            let there_are =
                if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join(", ")) };
            return Err(Failure::usage(format!(
                "--base {variable}={upstream}: there is no upstream {upstream:?} in {source}; {there_are}"
            )));
        }
        let origin = origin(config, upstream);
        if let Some(wildcard @ OriginPattern::Wildcard { .. }) = origin {
            return Err(Failure::usage(format!(
                "--base {variable}={upstream}: {wildcard} stands for many hosts, and a base URL cannot say which is meant; \
                 add an upstream for the one host, or use the proxy variables"
            )));
        }
    }
    Ok(())
}

fn origin<'c>(config: &'c Config, upstream: &str) -> Option<&'c OriginPattern> {
    let found = config.upstreams.iter().find(|known| known.connection.name == upstream);
    found.map(|known| &known.connection.origin)
}

/// A listener for each upstream that has a variable: its name, and what it is.
pub(super) fn modes(bases: &[Base]) -> impl Iterator<Item = (String, ListenerMode)> {
    let upstreams: BTreeSet<&String> = bases.iter().map(|base| &base.upstream).collect();
    upstreams.into_iter().map(|upstream| {
        let mode = ListenerMode::Reverse { upstreams: vec![upstream.clone()], hosts: AcceptedHosts::LocalAndUpstream };
        (listener(upstream), mode)
    })
}

fn listener(upstream: &str) -> String {
    format!("base {upstream}")
}

/// The variables. The URL names this machine as `NO_PROXY` has it, or programs that read both would ask the proxy for it.
pub(super) fn variables(
    bases: &[Base],
    config: &Config,
    listening: &[(String, ListenAddress)],
    environment: &Environment,
) -> Vec<(String, Change)> {
    let direct = |name: &str| environment.goes_direct(name);
    let variable = |base: &Base| {
        let (_, address) = listening.iter().find(|(name, _)| *name == listener(&base.upstream))?;
        let ListenAddress::Tcp(address) = address else { return None };
        let ip = address.ip().to_string();
        let host = if direct(&ip) || !direct("localhost") { ip } else { "localhost".to_owned() };
        let upstream = config.upstreams.iter().find(|known| known.connection.name == base.upstream)?;
        let prefix = upstream.route.path_prefix.as_ref().map(ToString::to_string).unwrap_or_default();
        let url = format!("http://{host}:{}{}", address.port(), prefix.trim_end_matches('/'));
        Some((base.variable.clone(), Change::Set(url)))
    };
    bases.iter().filter_map(variable).collect()
}
