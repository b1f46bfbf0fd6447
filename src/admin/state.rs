//! What the endpoints of the admin API share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::State;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::exposition::{Counted, Exposition};
use super::guard::Guard;
use super::reloads::Reloads;
use super::report::StatusReport;
use super::stopping::Stopping;
use super::{history, status};
use crate::coalesce::Coalescer;
use crate::listen::Listening;
use crate::runtime::SharedRuntime;
use crate::secret::{Secret, SecretError, SecretSource};
use crate::telemetry::{History, RecentRequests};

/// What the admin API knows besides the runtime.
#[derive(Debug)]
pub(crate) struct AdminFacts {
    listening: Listening,
    pub(super) reloads: Arc<Reloads>,
    pub(super) guard: Guard,
    counted: Counted,
    pub(crate) stopping: Stopping,
    /// What is kept of requests while a page or a command looks.
    pub(crate) recent: RecentRequests,
    /// What is kept of upstreams whether anybody looks or not.
    pub(crate) history: History,
    /// How many may look at the status page at a time: fewer than the listener has connections, so that it goes on answering.
    pub(crate) watchers: usize,
}

impl AdminFacts {
    /// `loopback` says that the admin listener is at an address that only programs of this machine reach, a browser among them.
    ///
    /// # Errors
    /// When `admin.token` cannot be read.
    pub(crate) fn new(
        listening: Listening,
        reloads: Arc<Reloads>,
        token: Option<&SecretSource>,
        loopback: bool,
        counted: Counted,
    ) -> Result<Self, SecretError> {
        let token: Option<Secret> = token.map(SecretSource::read).transpose()?;
        Ok(Self {
            listening,
            reloads,
            guard: Guard::new(token.as_ref(), loopback),
            counted,
            stopping: Stopping::default(),
            recent: RecentRequests::default(),
            history: History::default(),
            watchers: 16,
        })
    }
}

pub(super) struct Shared {
    pub(super) facts: AdminFacts,
    pub(super) runtime: SharedRuntime,
    pub(super) exposition: Exposition,
    /// As Prometheus text and as OpenMetrics, each as it is and with gzip.
    pub(super) metrics: [[Coalescer<Bytes>; 2]; 2],
    pub(super) reports: Coalescer<Bytes>,
    pub(super) news: Coalescer<Bytes>,
    /// The newest report, and when it was made.
    pub(super) newest: Mutex<Option<(Instant, Bytes)>>,
    pub(super) watchers: Arc<Semaphore>,
    /// Every required credential has had a token.
    pub(super) started: AtomicBool,
}

impl Shared {
    pub(super) fn new(facts: AdminFacts, runtime: SharedRuntime) -> Self {
        let exposition = Exposition::new(&facts.counted, &runtime);
        let watchers = Arc::new(Semaphore::new(facts.watchers.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            facts,
            runtime,
            exposition,
            metrics: Default::default(),
            reports: Coalescer::default(),
            news: Coalescer::default(),
            newest: Mutex::default(),
            watchers,
            started: AtomicBool::new(false),
        }
    }

    /// `/api/history` of one upstream, one credential, or all, written.
    pub(super) fn history(&self, upstream: Option<&str>, credential: Option<&str>) -> Bytes {
        let report = history::report(&self.runtime.current(), &self.facts.history, upstream, credential);
        serde_json::to_vec(&report).map(Bytes::from).unwrap_or_default()
    }

    /// `/api/status`, written.
    pub(super) fn report(&self) -> Bytes {
        serde_json::to_vec(&self.status()).map(Bytes::from).unwrap_or_default()
    }

    fn status(&self) -> StatusReport {
        let AdminFacts { listening, reloads, stopping, counted, .. } = &self.facts;
        status::report(&self.runtime.current(), listening, reloads, stopping, &counted.requests)
    }
}

pub(super) type AdminState = State<Arc<Shared>>;
