//! `[cache]` and upstreams, tried once, for `attache check --live`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use tokio::runtime::Handle;

use crate::app::build;
use crate::app::build::credentials::shared_identities;
use crate::app::build::fleet::check_store_tls;
use crate::app::sources::{BuildError, DpopKeys, identity_of};
use crate::config::Config;
use crate::dial::OriginPattern;
use crate::fleet::{CacheKeys, FleetSettings, Round, SharedIdentity, Standing, Trial};
use crate::route::Route;
use crate::store::{StoreError, StoreStatus};
use crate::upstream::{ExchangeError, Reached};

/// One dial, with all that is asked on the way.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What the server did, and what it has.
#[derive(Debug)]
pub(crate) struct CacheTrial {
    /// How the connection is doing, if there is none.
    pub(crate) round: Result<Round, StoreStatus>,
    /// Of each credential, in the configuration's order; `None` for one whose tokens stay in the process, or whose secret cannot be
    /// read.
    pub(crate) credentials: Vec<Option<Result<Standing, StoreError>>>,
}

/// Connects, asks everything once, and looks for the tokens of all credentials.
///
/// # Errors
/// A key or a certificate of `[cache]` that cannot be read.
pub(crate) async fn try_cache(
    config: &Config,
    settings: &FleetSettings,
    control: &Handle,
) -> Result<CacheTrial, BuildError> {
    let keys = CacheKeys::read(&settings.keys).map_err(BuildError::CacheKey)?;
    check_store_tls(&settings.store)?;
    let trial = Trial::start(settings, keys, control);
    let round = trial.round(CONNECTED_WITHIN).await;
    let mut credentials = Vec::with_capacity(config.credentials.len());
    for identity in identities(config) {
        let standing = match identity.filter(|_| round.is_ok()) {
            Some(identity) => Some(trial.standing(&identity).await),
            None => None,
        };
        credentials.push(standing);
    }
    Ok(CacheTrial { round, credentials })
}

/// So many upstreams are tried at a time.
const AT_A_TIME: usize = 8;

/// What an upstream did.
#[derive(Debug)]
pub(crate) struct UpstreamTrial {
    pub(crate) name: String,
    pub(crate) origin: String,
    /// The parent proxy that it is reached through.
    pub(crate) via: Option<String>,
    /// Where it was dialled, as far as that can be told.
    pub(crate) address: Option<SocketAddr>,
    /// `None`: only a request says which host is meant.
    pub(crate) outcome: Option<Result<Reached, ExchangeError>>,
    pub(crate) took: Duration,
}

/// Resolves and dials each upstream, in the configuration's order, and shakes hands where its origin has TLS. No request is sent.
///
/// # Errors
/// A certificate that cannot be read.
pub(crate) async fn try_upstreams(config: &Config, control: &Handle) -> Result<Vec<UpstreamTrial>, BuildError> {
    let runtime = build::dry_runtime(config, control.clone())?;
    let trials = runtime.routes.iter().map(try_upstream);
    let all = futures_util::stream::iter(trials).buffered(AT_A_TIME).collect();
    // The limits of a dial are kept by a clock that a worker has running.
    tokio::select! {
        all = all => Ok(all),
        () = crate::timer::drive() => Ok(Vec::new()),
    }
}

async fn try_upstream(route: &Arc<Route>) -> UpstreamTrial {
    let upstream = &route.upstream;
    let pattern = &upstream.settings.origin;
    let began = Instant::now();
    let (via, address, outcome) = match pattern {
        OriginPattern::Exact(origin) => {
            let (address, outcome) = upstream.try_out(origin).await;
            (upstream.parent_proxy_for(origin), address, Some(outcome))
        }
        OriginPattern::Wildcard { .. } => (None, None, None),
    };
    let (name, origin) = (route.name().to_owned(), pattern.to_string());
    UpstreamTrial { name, origin, via, address, outcome, took: began.elapsed() }
}

fn identities(config: &Config) -> Vec<Option<SharedIdentity>> {
    let keys = DpopKeys::default();
    let of = |name: &str, oauth| identity_of(name, oauth, &keys).ok();
    let all = config.credentials.iter().map(|settings| settings.oauth().and_then(|oauth| of(&settings.name, oauth)));
    shared_identities(config, &all.collect::<Vec<_>>())
}
