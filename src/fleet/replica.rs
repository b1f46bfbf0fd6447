//! One replica of a fleet: what all of its shared tokens have in common.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::Entry;
use super::keys::{CacheKey, CacheKeys};
use super::metrics::FleetMetrics;
use super::names::{SharedIdentity, Tag};
use super::protocol::FleetStore;
use crate::token::{Control, TokenCache, lock};

/// A replica with its connection, its keys and its name.
pub(crate) struct Replica {
    /// Its name, for people and on leases.
    pub(super) instance: Arc<str>,
    pub(super) store: Arc<dyn FleetStore>,
    pub(super) keys: CacheKeys,
    pub(super) prefix: String,
    pub(super) control: Control,
    pub(super) metrics: FleetMetrics,
    entries: Mutex<Vec<Weak<Entry>>>,
    made: AtomicU32,
    /// Tokens that it has asked for by itself since that was said last.
    alone: AtomicU32,
    replicas: AtomicU32,
    /// Seconds, as the bits of an `f64`.
    skew: AtomicU64,
    connecting: Option<Connecting>,
}

/// What a replica is made of.
pub(super) struct ReplicaParts {
    pub(super) instance: Arc<str>,
    pub(super) store: Arc<dyn FleetStore>,
    pub(super) keys: CacheKeys,
    pub(super) prefix: String,
    pub(super) control: Control,
    pub(super) metrics: FleetMetrics,
    /// `None` for a store without connections.
    pub(super) connecting: Option<Connecting>,
}

/// The first connection, and how long it is waited for.
pub(super) struct Connecting {
    /// Counts those that were made.
    pub(super) connections: watch::Receiver<u64>,
    pub(super) until: Instant,
}

/// A connection that is not there yet.
pub(super) struct NextConnection {
    /// So many were made before it.
    made: u64,
    connections: Option<watch::Receiver<u64>>,
}

/// The replica that this program is, if it is one; a reload may make it another.
#[derive(Clone, Default)]
pub(crate) struct ReplicaHandle(Arc<Current>);

#[derive(Default)]
struct Current {
    replica: ArcSwapOption<Replica>,
    /// The program's name in whatever fleet it is.
    instance: OnceLock<Arc<str>>,
}

impl Replica {
    /// Not in the fleet's count before its first heartbeat.
    #[must_use]
    pub(super) fn new(parts: ReplicaParts) -> Arc<Self> {
        let ReplicaParts { instance, store, keys, prefix, control, metrics, connecting } = parts;
        Arc::new(Self {
            instance,
            store,
            keys,
            prefix,
            control,
            metrics,
            entries: Mutex::default(),
            made: AtomicU32::new(0),
            alone: AtomicU32::new(0),
            replicas: AtomicU32::new(1),
            skew: AtomicU64::new(0.0_f64.to_bits()),
            connecting,
        })
    }

    /// Waits for the first connection, but not for long: without it each replica that starts would ask for itself.
    pub(super) async fn first_connection(&self) {
        let Some(Connecting { connections, until }) = &self.connecting else { return };
        let left = until.saturating_duration_since(Instant::now());
        let mut connections = connections.clone();
        if !left.is_zero() {
            drop(self.control.timeout(left, connections.wait_for(|made| *made > 0)).await);
        }
    }

    /// How many connections have been made.
    pub(super) fn connections(&self) -> u64 {
        self.connecting.as_ref().map_or(0, |connecting| *connecting.connections.borrow())
    }

    /// The connection after the one that there is now; it is waited for without the replica, which may end before.
    pub(super) fn next_connection(&self) -> NextConnection {
        let connections = self.connecting.as_ref().map(|connecting| connecting.connections.clone());
        NextConnection { made: self.connections(), connections }
    }

    /// True if these are its keys, in this order.
    pub(super) fn has_keys(&self, keys: &CacheKeys) -> bool {
        self.keys.all().map(CacheKey::id).eq(keys.all().map(CacheKey::id))
    }

    /// By the newest heartbeat; at least one.
    pub(crate) fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed).max(1)
    }

    /// By how many seconds the store's clock is ahead.
    pub(crate) fn skew(&self) -> f64 {
        f64::from_bits(self.skew.load(Ordering::Relaxed))
    }

    pub(super) fn counted(&self, replicas: u32, skew: f64) {
        self.replicas.store(replicas, Ordering::Relaxed);
        self.skew.store(skew.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn went_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it did since this was asked last.
    pub(super) fn take_alone(&self) -> u32 {
        self.alone.swap(0, Ordering::Relaxed)
    }

    /// The key ids, the one that seals first.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.keys.all().map(|key| key.id().to_string()).collect()
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// An entry for one cache.
    pub(super) fn enter(&self, identity: &SharedIdentity, cache: Weak<TokenCache>) -> Arc<Entry> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{}~{number}", self.instance);
        let entry = Entry::new(&self.keys, &self.prefix, identity, owner, cache);
        let mut entries = lock(&self.entries);
        entries.retain(|known| known.strong_count() > 0);
        entries.push(Arc::downgrade(&entry));
        entry
    }

    /// Those that are in use.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.entries).iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn entries_of(&self, tag: &Tag) -> Vec<Arc<Entry>> {
        self.entries().into_iter().filter(|entry| entry.tag == *tag).collect()
    }
}

impl NextConnection {
    /// Waits until it is there; `None` if it will never be.
    pub(super) async fn made(self) -> Option<()> {
        let mut connections = self.connections?;
        connections.wait_for(|made| *made > self.made).await.ok().map(drop)
    }
}

impl ReplicaHandle {
    /// Of a replica that stays.
    #[must_use]
    pub(crate) fn of(replica: Arc<Replica>) -> Self {
        let handle = Self::default();
        handle.set(Some(replica));
        handle
    }

    /// From now on the program is this replica, or none.
    pub(crate) fn set(&self, replica: Option<Arc<Replica>>) {
        self.0.replica.store(replica);
    }

    /// The program's name, made once: a reload does not make it another replica.
    pub(super) fn instance(&self, make: impl FnOnce() -> String) -> Arc<str> {
        Arc::clone(self.0.instance.get_or_init(|| make().into()))
    }

    pub(crate) fn current(&self) -> Option<Arc<Replica>> {
        self.0.replica.load_full()
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplicaHandle").field(&self.current()).finish()
    }
}
