//! Config to Runtime: settings become live caches, upstreams and tables.
//!
//! What did not change is taken over from the runtime before: a token cache by its identity, an upstream with its pools by
//! its settings and the certificate it shows, a route with its hold by all of these.

pub(crate) mod credentials;
pub(crate) mod listeners;
pub(crate) mod upstreams;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::app::build::credentials::Backing;
use crate::app::build::listeners::ListenerSocket;
use crate::app::build::upstreams::{ChosenNames, addresses_of, onward};
use crate::app::sources::{BuildError, DpopKeys};
use crate::config::{Config, ListenerConfig, UpstreamConfig};
use crate::credential::Credential;
use crate::dial::{AddressPolicy, Host, Origin, OriginPattern, OwnAddresses, Scheme};
use crate::oauth::{ClientAuth, Identity};
use crate::proxy::{ListenerMode, PrivateAddresses, Unmatched};
use crate::rate::RateLimit;
use crate::route::Route;
use crate::runtime::{ListenerRuntime, Runtime, UnmatchedRuntime};
use crate::telemetry::{RequestMetrics, UNMATCHED};
use crate::tls::server::ListenerIdentity;
use crate::tls::{CertificateAuthority, ClientIdentity, IdentitySource, MinVersion, TlsError, client_config};
use crate::token::TokenMetrics;
use crate::upstream::{PoolSettings, Timeouts, TlsSettings, Upstream, UpstreamSettings};

/// What building needs besides the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    /// Where token requests run.
    pub(crate) control: Handle,
    pub(crate) token_metrics: TokenMetrics,
    pub(crate) metrics: RequestMetrics,
    pub(crate) own: Arc<OwnAddresses>,
    pub(crate) dpop_keys: DpopKeys,
    pub(crate) names: ChosenNames,
}

/// A runtime, and what was read to make it, so that a change can be noticed.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) runtime: Arc<Runtime>,
    /// One for each credential, in the configuration's order.
    pub(crate) backings: Backings,
    /// The certificate of each upstream that has one of its own.
    pub(crate) certificates: Certificates,
    /// The certificates that listeners show, as they were read.
    pub(crate) listener_tls: ListenerIdentities,
    /// Which socket each listener has.
    pub(crate) slots: Slots,
}

/// In the order of the configuration's listeners.
pub(crate) type ListenerIdentities = Vec<Option<ListenerIdentity>>;

/// In the order of the configuration's listeners.
pub(crate) type Slots = Vec<usize>;

/// In the order of the configuration's credentials.
pub(crate) type Backings = Vec<Backing>;

/// In the order of the configuration's upstreams.
pub(crate) type Certificates = Vec<Option<ClientIdentity>>;

/// TLS configurations by all that makes one: what is trusted, what is shown, the oldest version.
type TlsConfigs = HashMap<(Option<PathBuf>, Option<[u8; 32]>, MinVersion), Arc<rustls::ClientConfig>>;

impl Builder {
    /// Makes a configuration live, next to what is live already; reads every secret and certificate.
    pub(crate) fn build(&self, config: &Config, slots: Slots, before: Option<&Built>) -> Result<Built, BuildError> {
        let read = config.upstreams.iter().map(|upstream| upstream_certificate(config, upstream));
        let certificates = read.collect::<Result<_, _>>()?;
        let backings = self.backings(config, &self.identities(config)?, before)?;
        self.assemble(config, backings, certificates, slots, before)
    }

    /// The same configuration with its credentials' secrets as they were found now; one that cannot be read is what it was, and
    /// keeps no other back.
    pub(crate) fn with_new_secrets(
        &self,
        config: &Config,
        identities: &[Option<Identity>],
        before: &Built,
    ) -> Result<Built, BuildError> {
        let backings = self.backings(config, identities, Some(before))?;
        self.assemble(config, backings, before.certificates.clone(), before.slots.clone(), Some(before))
    }

    /// The same configuration with these certificates, of which each that is another one gets an upstream with new pools.
    pub(crate) fn with_certificates(
        &self,
        config: &Config,
        before: &Built,
        certificates: Certificates,
    ) -> Result<Built, BuildError> {
        self.assemble(config, before.backings.clone(), certificates, before.slots.clone(), Some(before))
    }

