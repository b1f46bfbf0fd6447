//! The fleet that this program is in: its connection, its name, and the tasks that go with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::heartbeat::{self, GONE, Pulse};
use super::keys::CacheKeys;
use super::listen;
use super::metrics::FleetMetrics;
use super::names::StoreNames;
use super::protocol::FleetStore as _;
use super::replica::{Connecting, Replica, ReplicaHandle, ReplicaParts};
use super::script::FleetScripts;
use super::settings::FleetSettings;
use crate::store::{Store, StoreMetrics, StoreState, StoreStatus};
use crate::token::Control;

/// So long the first token requests wait for the first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);

/// Letters of a name's end, that two replicas on one machine have different ones.
const SUFFIX: usize = 4;

/// What is counted of the connection and of the tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheMetrics {
    pub(crate) store: StoreMetrics,
    pub(crate) fleet: FleetMetrics,
}

/// A replica and its connection. Both end with it.
pub(crate) struct Fleet {
    settings: FleetSettings,
    replica: Arc<Replica>,
    store: Store,
    tasks: [AbortHandle; 2],
}

impl Fleet {
    /// Begins to connect, on `control`, under the name that the program has already.
    #[must_use]
    pub(crate) fn start(
        settings: &FleetSettings,
        keys: CacheKeys,
        control: &Handle,
        metrics: &CacheMetrics,
        program: &ReplicaHandle,
    ) -> Arc<Self> {
        metrics.store.begin(FleetScripts::operations());
        metrics.fleet.begin();
        let (instance, names) = (program.instance(instance), StoreNames::new(&settings.prefix));
        let probe = FleetScripts::probe(&names, &instance, GONE, settings.push);
        let store = Store::start(settings.store.clone(), probe, control, metrics.store.clone());
        let scripts = Arc::new(FleetScripts::new(store.clone(), names));
        let connecting = Connecting { connections: store.connections(), until: Instant::now() + FIRST_CONNECTION };
        let replica = Replica::new(ReplicaParts {
            instance,
            store: Arc::<FleetScripts>::clone(&scripts),
            keys,
            prefix: settings.prefix.clone(),
            control: Control::from(control.clone()),
            metrics: metrics.fleet.clone(),
            connecting: Some(connecting),
        });
        let of = store.clone();
        let refuses_writes = Box::new(move || of.state() == StoreState::RefusingWrites);
        let pulse = Pulse { connections: store.connections(), refuses_writes };
        let tasks = [
            control.spawn(heartbeat::beat(Arc::clone(&replica), pulse)).abort_handle(),
            control.spawn(listen::listen(Arc::clone(&replica), scripts.news())).abort_handle(),
        ];
        Arc::new(Self { settings: settings.clone(), replica, store, tasks })
    }

    /// True if another one would be the same.
    #[must_use]
    pub(crate) fn is_of(&self, settings: &FleetSettings, keys: &CacheKeys) -> bool {
        self.settings == *settings && self.replica.has_keys(keys)
    }

    #[must_use]
    pub(crate) const fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    #[must_use]
    pub(crate) const fn settings(&self) -> &FleetSettings {
        &self.settings
    }

    /// How the connection is doing.
    #[must_use]
    pub(crate) fn store(&self) -> StoreStatus {
        self.store.status()
    }
}

/// `orders-7f6d-x2k4`: the machine's name, which in a cluster is the pod's, and a bit of chance.
pub(super) fn instance() -> String {
    let host: String =
        host().chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(40).collect();
    let suffix: String = std::iter::repeat_with(fastrand::lowercase).take(SUFFIX).collect();
    format!("{}-{suffix}", if host.is_empty() { "replica" } else { &host })
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("replica", &self.replica).finish_non_exhaustive()
    }
}
