//! What building needs, and what it leaves behind for the next time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use crate::app::build::provider::TokenProvider;
use crate::app::sources::DpopKeys;
use crate::dial::{Names, OwnAddresses};
use crate::fleet::{CacheMetrics, Fleet, ReplicaHandle};
use crate::runtime::Runtime;
use crate::sync::lock;
use crate::telemetry::RequestMetrics;
use crate::tls::ClientIdentity;
use crate::tls::server::ListenerIdentity;
use crate::token::TokenMetrics;

/// What building needs besides the configuration.
#[derive(Debug, Clone)]
pub(crate) struct BuildContext {
    /// Where token requests run.
    pub(crate) control: Handle,
    pub(crate) token_metrics: TokenMetrics,
    pub(crate) metrics: RequestMetrics,
    pub(crate) own: Arc<OwnAddresses>,
    pub(crate) dpop_keys: DpopKeys,
    pub(crate) names: ChosenNames,
    /// As which replica of a fleet the program asks for tokens.
    pub(crate) replica: ReplicaHandle,
    pub(crate) cache_metrics: CacheMetrics,
}

/// A runtime, and what was read to make it, so that a change can be noticed.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) runtime: Arc<Runtime>,
    /// `[cache]`, live.
    pub(crate) fleet: Option<Arc<Fleet>>,
    /// One for each credential, in the configuration's order.
    pub(crate) providers: Vec<TokenProvider>,
    /// The certificate of each upstream that has one of its own.
    pub(crate) certificates: Certificates,
    /// The certificates that listeners show, as they were read.
    pub(crate) listener_tls: ListenerIdentities,
    /// Which socket each listener has.
    pub(crate) slots: Slots,
}

/// By the listener's name.
pub(crate) type ListenerIdentities = HashMap<String, ListenerIdentity>;

/// In the order of the configuration's listeners.
pub(crate) type Slots = Vec<usize>;

/// In the order of the configuration's upstreams.
pub(crate) type Certificates = Vec<Option<ClientIdentity>>;

/// Where the hosts are looked up that callers choose, by the upstream's name: a reload leaves lookups that hang behind, and must
/// not begin as many again.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChosenNames(Arc<Mutex<HashMap<String, Names>>>);

impl ChosenNames {
    pub(crate) fn of(&self, upstream: &str) -> Names {
        let mut known = lock(&self.0);
        known.entry(upstream.to_owned()).or_insert_with(Names::chosen_by_callers).clone()
    }
}
