//! From tables to settings: every name has become what it names.

use crate::config::checks::callers;
use crate::config::checks::tables::{Tables, reached};
use crate::config::tables::listeners::Mode;
use crate::config::tables::parent_proxy::Via;
use crate::config::tables::upstreams;
use crate::config::types::{Config, ListenerConfig, UpstreamConfig};
use crate::credential::{CredentialKind, CredentialSettings};
use crate::listen::Limits;
use crate::proxy::ListenerMode;
use crate::telemetry::TelemetrySettings;
use crate::tls::AuthoritySource;
use crate::upstream::UpstreamSettings;

/// The plain settings. Whatever could not be read is left out here, and is a problem already.
pub(super) fn settings(tables: Tables<'_>, source: &str, limits: Limits, intercept: Option<AuthoritySource>) -> Config {
    let listeners = tables.listeners.iter().filter_map(|listener| {
        let upstreams = reached(listener, &tables.upstreams);
        let upstreams = upstreams.iter().map(|upstream| upstream.config.connection.name.clone()).collect();
        let mode = match listener.mode? {
            Mode::Forward => ListenerMode::Forward { upstreams },
            Mode::Socks5 => ListenerMode::Socks5 { upstreams },
            Mode::Reverse => ListenerMode::Reverse { upstreams, hosts: listener.hosts.clone() },
            Mode::Token => ListenerMode::Token { clients: callers::clients(listener, &tables) },
        };
        Some(ListenerConfig {
            name: listener.name.clone(),
            address: listener.address.as_ref()?.value.clone(),
            mode,
            callers: callers::of_listener(listener, &tables),
            users: listener.users.clone(),
            socket_mode: listener.socket_mode,
            tls: listener.tls.clone(),
            title_case: listener.title_case,
        })
    });
    let listeners = listeners.collect();
    let mut credentials: Vec<CredentialSettings> =
        tables.credentials.into_iter().map(|credential| credential.value).collect();
    for upstream in &tables.upstreams {
        keep_member(&mut credentials, &upstream.config);
    }
    let forward_via = tables.forward.via.clone();
    let resolved = |upstream: upstreams::Upstream| {
        let via = match upstream.via.map(|via| via.value) {
            None | Some(Via::Direct) => None,
            Some(Via::AsForward) => forward_via.clone(),
            Some(Via::Proxy(proxy)) => Some(proxy),
        };
        let connection = UpstreamSettings { via, ..upstream.config.connection };
        UpstreamConfig { connection, ..upstream.config }
    };
    let upstreams = tables.upstreams.into_iter().map(resolved).collect();
    Config {
        source: source.to_owned(),
        file: None,
        listeners,
        admin: tables.admin.map(|admin| admin.value),
        credentials,
        upstreams,
        forward: tables.forward,
        limits,
        intercept,
        cache: None,
        telemetry: TelemetrySettings::default(),
        variables: Vec::new(),
        warnings: Vec::new(),
    }
}

/// `origin_from` is a wish of the upstream's, and its credential's token request has to know of it.
fn keep_member(credentials: &mut [CredentialSettings], upstream: &UpstreamConfig) {
    let Some(member) = &upstream.route.origin_from else { return };
    let credential = credentials.iter_mut().find(|credential| Some(&credential.name) == upstream.credential.as_ref());
    if let Some(CredentialKind::OAuth(token)) = credential.map(|credential| &mut credential.kind)
        && !token.oauth.members.contains(member)
    {
        token.oauth.members.push(member.clone());
    }
}
