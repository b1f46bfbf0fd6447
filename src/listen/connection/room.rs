//! How many connections there may be, and who goes so that the next one can come.
//!
//! Near the limit the connections that have been idle longest are asked to go, whichever worker has them; at the limit accepting
//! pauses. Nothing is kept in order for that: each worker's seats are looked through when room is short, and where a connection
//! stands is written down in any case ([`Standing`]).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::Standing;
use crate::coarse::Tick;
use crate::sync::lock;

/// Of this share of the places some are kept free, so that whoever comes next need not wait until somebody has gone.
const KEPT_FREE: usize = 32;

/// How often somebody who waits looks for connections that have become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All seats are looked through no more often than this, if the last time was in vain.
const IN_VAIN: Duration = Duration::from_millis(50);

/// How often the same thing is said in the log.
const SAID: Duration = Duration::from_secs(60);

/// The places of one kind of listeners, for all workers.
#[derive(Debug)]
pub(crate) struct Room {
    permits: Arc<Semaphore>,
    low: usize,
    waiting: AtomicUsize,
    /// Seats are numbered, so that of two that have been idle equally long the older one goes.
    next: AtomicU64,
    benches: Mutex<Vec<Weak<Bench>>>,
    in_vain: Mutex<Option<Instant>>,
    full: Saying,
    no_descriptors: Saying,
}

impl Room {
    /// For so many connections at a time.
    #[must_use]
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(most)),
            low: most / KEPT_FREE,
            waiting: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            benches: Mutex::default(),
            in_vain: Mutex::default(),
            full: Saying::default(),
            no_descriptors: Saying::default(),
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
        // More than that at once: the seats are not looked through for each that comes.
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
                () = tokio::time::sleep(LOOK_AGAIN) => {
                    self.make_room(self.low);
                    if self.full.is_due() {
                        tracing::warn!(
                            target: "attache::listen",
                            "accepting pauses: there are as many connections as there may be, and hardly any is idle"
                        );
                    }
                }
            }
        }
    }

    /// A place if there is one.
    pub(in crate::listen) fn place_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// There is no descriptor to accept with.
    pub(in crate::listen) fn out_of_descriptors(&self, error: &std::io::Error) {
        self.make_room(self.permits.available_permits() + self.low.max(1));
        if self.no_descriptors.is_due() {
            tracing::warn!(target: "attache::listen", %error, "accepting pauses");
        }
    }

    /// Asks those that have been idle longest to go, until so many places more than are waited for will be free.
    fn make_room(&self, more: usize) {
        let free = self.permits.available_permits();
        let wanted = (more + self.waiting.load(Ordering::Relaxed)).saturating_sub(free);
        let mut in_vain = lock(&self.in_vain);
        if wanted == 0 || in_vain.is_some_and(|at| at.elapsed() < IN_VAIN) {
            return;
        }
        let mut benches = lock(&self.benches);
        benches.retain(|bench| bench.strong_count() > 0);
        let benches: Vec<Arc<Bench>> = benches.iter().filter_map(Weak::upgrade).collect();
        let now = Tick::now();
        let mut going = 0;
        let mut idle = Vec::new();
        for (which, bench) in benches.iter().enumerate() {
            for (place, seated) in lock(&bench.0).seats.iter().enumerate() {
                let Some(seated) = seated else { continue };
                if seated.standing.is_asked_to_go() {
                    going += 1;
                } else if let Some(since) = seated.standing.idle_since(now) {
                    idle.push((since, seated.number, which, place));
                }
            }
        }
        let wanted = wanted.saturating_sub(going);
        *in_vain = (idle.len() < wanted).then(Instant::now);
        drop(in_vain);
        idle.sort_unstable();
        for (_, number, which, place) in idle.into_iter().take(wanted) {
            benches[which].ask_to_go(place, number);
        }
    }

    pub(in crate::listen) fn bench(&self) -> Arc<Bench> {
        let bench = Arc::new(Bench::default());
        let mut benches = lock(&self.benches);
        // Each opened tunnel has one: those that have ended go before the list grows.
        if benches.len() == benches.capacity() {
            benches.retain(|bench| bench.strong_count() > 0);
        }
        benches.push(Arc::downgrade(&bench));
        bench
    }

    pub(in crate::listen) fn number(&self) -> u64 {
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

/// Where the connections of one roster sit. Locked when one comes or goes, and when room is short.
#[derive(Debug, Default)]
pub(in crate::listen) struct Bench(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    seats: Vec<Option<Seated>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Seated {
    number: u64,
    standing: Arc<Standing>,
    waker: Option<Waker>,
}

impl Bench {
    pub(in crate::listen) fn sit(&self, number: u64, standing: Arc<Standing>) -> usize {
        let mut bench = lock(&self.0);
        let seated = Some(Seated { number, standing, waker: None });
        match bench.free.pop() {
            Some(place) => {
                bench.seats[place] = seated;
                place
            }
            None => {
                bench.seats.push(seated);
                bench.seats.len() - 1
            }
        }
    }

    pub(in crate::listen) fn rise(&self, place: usize) {
        let mut bench = lock(&self.0);
        bench.seats[place] = None;
        bench.free.push(place);
    }

    /// Whom to wake when something is asked of this connection.
    pub(in crate::listen) fn wake_by(&self, place: usize, waker: &Waker) {
        if let Some(seated) = &mut lock(&self.0).seats[place] {
            seated.waker = Some(waker.clone());
        }
    }

    pub(in crate::listen) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            lock(&self.0).seats.iter().flatten().filter_map(|seated| seated.waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn ask_to_go(&self, place: usize, number: u64) {
        let waker = match &lock(&self.0).seats[place] {
            // Another one may sit there by now.
            Some(seated) if seated.number == number => {
                seated.standing.ask_to_go();
                seated.waker.clone()
            }
            _ => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Something that is said once in a while.
#[derive(Debug, Default)]
struct Saying(Mutex<Option<Instant>>);

impl Saying {
    fn is_due(&self) -> bool {
        let mut last = lock(&self.0);
        let due = last.is_none_or(|at| at.elapsed() >= SAID);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
