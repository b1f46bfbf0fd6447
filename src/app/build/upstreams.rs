//! `[upstreams.X]` and what no upstream covers, live: routes, pools, and the ways out. What did not change is kept.

use std::sync::Arc;

use crate::app::build::known::{Credentials, Known};
use crate::app::build::state::{BuildContext, Certificates};
use crate::app::build::tls::{TlsConfigs, upstream_tls};
use crate::app::sources::BuildError;
use crate::config::{Config, UpstreamConfig};
use crate::credential::Credential;
use crate::dial::{AddressPolicy, Host, Origin, OriginPattern, ParentProxy, ParentProxySettings, Scheme};
use crate::proxy::{PrivateAddresses, Unmatched};
use crate::rate::RateLimit;
use crate::route::Route;
use crate::runtime::UnmatchedRuntime;
use crate::telemetry::UNMATCHED;
use crate::tls::ClientIdentity;
use crate::upstream::{PoolSettings, Timeouts, TlsSettings, Upstream, UpstreamSettings};

pub(crate) fn routes(
    context: &BuildContext,
    config: &Config,
    credentials: &Credentials<'_>,
    certificates: &Certificates,
    known: &Known<'_>,
) -> Result<Vec<Arc<Route>>, BuildError> {
    let mut tls = TlsConfigs::new();
    let mut routes = Vec::with_capacity(config.upstreams.len());
    for (upstream, own) in config.upstreams.iter().zip(certificates) {
        let credential = upstream.credential.as_ref().and_then(|name| credentials.get(name.as_str()));
        let credential = credential.copied().cloned();
        let old = known.route(&upstream.connection.name);
        let identity = own.clone();
        routes.push(route(context, upstream, credential, identity, old, &mut tls)?);
    }
    Ok(routes)
}

fn route(
    context: &BuildContext,
    config: &UpstreamConfig,
    credential: Option<Arc<Credential>>,
    identity: Option<ClientIdentity>,
    old: Option<&Arc<Route>>,
    tls: &mut TlsConfigs,
) -> Result<Arc<Route>, BuildError> {
    let before = old;
    let addresses = addresses_of(config);
    let old = old.filter(|old| old.upstream.settings == config.connection && old.upstream.identity == identity);
    let old = old.filter(|old| old.upstream.dials_only(&addresses));
    let same_credential = |old: &&Arc<Route>| match (&old.credential, &credential) {
        (None, None) => true,
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        _ => false,
    };
    if let Some(old) = old.filter(|old| old.settings == config.route).filter(&same_credential) {
        return Ok(Arc::clone(old));
    }
    let upstream = match old {
        Some(old) => Arc::clone(&old.upstream),
        None => Arc::new(upstream(context, &config.connection, identity, addresses, tls)?),
    };
    let rate = config.route.requests_per_second.map(RateLimit::new);
    // What is known of an origin and a credential does not become wrong by another rule, or another pool.
    let same_origin = |before: &&Arc<Route>| before.upstream.settings.origin == config.connection.origin;
    let known = before.filter(same_credential).filter(same_origin);
    let renewals = known.map(|before| Arc::clone(&before.renewals)).unwrap_or_default();
    Ok(Arc::new(Route { upstream, credential, settings: Arc::clone(&config.route), renewals, rate }))
}

/// Upstreams with the same trust and the same certificate share a TLS configuration; connections and pools are never
/// shared.
fn upstream(
    context: &BuildContext,
    settings: &Arc<UpstreamSettings>,
    identity: Option<ClientIdentity>,
    addresses: AddressPolicy,
    tls: &mut TlsConfigs,
) -> Result<Upstream, BuildError> {
    let tls = match settings.origin.base().scheme {
        Scheme::Http => None,
        Scheme::Https => Some(upstream_tls(settings, identity.as_ref(), tls)?),
    };
    let metrics = context.metrics.upstream(&settings.name);
    let parent_proxy = settings.via.as_ref().map(|via| parent_proxy(&settings.name, via)).transpose()?;
    let upstream = Upstream::new(Arc::clone(settings), identity, tls, addresses, Arc::clone(&context.own), metrics);
    let upstream = match &settings.origin {
        OriginPattern::Exact(_) => upstream,
        OriginPattern::Wildcard { .. } => upstream.with_names(context.names.of(&settings.name)),
    };
    Ok(upstream.through(parent_proxy))
}

/// Upstreams that stand for every host nobody configured; made only where policy lets such requests pass.
pub(crate) fn unmatched(context: &BuildContext, config: &Config) -> Result<UnmatchedRuntime, BuildError> {
    let report = match config.forward.unmatched {
        Unmatched::Deny => return Ok(UnmatchedRuntime::Deny),
        Unmatched::Pass => false,
        Unmatched::Report => true,
    };
    let addresses = match &config.forward.private_addresses {
        PrivateAddresses::Allow => AddressPolicy::Any,
        PrivateAddresses::Deny => AddressPolicy::PublicAnd(Vec::new()),
        PrivateAddresses::Networks(networks) => AddressPolicy::PublicAnd(networks.clone()),
    };
    let made = |scheme| {
        let made = upstream(
            context,
            &Arc::new(unmatched_settings(scheme, config)),
            None,
            addresses.clone(),
            &mut TlsConfigs::new(),
        );
        made.map(Arc::new).map_err(|error| match error {
            BuildError::Tls { error, .. } => BuildError::Tls { place: "[forward] unmatched".into(), error },
            other => other,
        })
    };
    let (http, https) = (made(Scheme::Http)?, made(Scheme::Https)?);
    Ok(UnmatchedRuntime::Pass { http, https, report })
}

fn unmatched_settings(scheme: Scheme, config: &Config) -> UpstreamSettings {
    // Any host comes with the request; the pattern only carries the scheme, and that there is more than one origin.
    let suffix = Origin { scheme, host: Host::placeholder(), port: scheme.default_port() };
    UpstreamSettings {
        name: UNMATCHED.into(),
        origin: OriginPattern::Wildcard { suffix },
        connect: None,
        via: config.forward.via.clone(),
        tls: TlsSettings::default(),
        timeouts: Timeouts::default(),
        pool: PoolSettings::default(),
        title_case: false,
    }
}

/// Which addresses a configured upstream may have: a token goes out in clear only where it stays on this machine, and a name
/// alone does not say where that is.
fn addresses_of(config: &UpstreamConfig) -> AddressPolicy {
    let in_clear = config.connection.origin.base().scheme == Scheme::Http;
    if in_clear && config.credential.is_some() && !config.route.allow_plaintext {
        AddressPolicy::Loopback
    } else {
        AddressPolicy::Any
    }
}

/// A parent proxy with what it takes to speak to it.
fn parent_proxy(upstream: &str, settings: &ParentProxySettings) -> Result<ParentProxy, BuildError> {
    let place = || format!("via of upstream {upstream:?}");
    ParentProxy::new(settings.clone()).map_err(|error| BuildError::Tls { place: place(), error })
}
