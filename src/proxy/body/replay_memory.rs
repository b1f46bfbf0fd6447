//! The memory that bodies take which are kept for another sending: one bound for all, and who gives way when it is reached.
//!
//! A caller chooses how long its upload takes, so the memory must not belong to the one that came first: uploads that stand still
//! would take the replay from all others. Nor may the newest always win, or a burst of honest uploads would cost each of them
//! its replay. So who finds no room has the oldest body give way that has had time enough: an upload that is still going on
//! after [`UPLOAD_TIME`], or one whose answer has not come after [`ANSWER_TIME`]. Such a body goes on, and a 401 to it goes
//! back to its caller.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::timer::CoarseInstant;

/// What keeping one piece costs besides its bytes: a body of tiny chunks takes memory too.
const PIECE_COST: u64 = 64;

/// How long an upload may take before it gives way.
const UPLOAD_TIME: Duration = Duration::from_secs(1);

/// How long a whole body may wait for its answer before it gives way.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The memory that all replay buffers may take together.
#[derive(Debug)]
pub(crate) struct ReplayBudget {
    limit: u64,
    used: AtomicU64,
    /// How often a body found no room on its own worker.
    pressed: AtomicU64,
    gauge: Gauge,
}

impl ReplayBudget {
    /// A budget of this many bytes, shown in a gauge.
    #[must_use]
    pub(crate) const fn new(limit: u64, gauge: Gauge) -> Self {
        Self { limit, used: AtomicU64::new(0), pressed: AtomicU64::new(0), gauge }
    }

    fn take(&self, bytes: u64) -> bool {
        let took = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit;
        if took {
            self.gauge.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        } else {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        took
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// One worker's hold on the budget, and its bodies that are kept.
pub(crate) struct ReplayMemory {
    budget: Arc<ReplayBudget>,
    /// In the order in which they began.
    bodies: RefCell<Vec<Weak<RefCell<dyn Kept>>>>,
    /// At this many entries those of bodies that have gone are taken out.
    tidy_at: Cell<usize>,
    /// What was seen of [`ReplayBudget::pressed`].
    pressed: Cell<u64>,
}

/// A body that is kept, as far as its memory is concerned.
pub(super) trait Kept {
    fn since(&self) -> CoarseInstant;

    /// True once all of the body has come.
    fn has_ended(&self) -> bool;

    /// Gives its memory back; false where there is nothing to give, or where it is needed.
    fn gives_way(&mut self) -> bool;
}

/// Fewer entries than this are not worth a look.
const FEW: usize = 64;

impl ReplayMemory {
    /// Without a body yet.
    #[must_use]
    pub(crate) fn new(budget: Arc<ReplayBudget>) -> Rc<Self> {
        let (bodies, tidy_at, pressed) = (RefCell::default(), Cell::new(FEW), Cell::new(0));
        Rc::new(Self { budget, bodies, tidy_at, pressed })
    }

    pub(super) fn add(&self, body: Weak<RefCell<dyn Kept>>) {
        let mut bodies = self.bodies.borrow_mut();
        if bodies.len() >= self.tidy_at.get() {
            bodies.retain(|body| body.strong_count() > 0);
            self.tidy_at.set(2 * bodies.len() + FEW);
        }
        bodies.push(body);
    }

    /// Room for a piece: what it costs, or `None`.
    pub(in crate::proxy) fn take(&self, bytes: u64) -> Option<u64> {
        let cost = bytes + PIECE_COST;
        while !self.budget.take(cost) {
            if !self.oldest_gives_way() {
                // The other workers look the next time they sweep.
                self.budget.pressed.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(cost)
    }

    pub(in crate::proxy) fn give_back(&self, cost: u64) {
        self.budget.give_back(cost);
    }

    /// Has all give way who have had time enough, if some worker has found no room since the last time.
    pub(in crate::proxy) fn sweep(&self) {
        let pressed = self.budget.pressed.load(Ordering::Relaxed);
        if self.pressed.replace(pressed) != pressed {
            let now = CoarseInstant::now();
            self.bodies.borrow().iter().for_each(|body| {
                let _given = gives_way(body, now);
            });
        }
    }

    fn oldest_gives_way(&self) -> bool {
        let now = CoarseInstant::now();
        self.bodies.borrow().iter().any(|body| gives_way(body, now))
    }
}

/// True if the body has had time enough and has given its memory back.
fn gives_way(body: &Weak<RefCell<dyn Kept>>, now: CoarseInstant) -> bool {
    let Some(body) = body.upgrade() else { return false };
    // The one that asks for room is borrowed.
    body.try_borrow_mut().is_ok_and(|mut body| {
        let time = if body.has_ended() { ANSWER_TIME } else { UPLOAD_TIME };
        body.since().after(time) <= now && body.gives_way()
    })
}

impl std::fmt::Debug for ReplayMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayMemory").field("budget", &self.budget).finish_non_exhaustive()
    }
}
