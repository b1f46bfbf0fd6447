//! A server of the Redis protocol: one connection, looked after in the background. Knows no token.
//!
//! Those who ask take the connection that there is, or go on without: asking never dials and never waits for a connection. The first
//! question that is not answered in time ends the connection for all, and the supervisor dials until there is another one.

mod back_off;
mod condition;
mod connect;
mod error;
mod fault;
mod line;
mod metrics;
mod script;
mod settings;
mod status;
mod supervisor;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

pub(crate) use connect::Probe;
pub(crate) use error::{Refusal, StoreError};
pub(crate) use metrics::StoreMetrics;
pub(crate) use script::{Reply, Script};

pub(crate) use settings::{SentinelSettings, StoreAddress, StoreSettings, StoreTlsSettings};
pub(crate) use status::{Push, StoreState, StoreStatus};

use crate::sync::lock;
use line::Shared;

/// The store, for those who ask it. The connection ends with the last of its clones.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    _supervisor: Arc<Supervised>,
}

/// The task that makes connections; it ends with this.
struct Supervised(AbortHandle);

impl Drop for Supervised {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Store {
    /// Begins to connect, on `control`. The probe is run on each new connection before
    /// it serves.
    pub(crate) fn start(settings: StoreSettings, probe: Probe, control: &Handle, metrics: StoreMetrics) -> Self {
        let shared = Arc::new(Shared::new(settings.timeout, metrics));
        let supervisor = supervisor::supervise(Arc::clone(&shared), settings, probe);
        let task = control.spawn(supervisor);
        Self { shared, _supervisor: Arc::new(Supervised(task.abort_handle())) }
    }

    /// Runs a script on one key, within the settings' time limit.
    ///
    /// # Errors
    /// No connection, no answer in time, or an error for an answer.
    pub(crate) async fn run(
        &self,
        script: &'static Script,
        key: &str,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Reply, StoreError> {
        let question = |mut connection| async move { script.evaluate(&mut connection, key, &arguments).await };
        let answered = self.shared.ask(script.name, script.always_writes, question).await?;
        Reply::of(answered).ok_or(StoreError::Unexpected)
    }

    /// Waits for the first connection, and not for longer than this. False if there is none by then.
    pub(crate) async fn wait_connected(&self, at_most: Duration) -> bool {
        let mut made = self.shared.connections();
        let connected = async { made.wait_for(|made| *made > 0).await.is_ok() };
        tokio::time::timeout(at_most, connected).await.unwrap_or(false)
    }

    /// How it is doing, for people.
    pub(crate) fn status(&self) -> StoreStatus {
        lock(&self.shared.condition).status()
    }

    /// How it is doing, for programs.
    pub(crate) fn state(&self) -> StoreState {
        lock(&self.shared.condition).state()
    }

    /// Counts the connections that were made, so that others notice when the store is back.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections()
    }

    /// What is said on the probe's channel from now on. Who is slow misses the oldest.
    pub(crate) fn messages(&self) -> broadcast::Receiver<String> {
        self.shared.messages.subscribe()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("status", &self.status()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
#[path = "../../tests/it/support/skipped.rs"]
#[expect(unreachable_pub, reason = "the tests of whole programs see it from elsewhere")]
mod skipped;
#[cfg(test)]
use skipped::skipped;

#[cfg(test)]
mod scripted_peer;

#[cfg(test)]
mod peer_tests;

#[cfg(test)]
mod dial_tests;

#[cfg(test)]
mod real_tests;

#[cfg(test)]
mod tls_tests;
