//! `[cache]`, live: the one that is there, as long as it would be the same.

use std::sync::Arc;

use crate::app::build::state::{BuildContext, Built};
use crate::app::sources::BuildError;
use crate::config::Config;
use crate::fleet::{CacheKeys, Fleet};
use crate::store::StoreSettings;

/// Reads the keys and certificates; that the store is away is no reason not to be live.
pub(super) fn fleet(
    context: &BuildContext,
    config: &Config,
    before: Option<&Built>,
) -> Result<Option<Arc<Fleet>>, BuildError> {
    let Some(settings) = &config.cache else { return Ok(None) };
    let keys = CacheKeys::read(&settings.keys).map_err(BuildError::CacheKey)?;
    check_store_tls(&settings.store)?;
    let live = before.and_then(|built| built.fleet.as_ref()).filter(|live| live.is_of(settings, &keys));
    if let Some(live) = live {
        return Ok(Some(Arc::clone(live)));
    }
    for passed_over in keys.passed_over() {
        tracing::warn!(target: "attache::cache", "a key of the shared cache is passed over: {passed_over}");
    }
    Ok(Some(Fleet::start(settings, keys, &context.control, &context.cache_metrics, &context.replica)))
}

/// Files that cannot be read are noticed here; what they hold is read again at each dial.
pub(crate) fn check_store_tls(settings: &StoreSettings) -> Result<(), BuildError> {
    if !settings.with_tls {
        return Ok(());
    }
    let failed = |error| BuildError::Tls { place: "[cache]".to_owned(), error };
    settings.tls.read().map(drop).map_err(failed)
}
