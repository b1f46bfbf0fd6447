//! `[cache]`, tried once, for `attache check --live`.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::app::build::credentials::shared_identities;
use crate::app::build::fleet::check_store_tls;
use crate::app::sources::{BuildError, DpopKeys, identity_of};
use crate::config::Config;
use crate::fleet::{CacheKeys, FleetSettings, Round, SharedIdentity, Standing, Trial};
use crate::store::{StoreError, StoreStatus};

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

fn identities(config: &Config) -> Vec<Option<SharedIdentity>> {
    let keys = DpopKeys::default();
    let of = |name: &str, oauth| identity_of(name, oauth, &keys).ok();
    let all = config.credentials.iter().map(|settings| settings.oauth().and_then(|oauth| of(&settings.name, oauth)));
    shared_identities(config, &all.collect::<Vec<_>>())
}
