//! Deadlines of a quarter of a second's grain, for everything on the data path that nearly never expires.
//!
//! A precise timer costs an insertion, a removal and a lock for each request. Here a worker has one ticker; waiting is an
//! entry in a slab that the ticker sweeps, and reading the time is reading a cell. Deadlines fire up to [`TICK`] late and
//! never early. Durations below two seconds fall back on tokio's timer, where a quarter of a second would matter.
//!
//! Thread-local: each worker runtime drives its own clock by spawning [`drive`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

/// How far apart two looks at the deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(1000 / TICKS_PER_SECOND);

/// How many ticks a second has.
const TICKS_PER_SECOND: u64 = 4;

/// Below this a deadline is given to tokio's timer instead.
const PRECISE_BELOW: Duration = Duration::from_secs(2);

thread_local! {
    static CLOCK: Clock = const {
        Clock { now: Cell::new(CoarseInstant(0)), waiting: RefCell::new(Vec::new()), free: RefCell::new(Vec::new()) }
    };
}

struct Clock {
    now: Cell<CoarseInstant>,
    waiting: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<usize>>,
}

struct Entry {
    at: CoarseInstant,
    waker: Waker,
}

/// A moment of this thread's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CoarseInstant(u64);

impl CoarseInstant {
    /// The latest tick.
    #[must_use]
    pub(crate) fn now() -> Self {
        CLOCK.with(|clock| clock.now.get())
    }

    /// As a number, to be kept in an atomic.
    #[must_use]
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`CoarseInstant::to_bits`].
    #[must_use]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first tick that is at least this much later.
    #[must_use]
    pub(crate) fn after(self, wait: Duration) -> Self {
        // Not as milliseconds, which are 128 bits wide: this is asked several times for each request.
        let ticks = wait.as_secs().saturating_mul(TICKS_PER_SECOND);
        let of_rest = wait.subsec_nanos().div_ceil(TICK.subsec_nanos());
        // One more, because now is anywhere between the last tick and the next.
        Self(self.0.saturating_add(ticks).saturating_add(u64::from(of_rest) + 1))
    }
}

/// Turns this thread's clock; spawn it once on each runtime that uses coarse deadlines.
pub(crate) async fn drive() {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let start = tokio::time::Instant::now();
    loop {
        let now = interval.tick().await;
        // Computed from the time and not counted, so that a stalled thread catches up.
        let ticks = now.duration_since(start).as_millis() / TICK.as_millis();
        wake_expired(CoarseInstant(u64::try_from(ticks).unwrap_or(u64::MAX)));
    }
}

fn wake_expired(now: CoarseInstant) {
    CLOCK.with(|clock| {
        clock.now.set(now);
        for entry in clock.waiting.borrow_mut().iter_mut().flatten() {
            if entry.at <= now {
                // Once: a task that has no use for the deadline any more would be woken with every tick.
                entry.at = CoarseInstant(u64::MAX);
                // The task runs later: a waker of tokio never polls from here, so the borrow is safe.
                entry.waker.wake_by_ref();
            }
        }
    });
}

/// A deadline that can be polled, moved, and forgotten by dropping it.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: CoarseInstant,
    slot: Option<usize>,
}

impl Deadline {
    /// Expires at this tick.
    #[must_use]
    pub(crate) const fn at(at: CoarseInstant) -> Self {
        Self { at, slot: None }
    }

    /// Moves the deadline; cheap, and takes effect with the next poll.
    pub(crate) fn move_to(&mut self, at: CoarseInstant) {
        self.at = at;
        if let Some(slot) = self.slot {
            CLOCK.with(|clock| {
                if let Some(Some(entry)) = clock.waiting.borrow_mut().get_mut(slot) {
                    entry.at = at;
                }
            });
        }
    }

    /// Ready once the deadline has passed; otherwise this task is woken when it does.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        CLOCK.with(|clock| {
            if clock.now.get() >= self.at {
                return Poll::Ready(());
            }
            let mut waiting = clock.waiting.borrow_mut();
            match self.slot.and_then(|slot| waiting.get_mut(slot)) {
                Some(Some(entry)) => entry.waker.clone_from(cx.waker()),
                _ => {
                    let entry = Some(Entry { at: self.at, waker: cx.waker().clone() });
                    let slot = clock.free.borrow_mut().pop();
                    self.slot = Some(match slot {
                        Some(slot) => {
                            waiting[slot] = entry;
                            slot
                        }
                        None => {
                            waiting.push(entry);
                            waiting.len() - 1
                        }
                    });
                }
            }
            Poll::Pending
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            // `try_with`: a task that is dropped while its thread ends finds no clock any more.
            let _destroyed = CLOCK.try_with(|clock| {
                clock.waiting.borrow_mut()[slot] = None;
                clock.free.borrow_mut().push(slot);
            });
        }
    }
}

/// The time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A limit on one wait, by whichever timer fits its length.
#[derive(Debug)]
pub(crate) enum Limit {
    /// The worker's ticker.
    Coarse(Deadline),
    /// tokio's timer; boxed, for it is rare and large.
    Precise(Pin<Box<tokio::time::Sleep>>),
}

impl Limit {
    #[must_use]
    pub(crate) fn after(wait: Duration) -> Self {
        if wait < PRECISE_BELOW {
            Self::Precise(Box::pin(tokio::time::sleep(wait)))
        } else {
            Self::Coarse(Deadline::at(CoarseInstant::now().after(wait)))
        }
    }

    /// Ready once the time is up.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Coarse(deadline) => deadline.poll(cx),
            Self::Precise(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

pin_project! {
    /// See [`timeout`]. Not an `async fn`, which would have room for the future twice: as it was given, and where it is polled.
    pub(crate) struct Timeout<F> {
        #[pin]
        future: F,
        limit: Limit,
    }
}

/// Runs a future for at most this long: [`Elapsed`] when the time is up first. The future ends with this one.
pub(crate) fn timeout<F: Future>(wait: Duration, future: F) -> Timeout<F> {
    Timeout { future, limit: Limit::after(wait) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.limit.poll(cx).map(|()| Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        let ticker = tokio::spawn(drive());
        tokio::task::yield_now().await;
        let start = tokio::time::Instant::now();
        let result = timeout(Duration::from_secs(10), std::future::pending::<()>()).await;
        let took = start.elapsed();
        assert_eq!(result, Err(Elapsed));
        assert!(took >= Duration::from_secs(10) && took <= Duration::from_secs(10) + 2 * TICK, "{took:?}");
        ticker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_nobody_asks_about_any_more_wakes_its_task_once() {
        let ticker = tokio::spawn(drive());
        tokio::task::yield_now().await;
        let mut deadline = Deadline::at(CoarseInstant::now().after(Duration::from_secs(2)));
        let (mut polls, mut end) = (0, Box::pin(tokio::time::sleep(Duration::from_secs(60))));
        std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                assert!(deadline.poll(cx).is_pending());
            }
            end.as_mut().poll(cx)
        })
        .await;
        assert_eq!(polls, 3, "the first, the deadline's, and the end");
        ticker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_ready_leaves_nothing_behind() {
        let ticker = tokio::spawn(drive());
        for _ in 0..100 {
            assert_eq!(timeout(Duration::from_secs(10), async { 7 }).await, Ok(7));
            let slow = tokio::time::sleep(Duration::from_millis(1));
            assert_eq!(timeout(Duration::from_secs(10), slow).await, Ok(()));
        }
        CLOCK.with(|clock| assert!(clock.waiting.borrow().len() <= 1));
        ticker.abort();
    }
}
