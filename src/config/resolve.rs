//! From tables to settings: every name has become what it names.

use std::sync::Arc;

use crate::config::checks::callers;
use crate::config::checks::tables::{Tables, reached};
use crate::config::syntax::named::Named;
use crate::config::syntax::value::Spanned;
use crate::config::tables::listeners::Mode;
use crate::config::tables::parent_proxy::Via;
use crate::config::tables::upstreams;
use crate::config::types::{Config, ListenerConfig, UpstreamConfig, VariablesRead};
use crate::credential::{CredentialKind, CredentialSettings};
use crate::listen::Limits;
use crate::proxy::ListenerMode;
use crate::telemetry::TelemetrySettings;
use crate::tls::AuthoritySource;

/// The plain settings. Whatever could not be read is left out here, and is a problem already.
pub(super) fn settings(
    mut tables: Tables<'_>,
    source: &str,
    limits: Limits,
    intercept: Option<AuthoritySource>,
) -> Config {
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
            proxy_protocol: listener.front.proxy_protocol.clone(),
            trusted_proxies: listener.front.trusted.clone(),
            title_case: listener.title_case,
        })
    });
    let listeners = listeners.collect();
    for upstream in tables.upstreams.iter() {
        keep_member(&mut tables.credentials, &upstream.config);
    }
    let credentials = tables.credentials.into_tables().into_iter().map(|credential| credential.value).collect();
    let forward_via = tables.forward.via.clone();
    let resolved = |mut upstream: upstreams::Upstream| {
        let via = match upstream.via.map(|via| via.value) {
            None | Some(Via::Direct) => None,
            Some(Via::AsForward) => forward_via.clone(),
            Some(Via::Proxy(proxy)) => Some(proxy),
        };
        Arc::make_mut(&mut upstream.config.connection).via = via;
        upstream.config
    };
    let upstreams = tables.upstreams.into_tables().into_iter().map(resolved).collect();
    Config {
        source: source.to_owned(),
        file: None,
        listeners,
        admin: tables.admin.map(|admin| admin.value),
        credentials,
        upstreams,
        forward: tables.forward,
        forward_said: tables.forward_said,
        limits,
        intercept,
        cache: None,
        telemetry: TelemetrySettings::default(),
        variables: Vec::new(),
        variables_read: VariablesRead::default(),
        warnings: Vec::new(),
    }
}

/// `origin_from` is a wish of the upstream's, and its credential's token request has to know of it.
fn keep_member(credentials: &mut Named<Spanned<CredentialSettings>>, upstream: &UpstreamConfig) {
    let Some(member) = &upstream.route.origin_from else { return };
    let credential = upstream.credential.as_ref().and_then(|name| credentials.named_mut(name));
    if let Some(CredentialKind::OAuth(token)) = credential.map(|credential| &mut credential.value.kind)
        && !token.oauth.members.contains(member)
    {
        let token = Arc::make_mut(token);
        Arc::make_mut(&mut token.oauth).members.push(member.clone());
    }
}
