//! A replica with one credential over a store in memory, for tests and simulations in virtual time: the engine is the program's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::heartbeat::{self, Pulse};
use super::keys::CacheKeys;
use super::listen::listen;
use super::metrics::FleetMetrics;
use super::names::SharedIdentity;
use super::protocol::FleetStore;
use super::replica::{Replica, ReplicaHandle, ReplicaParts};
use super::scripted::ScriptedStore;
use super::source::{SharedCredential, shared_cache};
use crate::secret::{Secret, SecretSource, Secrets};
use crate::token::{Clock, RefreshSettings, TokenCache, TokenMetrics, TokenSource};

/// One replica; it ends when this is dropped.
pub struct SimulatedReplica {
    cache: Arc<TokenCache>,
    replica: Arc<Replica>,
    tasks: [Option<AbortHandle>; 2],
}

/// What all replicas of a fleet have in common.
#[derive(Debug, Clone)]
pub struct SimulatedSettings {
    /// When tokens are replaced.
    pub refresh: RefreshSettings,
    /// A whole token request.
    pub timeout: Duration,
    /// Of 32 characters or more.
    pub keys: Vec<String>,
    /// Listen to what others have put.
    pub push: bool,
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        Self {
            refresh: RefreshSettings::default(),
            timeout: Duration::from_secs(10),
            keys: vec!["the key of a fleet that is simulated".to_owned()],
            push: true,
        }
    }
}

impl SimulatedReplica {
    /// On tokio's current runtime. `source` sends its token requests.
    ///
    /// # Errors
    /// Keys that are none.
    pub fn start(
        instance: &str,
        store: &ScriptedStore,
        settings: &SimulatedSettings,
        source: Box<dyn TokenSource>,
    ) -> Result<Self, String> {
        let (clock, _) = Clock::scripted();
        Self::over(instance, (Arc::new(store.clone()), store), settings, source, clock)
    }

    /// The same with its own way to the store, and its own wall clock.
    pub(super) fn over(
        instance: &str,
        (way, store): (Arc<dyn FleetStore>, &ScriptedStore),
        settings: &SimulatedSettings,
        source: Box<dyn TokenSource>,
        clock: Clock,
    ) -> Result<Self, String> {
        let keys = settings.keys.iter().map(|key| SecretSource::Literal(Secret::new(key.clone()))).collect();
        let keys = Secrets::new(keys).ok_or("no key")?;
        let keys = CacheKeys::read(&keys).map_err(|error| error.to_string())?;
        let (control, metrics) = (Handle::current(), FleetMetrics::default());
        let replica = Replica::new(ReplicaParts {
            instance: instance.into(),
            store: way,
            keys,
            prefix: "simulated".to_owned(),
            control: control.clone().into(),
            metrics,
            connecting: None,
        });
        let credential = SharedCredential {
            name: "simulated".to_owned(),
            identity: SharedIdentity::new(&[0; 32], [], false),
            settings: settings.refresh.clone(),
            timeout: settings.timeout,
        };
        let handle = ReplicaHandle::of(Arc::clone(&replica));
        let cache = shared_cache(handle, credential, source, clock, control.clone(), TokenMetrics::default());
        let pulse = Pulse { connections: store.connections(), refuses_writes: Box::new(|| false) };
        let beats = control.spawn(heartbeat::beat(Arc::clone(&replica), pulse)).abort_handle();
        let listens = settings.push.then(|| {
            let messages = replica.store.news();
            control.spawn(listen(Arc::clone(&replica), messages)).abort_handle()
        });
        Ok(Self { cache, replica, tasks: [Some(beats), listens] })
    }

    /// Its tokens.
    #[must_use]
    pub const fn cache(&self) -> &Arc<TokenCache> {
        &self.cache
    }

    #[cfg(test)]
    pub(super) const fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }
}

impl Drop for SimulatedReplica {
    fn drop(&mut self) {
        for task in self.tasks.iter().flatten() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for SimulatedReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedReplica").field("replica", &self.replica).finish_non_exhaustive()
    }
}
