//! `[cache]`, live: the one that is there, as long as it would be the same.

use std::sync::Arc;

use crate::app::build::state::{BuildContext, Built};
use crate::app::sources::BuildError;
use crate::config::Config;
use crate::fleet::{CacheKeys, Fleet};
use crate::store::StoreSettings;
use crate::tls::{IdentitySource, MinVersion, TlsError, client_config};

/// Reads the keys and certificates; that the store is away is no reason not to be live.
pub(super) fn fleet(
    context: &BuildContext,
    config: &Config,
    before: Option<&Built>,
) -> Result<Option<Arc<Fleet>>, BuildError> {
    let Some(settings) = &config.cache else { return Ok(None) };
    let keys = CacheKeys::read(&settings.keys).map_err(BuildError::CacheKey)?;
    let live = before.and_then(|built| built.fleet.as_ref()).filter(|live| live.is_of(settings, &keys));
    if let Some(live) = live {
        return Ok(Some(Arc::clone(live)));
    }
    for passed_over in keys.passed_over() {
        tracing::warn!(target: "attache::cache", "a key of the shared cache is passed over: {passed_over}");
    }
    let tls = store_tls(&settings.store)?;
    Ok(Some(Fleet::start(settings, keys, tls, &context.control, &context.cache_metrics)))
}

pub(crate) fn store_tls(settings: &StoreSettings) -> Result<Option<rustls::ClientConfig>, BuildError> {
    if !settings.with_tls {
        return Ok(None);
    }
    let failed = |error: TlsError| BuildError::Tls { place: "[cache]".to_owned(), error };
    let identity = settings.tls.identity.as_ref().map(IdentitySource::read).transpose().map_err(failed)?;
    let made = client_config(settings.tls.ca_file.as_deref(), &[], identity.as_ref(), MinVersion::default());
    made.map(Some).map_err(failed)
}
