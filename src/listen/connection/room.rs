//! How many connections there may be, and who goes so that the next one can come.
//!
//! Near the limit the connections that have been idle longest are asked to go, whichever worker has them; at the limit accepting
//! pauses. Nothing is kept in order for that: each worker's connections are looked through when room is short, and the state of
//! each is written down in any case ([`ConnectionState`]).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::ConnectionState;
use crate::sync::lock;
use crate::telemetry::LogThrottle;
use crate::timer::CoarseInstant;

/// One place in so many is kept free, so that the next connection need not wait until another has gone.
const RESERVED_SHARE: usize = 32;

/// How often a connection that waits looks for others that have become idle.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Connections are looked through no more often than this, if the last time was in vain.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How often the same line is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The places of one kind of listeners, for all workers.
#[derive(Debug)]
pub(crate) struct Room {
    permits: Arc<Semaphore>,
    low: usize,
    waiting: AtomicUsize,
    /// Slots are numbered, so that of two that have been idle equally long the older one goes.
    next: AtomicU64,
    workers: Mutex<Vec<Weak<WorkerConnections>>>,
    in_vain: Mutex<Option<Instant>>,
    full: LogThrottle,
    no_descriptors: LogThrottle,
}

impl Room {
    /// For so many connections at a time.
    #[must_use]
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(max)),
            low: max / RESERVED_SHARE,
            waiting: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            workers: Mutex::default(),
            in_vain: Mutex::default(),
            full: LogThrottle::default(),
            no_descriptors: LogThrottle::default(),
        })
    }

    /// A place for one more. Dropping this future gives up waiting.
    pub(in crate::listen) async fn place(&self) -> OwnedSemaphorePermit {
        let free = self.permits.available_permits();
        if free > self.low
            && let Some(permit) = self.place_now()
        {
            return permit;
        }
        let _counted = Waiting::new(&self.waiting);
        // More than that at once: the connections are not looked through for each that comes.
        self.make_room(2 * self.low);
        let place = Arc::clone(&self.permits).acquire_owned();
        let mut place = std::pin::pin!(place);
        loop {
            tokio::select! {
                biased;
                place = &mut place => match place {
                    Ok(place) => return place,
                    // Never closed.
                    Err(_closed) => std::future::pending().await,
                },
                () = tokio::time::sleep(POLL_INTERVAL) => {
                    self.make_room(self.low);
                    if self.full.take_for((), LOG_INTERVAL).is_some() {
                        tracing::warn!(
                            target: "attache::listen",
                            "accepting pauses: there are as many connections as there may be, and hardly any is idle"
                        );
                    }
                }
            }
        }
    }

    pub(in crate::listen) fn place_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// There is no descriptor to accept with.
    pub(in crate::listen) fn out_of_descriptors(&self, error: &std::io::Error) {
        self.make_room(self.permits.available_permits() + self.low.max(1));
        if self.no_descriptors.take_for((), LOG_INTERVAL).is_some() {
            tracing::warn!(target: "attache::listen", %error, "accepting pauses");
        }
    }

    /// Asks those that have been idle longest to go, until so many places more than are waited for will be free.
    fn make_room(&self, more: usize) {
        let free = self.permits.available_permits();
        let wanted = (more + self.waiting.load(Ordering::Relaxed)).saturating_sub(free);
        let mut in_vain = lock(&self.in_vain);
        if wanted == 0 || in_vain.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
            return;
        }
        let mut workers = lock(&self.workers);
        workers.retain(|worker| worker.strong_count() > 0);
        let workers: Vec<Arc<WorkerConnections>> = workers.iter().filter_map(Weak::upgrade).collect();
        let now = CoarseInstant::now();
        let mut going = 0;
        let mut idle = Vec::new();
        for (which, worker) in workers.iter().enumerate() {
            for (index, slot) in lock(&worker.0).slots.iter().enumerate() {
                let Some(slot) = slot else { continue };
                if slot.state.is_asked_to_go() {
                    going += 1;
                } else if let Some(since) = slot.state.idle_since(now) {
                    idle.push((since, slot.number, which, index));
                }
            }
        }
        let wanted = wanted.saturating_sub(going);
        *in_vain = (idle.len() < wanted).then(Instant::now);
        drop(in_vain);
        idle.sort_unstable();
        for (_, number, which, index) in idle.into_iter().take(wanted) {
            workers[which].ask_to_go(index, number);
        }
    }

    /// A place for the connections of one [`Drain`](super::drain::Drain).
    pub(super) fn register(&self) -> Arc<WorkerConnections> {
        let worker = Arc::new(WorkerConnections::default());
        let mut workers = lock(&self.workers);
        // Each opened tunnel has one: those that have ended go before the list grows.
        if workers.len() == workers.capacity() {
            workers.retain(|worker| worker.strong_count() > 0);
        }
        workers.push(Arc::downgrade(&worker));
        worker
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// One that waits, counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of one worker, or of one opened tunnel. Locked when one comes or goes, and when room is short.
#[derive(Debug, Default)]
pub(super) struct WorkerConnections(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    state: Arc<ConnectionState>,
    waker: Option<Waker>,
}

impl WorkerConnections {
    pub(super) fn insert(&self, number: u64, state: Arc<ConnectionState>) -> usize {
        let mut all = lock(&self.0);
        let slot = Some(Slot { number, state, waker: None });
        match all.free.pop() {
            Some(index) => {
                all.slots[index] = slot;
                index
            }
            None => {
                all.slots.push(slot);
                all.slots.len() - 1
            }
        }
    }

    pub(super) fn remove(&self, index: usize) {
        let mut all = lock(&self.0);
        all.slots[index] = None;
        all.free.push(index);
    }

    /// Whom to wake when something is asked of this connection.
    pub(super) fn wake_by(&self, index: usize, waker: &Waker) {
        if let Some(slot) = &mut lock(&self.0).slots[index] {
            slot.waker = Some(waker.clone());
        }
    }

    pub(super) fn wake_all(&self) {
        let wakers: Vec<Waker> = lock(&self.0).slots.iter().flatten().filter_map(|slot| slot.waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn ask_to_go(&self, index: usize, number: u64) {
        let waker = match &lock(&self.0).slots[index] {
            // Another connection may have the slot by now.
            Some(slot) if slot.number == number => {
                slot.state.ask_to_go();
                slot.waker.clone()
            }
            _ => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