    /// The same configuration with everything that files hold as they are now.
    pub(crate) fn refreshed(&self, config: &Config, before: &Built) -> Result<Built, BuildError> {
        let (backings, certificates) = (before.backings.clone(), before.certificates.clone());
        self.assemble(config, backings, certificates, before.slots.clone(), Some(before))
    }

    fn assemble(
        &self,
        config: &Config,
        backings: Backings,
        certificates: Certificates,
        slots: Slots,
        before: Option<&Built>,
    ) -> Result<Built, BuildError> {
        let credentials = self.credentials(config, &backings, before)?;
        let routes = self.routes(config, &credentials, &certificates, before.map(|built| &*built.runtime))?;
        let listener_tls = listener_identities(config, before)?;
        let listeners = config.listeners.iter().zip(&slots).zip(&listener_tls);
        let live = |slot: usize| before.and_then(|built| built.runtime.listener(slot));
        let listeners: Result<_, BuildError> = listeners
            .map(|((listener, slot), identity)| {
                let live = live(*slot);
                let tls =
                    identity.as_ref().map(|identity| listener_tls_of(listener, identity, live, before)).transpose()?;
                Ok(self.listener(
                    listener,
                    ListenerSocket { slot: *slot, live, tls },
                    &config.forward,
                    &routes,
                    &credentials,
                ))
            })
            .collect();
        let unmatched = self.unmatched(config)?;
        let authority = authority(config, before)?;
        let runtime = Arc::new(Runtime { listeners: listeners?, credentials, routes, unmatched, authority });
        Ok(Built { runtime, backings, certificates, listener_tls, slots })
    }

    fn routes(
        &self,
        config: &Config,
        credentials: &[Arc<Credential>],
        certificates: &Certificates,
        before: Option<&Runtime>,
    ) -> Result<Vec<Arc<Route>>, BuildError> {
        let mut tls = TlsConfigs::new();
        let mut routes = Vec::with_capacity(config.upstreams.len());
        for (upstream, own) in config.upstreams.iter().zip(certificates) {
            let credential = upstream.credential.as_ref().and_then(|name| find_credential(credentials, name));
            let old =
                before.and_then(|runtime| runtime.routes.iter().find(|route| route.name() == upstream.connection.name));
            let identity = own.clone();
            routes.push(self.route(upstream, credential, identity, old, &mut tls)?);
        }
        Ok(routes)
    }

    fn route(
        &self,
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
            None => Arc::new(self.upstream(&config.connection, identity, addresses, tls)?),
        };
        let rate = config.route.requests_per_second.map(RateLimit::new);
        // What is known of an origin and a credential does not become wrong by another rule, or another pool.
        let same_origin = |before: &&Arc<Route>| before.upstream.settings.origin == config.connection.origin;
        let known = before.filter(same_credential).filter(same_origin);
        let renewals = known.map(|before| Arc::clone(&before.renewals)).unwrap_or_default();
        Ok(Arc::new(Route { upstream, credential, settings: config.route.clone(), renewals, rate }))
    }

    /// Upstreams with the same trust and the same certificate share a TLS configuration; connections and pools are never
    /// shared.
    fn upstream(
        &self,
        settings: &UpstreamSettings,
        identity: Option<ClientIdentity>,
        addresses: AddressPolicy,
        tls: &mut TlsConfigs,
    ) -> Result<Upstream, BuildError> {
        let tls = match settings.origin.base().scheme {
            Scheme::Http => None,
            Scheme::Https => Some(tls_config(settings, identity.as_ref(), tls)?),
        };
        let gauge = self.metrics.upstream_connections(&settings.name);
        let onward = settings.via.as_ref().map(|via| onward(&settings.name, via)).transpose()?;
        let upstream = Upstream::new(settings.clone(), identity, tls, addresses, Arc::clone(&self.own), gauge);
        let upstream = match &settings.origin {
            OriginPattern::Exact(_) => upstream,
            OriginPattern::Wildcard { .. } => upstream.with_names(self.names.of(&settings.name)),
        };
        Ok(upstream.through(onward))
    }

    /// Upstreams that stand for every host nobody configured; made only where policy lets such requests pass.
    fn unmatched(&self, config: &Config) -> Result<UnmatchedRuntime, BuildError> {
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
        let upstream = |scheme| {
            let made =
                self.upstream(&unmatched_settings(scheme, config), None, addresses.clone(), &mut TlsConfigs::new());
            made.map(Arc::new).map_err(|error| match error {
                BuildError::Tls { error, .. } => BuildError::Tls { place: "[forward] unmatched".into(), error },
                other => other,
            })
        };
        let (http, https) = (upstream(Scheme::Http)?, upstream(Scheme::Https)?);
        Ok(UnmatchedRuntime::Pass { http, https, report })
    }
}

