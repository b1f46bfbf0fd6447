//! The open connections of one worker: who has to be told when it is time to drain or to make room, and who is waited for.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::room::{Bench, Room};
use super::state::Standing;

/// One worker's connections. Asking whether to drain is reading a cell; nothing is registered anew with each request.
#[derive(Debug)]
pub(crate) struct Roster {
    draining: Cell<bool>,
    drain: Notify,
    room: Arc<Room>,
    bench: Arc<Bench>,
    tasks: TaskTracker,
}

impl Roster {
    /// For connections that have their places in this room.
    #[must_use]
    pub(crate) fn new(room: &Arc<Room>) -> Rc<Self> {
        Rc::new(Self {
            draining: Cell::new(false),
            drain: Notify::new(),
            room: Arc::clone(room),
            bench: room.bench(),
            tasks: TaskTracker::new(),
        })
    }

    /// For connections of the same room that may have to finish before the others: those inside of one tunnel.
    #[must_use]
    pub(crate) fn apart(&self) -> Rc<Self> {
        Self::new(&self.room)
    }

    /// Tells accept loops and connections to finish.
    pub(crate) fn begin_drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
        self.bench.wake_all();
    }

    /// Waits until every connection has ended.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// True once draining has begun.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// True if there is nobody to wait for.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Ready once draining has begun.
    pub(crate) async fn draining(&self) {
        let drain = self.drain.notified();
        if !self.draining.get() {
            drain.await;
        }
    }

    /// Runs a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // Owned by the tracker, which the worker waits for.
        drop(tokio::task::spawn_local(self.tasks.track_future(task)));
    }

    /// A place for one connection.
    pub(super) fn seat(self: &Rc<Self>, standing: &Arc<Standing>) -> Seat {
        let place = self.bench.sit(self.room.number(), Arc::clone(standing));
        Seat { roster: Rc::clone(self), standing: Arc::clone(standing), place, taken: Cell::new(false) }
    }
}

/// One connection's place in the roster.
pub(super) struct Seat {
    roster: Rc<Roster>,
    standing: Arc<Standing>,
    place: usize,
    taken: Cell<bool>,
}

impl Seat {
    /// True if the connection has to finish; otherwise its task is woken when it has to. A task's waker stays the same, so
    /// it is left once.
    pub(super) fn must_finish(&self, cx: &Context<'_>) -> bool {
        self.take(cx);
        self.roster.draining.get()
    }

    /// True if the connection has to make room for another one: it is idle, and has been for longer than the others. To be
    /// asked after what has come was read; its task is woken for it.
    pub(super) fn must_make_room(&self, cx: &Context<'_>) -> bool {
        self.take(cx);
        self.standing.must_go()
    }

    /// Ready when the worker drains.
    pub(super) async fn draining(&self) {
        self.roster.draining().await;
    }

    /// Ready when the connection has to make room for another one.
    pub(super) async fn makes_room(&self) {
        std::future::poll_fn(|cx| if self.must_make_room(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn take(&self, cx: &Context<'_>) {
        if !self.taken.replace(true) {
            self.roster.bench.wake_by(self.place, cx.waker());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.bench.rise(self.place);
    }
}
