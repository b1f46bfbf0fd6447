//! The open connections of one worker: which have to be told when it is time to drain or to make room, and which are waited for.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::room::{Room, WorkerConnections};
use super::state::ConnectionState;

/// One worker's connections. Asking whether to drain is reading a cell; nothing is registered anew with each request.
#[derive(Debug)]
pub(crate) struct Drain {
    end_announced: Cell<bool>,
    draining: Cell<bool>,
    announced: Notify,
    begun: Notify,
    room: Arc<Room>,
    connections: Arc<WorkerConnections>,
    tasks: TaskTracker,
}

impl Drain {
    /// For connections that have their places in this room.
    #[must_use]
    pub(crate) fn new(room: &Arc<Room>) -> Rc<Self> {
        Rc::new(Self {
            end_announced: Cell::new(false),
            draining: Cell::new(false),
            announced: Notify::new(),
            begun: Notify::new(),
            room: Arc::clone(room),
            connections: room.register(),
            tasks: TaskTracker::new(),
        })
    }

    /// For connections of the same room that may have to finish before the others: those inside of one tunnel.
    #[must_use]
    pub(crate) fn apart(&self) -> Rc<Self> {
        Self::new(&self.room)
    }

    /// Has each connection end with its next answer, so that its caller goes elsewhere; accepting goes on.
    pub(crate) fn announce_end(&self) {
        self.end_announced.set(true);
        self.announced.notify_waiters();
        self.connections.wake_all();
    }

    /// Tells accept loops and connections to finish.
    pub(crate) fn begin_drain(&self) {
        self.end_announced.set(true);
        self.draining.set(true);
        self.announced.notify_waiters();
        self.begun.notify_waiters();
        self.connections.wake_all();
    }

    /// Waits until every connection has ended.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// True from [`Drain::announce_end`] on.
    #[must_use]
    pub(crate) fn is_end_announced(&self) -> bool {
        self.end_announced.get()
    }

    /// True once draining has begun.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// True if no task is left to wait for.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Ready from [`Drain::announce_end`] on.
    pub(crate) async fn end_announced(&self) {
        let announced = self.announced.notified();
        if !self.end_announced.get() {
            announced.await;
        }
    }

    /// Ready once draining has begun.
    pub(crate) async fn draining(&self) {
        let begun = self.begun.notified();
        if !self.draining.get() {
            begun.await;
        }
    }

    /// Runs a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // Owned by the tracker, which the worker waits for.
        drop(tokio::task::spawn_local(self.tasks.track_future(task)));
    }

    /// Registers one connection until the guard is dropped.
    pub(super) fn guard(self: &Rc<Self>, state: &Arc<ConnectionState>) -> DrainGuard {
        let index = self.connections.insert(self.room.number(), Arc::clone(state));
        DrainGuard { drain: Rc::clone(self), state: Arc::clone(state), index, registered: Cell::new(false) }
    }
}

/// One connection that the drain waits for.
pub(super) struct DrainGuard {
    drain: Rc<Drain>,
    state: Arc<ConnectionState>,
    index: usize,
    /// Its task's waker is known.
    registered: Cell<bool>,
}

impl DrainGuard {
    /// True if the connection has to finish; otherwise its task is woken when it has to. A task's waker stays the same, so
    /// it is left once.
    pub(super) fn must_finish(&self, cx: &Context<'_>) -> bool {
        self.register(cx);
        self.drain.draining.get()
    }

    /// True if the connection has to end with its next answer; its task is woken as for [`DrainGuard::must_finish`].
    pub(super) fn must_take_leave(&self, cx: &Context<'_>) -> bool {
        self.register(cx);
        self.drain.is_end_announced()
    }

    /// True if the connection has to make room for another one: it is idle, and has been for longer than the others. To be
    /// asked after what has come was read; its task is woken for it.
    pub(super) fn must_make_room(&self, cx: &Context<'_>) -> bool {
        self.register(cx);
        self.state.must_go()
    }

    /// Ready when the worker drains.
    pub(super) async fn draining(&self) {
        self.drain.draining().await;
    }

    /// Ready when the connection has to make room for another one.
    pub(super) async fn makes_room(&self) {
        std::future::poll_fn(|cx| if self.must_make_room(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn register(&self, cx: &Context<'_>) {
        if !self.registered.replace(true) {
            self.drain.connections.wake_by(self.index, cx.waker());
        }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.drain.connections.remove(self.index);
    }
}