/// What listeners show, as their files are now. A pair that cannot be used, perhaps because one file of it has been replaced and
/// the other not yet, is what it was.
pub(crate) fn listener_identities(config: &Config, before: Option<&Built>) -> Result<ListenerIdentities, BuildError> {
    let known = |name: &str| {
        let built = before?;
        let at = built.runtime.listeners.iter().position(|listener| listener.name == name)?;
        built.listener_tls.get(at)?.clone()
    };
    let read = |listener: &ListenerConfig| match &listener.tls {
        None => Ok(None),
        Some(tls) => match (tls.read(), known(&listener.name)) {
            (Ok(identity), _) => Ok(Some(identity)),
            (Err(_), Some(known)) => Ok(Some(known)),
            (Err(error), None) => Err(BuildError::Tls { place: format!("listener {:?}", listener.name), error }),
        },
    };
    config.listeners.iter().map(read).collect()
}

/// The live configuration of a listener's TLS, if it shows the same: its sessions go on.
fn listener_tls_of(
    config: &ListenerConfig,
    identity: &ListenerIdentity,
    live: Option<&ListenerRuntime>,
    before: Option<&Built>,
) -> Result<Arc<rustls::ServerConfig>, BuildError> {
    let shown = before.and_then(|built| {
        let at = built.runtime.listeners.iter().position(|listener| listener.name == config.name)?;
        built.listener_tls.get(at)?.as_ref()
    });
    if let Some(tls) = live.filter(|_| shown == Some(identity)).and_then(|live| live.tls.clone()) {
        return Ok(tls);
    }
    let http = !matches!(config.mode, ListenerMode::Socks5 { .. });
    let made = identity.server_config(http);
    made.map_err(|error| BuildError::Tls { place: format!("listener {:?}", config.name), error })
}

/// The local CA. One that did not change keeps the leaves it has made.
fn authority(config: &Config, before: Option<&Built>) -> Result<Option<Arc<CertificateAuthority>>, BuildError> {
    let Some(source) = &config.intercept else { return Ok(None) };
    let place = || "[intercept]".to_owned();
    let read = source.read().map_err(|error| BuildError::Tls { place: place(), error })?;
    let live = before.and_then(|built| built.runtime.authority.as_ref());
    let same = live.filter(|live| live.certificate_der() == read.certificate_der());
    Ok(Some(same.map_or_else(|| Arc::new(read), Arc::clone)))
}

