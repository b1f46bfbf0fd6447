//! Config to Runtime: settings become live caches, upstreams and tables.
//!
//! What did not change is taken over from the runtime before: a token cache by its identity, an upstream with its pools by
//! its settings and the certificate it shows, a route with its hold by all of these.

mod certificates;
pub(crate) mod credentials;
pub(crate) mod fleet;
mod known;
mod listeners;
pub(crate) mod provider;
pub(crate) mod state;
pub(crate) mod tls;
mod upstreams;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::app::build::credentials::{identities, providers};
use crate::app::build::known::{Known, by_name};
use crate::app::build::listeners::ListenerSocket;
use crate::app::build::provider::TokenProvider;
use crate::app::build::state::{BuildContext, Built, Certificates, ChosenNames, Slots};
use crate::app::build::tls::{authority, certificate_sources, listener_identities, upstream_certificate};
use crate::app::build::upstreams::{routes, unmatched};
use crate::app::sources::{BuildError, DpopKeys};
use crate::config::Config;
use crate::fleet::{CacheMetrics, Fleet, ReplicaHandle};
use crate::oauth::Identity;
use crate::runtime::Runtime;
use crate::telemetry::RequestMetrics;
use crate::token::TokenMetrics;

/// Makes a configuration live, next to what is live already; reads every secret and certificate.
pub(crate) fn build(
    context: &BuildContext,
    config: &Config,
    slots: Slots,
    before: Option<&Built>,
) -> Result<Built, BuildError> {
    let sources = certificate_sources(config);
    let read = config.upstreams.iter().zip(&sources);
    let read = read.map(|(upstream, source)| upstream_certificate(upstream, source.as_ref()));
    let certificates = read.collect::<Result<_, _>>()?;
    let fleet = fleet::fleet(context, config, before)?;
    let providers = providers(context, config, &identities(context, config)?, &Known::of(before))?;
    assemble(context, config, Parts { fleet, providers, certificates, slots }, before)
}

/// The same configuration with its credentials' secrets as they were found now; one that cannot be read is what it was, and
/// keeps no other back.
pub(crate) fn with_new_secrets(
    context: &BuildContext,
    config: &Config,
    identities: &[Option<Identity>],
    before: &Built,
) -> Result<Built, BuildError> {
    let providers = providers(context, config, identities, &Known::of(Some(before)))?;
    assemble(context, config, Parts { providers, ..Parts::of(before) }, Some(before))
}

/// The same configuration with these certificates, of which each that is another one gets an upstream with new pools.
pub(crate) fn with_certificates(
    context: &BuildContext,
    config: &Config,
    before: &Built,
    certificates: Certificates,
) -> Result<Built, BuildError> {
    assemble(context, config, Parts { certificates, ..Parts::of(before) }, Some(before))
}

/// The same configuration with everything that files hold as they are now.
pub(crate) fn refreshed(context: &BuildContext, config: &Config, before: &Built) -> Result<Built, BuildError> {
    assemble(context, config, Parts::of(before), Some(before))
}

/// What is made before the rest, or taken over.
struct Parts {
    fleet: Option<Arc<Fleet>>,
    providers: Vec<TokenProvider>,
    certificates: Certificates,
    slots: Slots,
}

impl Parts {
    fn of(before: &Built) -> Self {
        let Built { runtime: _, fleet, providers, certificates, listener_tls: _, slots } = before;
        Self {
            fleet: fleet.clone(),
            providers: providers.clone(),
            certificates: certificates.clone(),
            slots: slots.clone(),
        }
    }
}

fn assemble(
    context: &BuildContext,
    config: &Config,
    parts: Parts,
    before: Option<&Built>,
) -> Result<Built, BuildError> {
    let Parts { fleet, providers, certificates, slots } = parts;
    let known = Known::of(before);
    let credentials = credentials::credentials(context, config, &providers, &known)?;
    let named = by_name(&credentials);
    let routes = routes(context, config, &named, &certificates, &known)?;
    let listener_tls = listener_identities(config, before)?;
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for (listener, slot) in config.listeners.iter().zip(&slots) {
        let live = before.and_then(|built| built.runtime.listener(*slot));
        let identity = listener_tls.get(&listener.name);
        let tls = identity.map(|identity| tls::listener_tls(listener, identity, live, before)).transpose()?;
        let socket = ListenerSocket { slot: *slot, live, tls };
        listeners.push(listeners::listener(context, listener, socket, &config.forward, &routes, &named));
    }
    let unmatched = unmatched(context, config)?;
    let authority = authority(config, before)?;
    let shared = fleet.as_ref().map(Arc::downgrade).unwrap_or_default();
    let shown = certificates::certificates(config, authority.as_deref(), &listener_tls, &certificates, &providers);
    let runtime = Runtime { listeners, credentials, routes, unmatched, authority, certificates: shown, fleet: shared };
    let runtime = Arc::new(runtime);
    Ok(Built { runtime, fleet, providers, certificates, listener_tls, slots })
}

