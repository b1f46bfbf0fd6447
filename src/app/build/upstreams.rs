//! The ways out of upstreams: where their names are looked up, which addresses they may have, and the network's own proxy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::app::sources::BuildError;
use crate::config::UpstreamConfig;
use crate::dial::{AddressPolicy, Names, Onward, OnwardSettings, Scheme};
use crate::sync::lock;

/// Where the hosts are looked up that callers choose, by the upstream's name: a reload leaves lookups that hang behind, and must
/// not begin as many again.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChosenNames(Arc<Mutex<HashMap<String, Names>>>);

impl ChosenNames {
    /// The place for this upstream's.
    pub(crate) fn of(&self, upstream: &str) -> Names {
        let mut known = lock(&self.0);
        known.entry(upstream.to_owned()).or_insert_with(Names::chosen_by_callers).clone()
    }
}

/// Which addresses a configured upstream may have: a token goes out in clear only where it stays on this machine, and a name
/// alone does not say where that is.
pub(crate) fn addresses_of(config: &UpstreamConfig) -> AddressPolicy {
    let in_clear = config.connection.origin.base().scheme == Scheme::Http;
    if in_clear && config.credential.is_some() && !config.route.allow_plaintext {
        AddressPolicy::Loopback
    } else {
        AddressPolicy::Any
    }
}

/// An onward proxy with what it takes to speak to it.
pub(crate) fn onward(upstream: &str, settings: &OnwardSettings) -> Result<Onward, BuildError> {
    let place = || format!("via of upstream {upstream:?}");
    Onward::new(settings.clone()).map_err(|error| BuildError::Tls { place: place(), error })
}