/// Where the certificate that an upstream shows comes from: its own, or that of a credential whose tokens may be bound to
/// it, and are worth nothing without it then (RFC 8705 section 3).
pub(crate) fn certificate_source(config: &Config, upstream: &UpstreamConfig) -> Option<IdentitySource> {
    // Nobody asks for one over plain http.
    if upstream.connection.origin.base().scheme == Scheme::Http {
        return None;
    }
    let of_credential = || {
        let name = upstream.credential.as_ref()?;
        let credential = config.credentials.iter().find(|credential| credential.name == *name)?;
        match &credential.oauth()?.client_auth {
            ClientAuth::Tls { certificate, key } => {
                Some(IdentitySource { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        }
    };
    upstream.connection.tls.identity.clone().or_else(of_credential)
}

/// The certificate that an upstream shows, as it is now.
pub(crate) fn upstream_certificate(
    config: &Config,
    upstream: &UpstreamConfig,
) -> Result<Option<ClientIdentity>, BuildError> {
    let source = certificate_source(config, upstream);
    source.map(|source| source.read()).transpose().map_err(|error| upstream_tls(&upstream.connection, error))
}

fn tls_config(
    settings: &UpstreamSettings,
    identity: Option<&ClientIdentity>,
    known: &mut TlsConfigs,
) -> Result<Arc<rustls::ClientConfig>, BuildError> {
    let TlsSettings { ca_file, min_version, .. } = &settings.tls;
    let key = (ca_file.clone(), identity.map(ClientIdentity::fingerprint), *min_version);
    if let Some(config) = known.get(&key) {
        return Ok(Arc::clone(config));
    }
    let made = client_config(ca_file.as_deref(), &[b"h2", b"http/1.1"], identity, *min_version);
    let made = Arc::new(made.map_err(|error| upstream_tls(settings, error))?);
    known.insert(key, Arc::clone(&made));
    Ok(made)
}

fn upstream_tls(settings: &UpstreamSettings, error: TlsError) -> BuildError {
    BuildError::Tls { place: format!("upstream {:?}", settings.name), error }
}

pub(crate) fn find_credential(credentials: &[Arc<Credential>], name: &str) -> Option<Arc<Credential>> {
    credentials.iter().find(|credential| credential.name == name).cloned()
}

fn unmatched_settings(scheme: Scheme, config: &Config) -> UpstreamSettings {
    // Any host comes with the request; the pattern only carries the scheme, and that there is more than one origin.
    let suffix = Origin { scheme, host: Host::nobody(), port: scheme.default_port() };
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

/// A runtime that decides like the real one and sends nothing: for `explain`.
///
/// # Errors
/// As for the real one.
pub(crate) fn dry_runtime(config: &Config, control: Handle) -> Result<Arc<Runtime>, BuildError> {
    let builder = Builder {
        control,
        token_metrics: TokenMetrics::default(),
        metrics: RequestMetrics::default(),
        own: Arc::default(),
        dpop_keys: DpopKeys::default(),
        names: ChosenNames::default(),
    };
    builder.build(config, (0..config.listeners.len()).collect(), None).map(|built| built.runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(credentials: &str) -> Built {
        let text = format!(
            "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n{credentials}"
        );
        let config = Config::parse("proxy.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        builder().build(&config, vec![0], None).unwrap()
    }

    fn builder() -> Builder {
        Builder {
            control: Handle::current(),
            token_metrics: TokenMetrics::default(),
            metrics: RequestMetrics::default(),
            own: Arc::default(),
            dpop_keys: DpopKeys::default(),
            names: ChosenNames::default(),
        }
    }

    fn credential(name: &str, client: &str, rest: &str) -> String {
        format!(
            "[credentials.{name}]\ntoken_endpoint = \"http://127.0.0.1:1/token\"\nclient_id = \"{client}\"\nclient_auth = \"none\"\n{rest}\n"
        )
    }

    #[tokio::test]
    async fn a_shared_token_is_kept_fresh_if_any_of_its_credentials_is_required() {
        let built = built(
            &[
                credential("one", "same", "timeout = \"1s\""),
                credential("two", "same", "required = true"),
                credential("three", "same", ""),
                credential("four", "other", ""),
            ]
            .concat(),
        );
        let caches: Vec<_> = built.backings.iter().filter_map(Backing::tokens).map(|(_, cache)| cache).collect();
        assert!(Arc::ptr_eq(caches[0], caches[1]) && Arc::ptr_eq(caches[0], caches[2]));
        assert!(!Arc::ptr_eq(caches[0], caches[3]));
        assert_eq!((caches[0].is_kept_fresh(), caches[3].is_kept_fresh()), (true, false));
    }

    #[tokio::test]
    async fn a_token_is_shared_wherever_it_goes() {
        let text =
            [credential("one", "same", "inject = { header = \"X-Token\" }"), credential("two", "same", "")].concat();
        let built = built(&text);
        let caches: Vec<_> = built.backings.iter().filter_map(Backing::tokens).map(|(_, cache)| cache).collect();
        assert!(Arc::ptr_eq(caches[0], caches[1]));
        let [one, two] = built.runtime.credentials.as_slice() else { panic!("there are two") };
        assert!(!one.is_in_authorization() && two.is_in_authorization());
    }

    #[tokio::test]
    async fn what_is_built_again_of_the_same_configuration_keeps_its_secrets() {
        let text = "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\ncredential = \"one\"\n\
            [credentials.one]\nkind = \"bearer\"\ntoken = \"abc\"\n";
        let config = Config::parse("proxy.toml", text).unwrap();
        let builder = builder();
        let first = builder.build(&config, vec![0], None).unwrap();
        let second = builder.build(&config, vec![0], Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.runtime.routes[0], &second.runtime.routes[0]), "and its routes with their holds");
    }
}