/// A runtime that decides like the real one and sends nothing: for `explain`.
///
/// # Errors
/// As for the real one.
pub(crate) fn dry_runtime(config: &Config, control: Handle) -> Result<Arc<Runtime>, BuildError> {
    let context = BuildContext {
        control,
        token_metrics: TokenMetrics::default(),
        metrics: RequestMetrics::default(),
        own: Arc::default(),
        dpop_keys: DpopKeys::default(),
        names: ChosenNames::default(),
        replica: ReplicaHandle::default(),
        cache_metrics: CacheMetrics::default(),
    };
    let slots = (0..config.listeners.len()).collect();
    let alone = Config { cache: None, ..config.clone() };
    build(&context, &alone, slots, None).map(|built| built.runtime)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::WAITING_FOR_OTHERS;

    fn built_of(credentials: &str) -> Built {
        let text = format!(
            "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n{credentials}"
        );
        let config = Config::parse("proxy.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        build(&context(), &config, vec![0], None).unwrap()
    }

    fn context() -> BuildContext {
        BuildContext {
            control: Handle::current(),
            token_metrics: TokenMetrics::default(),
            metrics: RequestMetrics::default(),
            own: Arc::default(),
            dpop_keys: DpopKeys::default(),
            names: ChosenNames::default(),
            replica: ReplicaHandle::default(),
            cache_metrics: CacheMetrics::default(),
        }
    }

    fn credential(name: &str, client: &str, rest: &str) -> String {
        format!(
            "[credentials.{name}]\ntoken_endpoint = \"http://127.0.0.1:1/token\"\nclient_id = \"{client}\"\nclient_auth = \"none\"\n{rest}\n"
        )
    }

    #[tokio::test]
    async fn a_shared_token_is_kept_fresh_if_any_of_its_credentials_is_required() {
        let built = built_of(
            &[
                credential("one", "same", "timeout = \"1s\""),
                credential("two", "same", "required = true"),
                credential("three", "same", ""),
                credential("four", "other", ""),
            ]
            .concat(),
        );
        let caches: Vec<_> = built.providers.iter().filter_map(TokenProvider::tokens).map(|(_, cache)| cache).collect();
        assert!(Arc::ptr_eq(caches[0], caches[1]) && Arc::ptr_eq(caches[0], caches[2]));
        assert!(!Arc::ptr_eq(caches[0], caches[3]));
        assert_eq!((caches[0].refreshes_always(), caches[3].refreshes_always()), (true, false));
    }

    #[tokio::test]
    async fn callers_wait_for_other_replicas_from_the_reload_that_adds_them_to_the_one_that_takes_them_away() {
        let parse = |cache: &str| {
            let listener = "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n";
            let text = [listener, cache, &credential("one", "same", "timeout = \"1s\"")].concat();
            Config::parse("proxy.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let cache = "[cache]\nshared = \"redis://127.0.0.1:1\"\nkey = \"the key of a fleet that is tested\"\n";
        let (context, mut before) = (context(), None);
        for (cache, longer) in [("", Duration::ZERO), (cache, WAITING_FOR_OTHERS), ("", Duration::ZERO)] {
            let built = build(&context, &parse(cache), vec![0], before.as_ref()).unwrap();
            let [one] = built.runtime.credentials.as_slice() else { panic!("there is one") };
            assert!(one.waits_for(Duration::from_secs(1), longer), "{longer:?}");
            let again = build(&context, &parse(cache), vec![0], Some(&built)).unwrap();
            assert!(Arc::ptr_eq(&again.runtime.credentials[0], one), "what did not change is kept");
            before = Some(built);
        }
    }

    #[tokio::test]
    async fn a_certificate_of_the_shared_cache_that_cannot_be_read_is_no_configuration_whether_that_is_live_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let certified = rcgen::generate_simple_self_signed(vec!["cache.test".to_owned()]).unwrap();
        std::fs::write(&file, certified.cert.pem()).unwrap();
        let text = format!(
            "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\n\
             [cache]\nshared = \"rediss://127.0.0.1:1\"\nkey = \"the key of a fleet that is tested\"\ntls = {{ ca_file = {file:?} }}\n{}",
            credential("one", "same", "")
        );
        let config = Config::parse("proxy.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        let context = context();
        let live = build(&context, &config, vec![0], None).unwrap();
        let again = build(&context, &config, vec![0], Some(&live)).unwrap();
        assert!(Arc::ptr_eq(again.fleet.as_ref().unwrap(), live.fleet.as_ref().unwrap()));
        std::fs::write(&file, "nonsense").unwrap();
        for before in [None, Some(&live)] {
            let error = build(&context, &config, vec![0], before).map(drop).unwrap_err();
            assert!(matches!(&error, BuildError::Tls { place, .. } if place == "[cache]"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_token_is_shared_wherever_it_goes() {
        let text =
            [credential("one", "same", "inject = { header = \"X-Token\" }"), credential("two", "same", "")].concat();
        let built = built_of(&text);
        let caches: Vec<_> = built.providers.iter().filter_map(TokenProvider::tokens).map(|(_, cache)| cache).collect();
        assert!(Arc::ptr_eq(caches[0], caches[1]));
        let [one, two] = built.runtime.credentials.as_slice() else { panic!("there are two") };
        assert!(!one.is_in_authorization() && two.is_in_authorization());
    }

    #[tokio::test]
    async fn what_is_built_again_of_the_same_configuration_keeps_its_secrets() {
        let text = "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.api]\norigin = \"http://127.0.0.1:1\"\ncredential = \"one\"\n\
            [credentials.one]\nkind = \"bearer\"\ntoken = \"abc\"\n";
        let config = Config::parse("proxy.toml", text).unwrap();
        let context = context();
        let first = build(&context, &config, vec![0], None).unwrap();
        let second = build(&context, &config, vec![0], Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.runtime.routes[0], &second.runtime.routes[0]), "and its routes with their holds");
    }
}
