//! `[cache]`. Plain data; `config` fills it in.

use crate::secret::Secrets;
use crate::store::StoreSettings;

/// What a fleet shares, and through what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FleetSettings {
    pub(crate) store: StoreSettings,
    /// The first seals and names, all open. At least one.
    pub(crate) keys: Secrets,
    /// Fleets with other prefixes do not meet.
    pub(crate) prefix: String,
    /// Listen to what others have put.
    pub(crate) push: bool,
}

impl FleetSettings {
    /// Everything else at its default.
    pub(crate) fn new(store: StoreSettings, keys: Secrets) -> Self {
        Self { store, keys, prefix: "attache".to_owned(), push: true }
    }
}
