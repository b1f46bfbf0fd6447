//! The open connections of one worker: who has to be told when it is time to drain, and who is waited for.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// One worker's connections. Asking whether to drain is reading a cell; nothing is registered anew with each request.
#[derive(Debug, Default)]
pub struct Roster {
    draining: Cell<bool>,
    drain: Notify,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    tasks: TaskTracker,
}

impl Roster {
    /// Tells accept loops and connections to finish.
    pub fn begin_drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Waits until every connection has ended.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// True once draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// True if there is nobody to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) async fn draining(&self) {
        let drain = self.drain.notified();
        if !self.draining.get() {
            drain.await;
        }
    }

    /// Runs a task that the drain waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // Owned by the tracker, which the worker waits for.
        drop(tokio::task::spawn_local(self.tasks.track_future(task)));
    }

    /// A place for one connection.
    pub(super) fn seat(self: &Rc<Self>) -> Seat {
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.wakers.borrow_mut().push(None);
            self.wakers.borrow().len() - 1
        });
        Seat { roster: Rc::clone(self), place, taken: Cell::new(false) }
    }
}

/// One connection's place in the roster.
pub(super) struct Seat {
    roster: Rc<Roster>,
    place: usize,
    taken: Cell<bool>,
}

impl Seat {
    /// True if the connection has to finish; otherwise its task is woken when it has to. A task's waker stays the same, so
    /// it is left once.
    pub(super) fn must_finish(&self, cx: &Context<'_>) -> bool {
        if !self.taken.replace(true) {
            self.roster.wakers.borrow_mut()[self.place] = Some(cx.waker().clone());
        }
        self.roster.draining.get()
    }
}

impl Seat {
    /// Ready when the worker drains.
    pub(super) async fn draining(&self) {
        self.roster.draining().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.wakers.borrow_mut()[self.place] = None;
        self.roster.free.borrow_mut().push(self.place);
    }
}
