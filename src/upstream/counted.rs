//! What is counted while it lives: an upstream's connections, those that are idle, and requests that wait for one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use super::Upstream;
use super::error::{ExchangeError, ExchangeErrorKind};
use super::pool::OriginPool;

/// One upstream's share of this worker, at all of its hosts together: who names hosts does not choose how many connections
/// there are.
pub(super) struct Bounds<B> {
    open: Cell<usize>,
    idle: Cell<usize>,
    waiting: Cell<usize>,
    pub(super) changed: Notify,
    pub(super) max: usize,
    max_idle: usize,
    queue: usize,
    pub(super) hosts: RefCell<Vec<Weak<OriginPool<B>>>>,
}

impl<B> Bounds<B> {
    /// Nothing yet, of an upstream that so many workers share.
    pub(super) fn new(upstream: &Upstream, workers: usize) -> Self {
        let (pool, share) = (&upstream.settings.pool, |whole: usize| whole.div_ceil(workers).max(1));
        Self {
            open: Cell::new(0),
            idle: Cell::new(0),
            waiting: Cell::new(0),
            changed: Notify::new(),
            max: share(pool.max),
            max_idle: share(pool.max_idle),
            queue: pool.queue.div_ceil(workers),
            hosts: RefCell::default(),
        }
    }

    /// True if this host may have another connection. Of several hosts, one may have as many as it leaves to the others: a
    /// host that answers nothing takes half of them, two such hosts two thirds, and there is always one for another.
    pub(super) fn has_room(&self, host: &OriginPool<B>) -> bool {
        self.open.get() < self.max && !self.has_its_share(host)
    }

    fn has_its_share(&self, host: &OriginPool<B>) -> bool {
        let busy = self.open.get() - self.idle.get().min(self.open.get());
        host.open.get() > 0 && host.is_one_of_several && host.open.get() >= self.max.saturating_sub(busy)
    }

    /// The same, after the connection that has been idle longest has made room, at whichever host.
    pub(super) fn makes_room(&self, host: &OriginPool<B>) -> bool {
        self.has_room(host) || (!self.has_its_share(host) && self.close_longest_idle() && self.has_room(host))
    }

    /// Closes what has been idle longest while more is idle than may be.
    pub(super) fn trim(&self) {
        while self.idle.get() > self.max_idle && self.close_longest_idle() {}
    }

    fn close_longest_idle(&self) -> bool {
        let hosts = self.hosts.borrow();
        let idle = hosts.iter().filter_map(|host| {
            let host = host.upgrade()?;
            Some((host.longest_idle()?, host))
        });
        idle.min_by_key(|(since, _)| *since).is_some_and(|(since, host)| host.close_idle_since(since))
    }
}

/// A request that waits for a connection.
pub(super) struct Waiting<B>(Rc<Bounds<B>>);

impl<B> Waiting<B> {
    /// An upstream that is overloaded is not helped by a queue without end, and neither is a caller at its end.
    pub(super) fn begin(host: &OriginPool<B>, upstream: &Upstream) -> Result<Self, ExchangeError> {
        let bounds = &host.bounds;
        // Who waits to hear what the server speaks waits for one handshake, and not for others to finish.
        if !bounds.has_room(host) && bounds.waiting.get() >= bounds.queue {
            let (max, queue, name) = (bounds.max, bounds.queue, &upstream.settings.name);
            let detail = format!(
                "all {max} connections of this worker to upstream {name:?} are in use, and {queue} requests wait for one already"
            );
            return Err(ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail));
        }
        bounds.waiting.set(bounds.waiting.get() + 1);
        Ok(Self(Rc::clone(bounds)))
    }
}

impl<B> Drop for Waiting<B> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// A connection without a request.
pub(super) struct Resting<B>(Rc<Bounds<B>>);

impl<B> Resting<B> {
    pub(super) fn new(bounds: &Rc<Bounds<B>>) -> Self {
        bounds.idle.set(bounds.idle.get() + 1);
        Self(Rc::clone(bounds))
    }
}

impl<B> Drop for Resting<B> {
    fn drop(&mut self) {
        self.0.idle.set(self.0.idle.get() - 1);
    }
}

/// A connection being made: counted from the beginning, so that a burst stays within the bound.
pub(super) struct Opening<B> {
    alive: Alive<B>,
    connecting: Connecting<B>,
}

impl<B> Opening<B> {
    pub(super) fn new(pool: &Rc<OriginPool<B>>) -> Self {
        pool.bounds.open.set(pool.bounds.open.get() + 1);
        pool.open.set(pool.open.get() + 1);
        pool.connecting.set(pool.connecting.get() + 1);
        Self { alive: Alive { pool: Rc::clone(pool), gauge: None }, connecting: Connecting(Rc::clone(pool)) }
    }

    pub(super) fn established(self, upstream: &Upstream) -> Alive<B> {
        let Self { mut alive, connecting } = self;
        drop(connecting);
        upstream.connections.inc();
        alive.gauge = Some(upstream.connections.clone());
        alive
    }
}

struct Connecting<B>(Rc<OriginPool<B>>);

impl<B> Drop for Connecting<B> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
    }
}

/// Counts one connection while it lives; its end may let a waiting request go on.
pub(super) struct Alive<B> {
    pool: Rc<OriginPool<B>>,
    gauge: Option<prometheus_client::metrics::gauge::Gauge>,
}

impl<B> Drop for Alive<B> {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get() - 1);
        self.pool.bounds.open.set(self.pool.bounds.open.get() - 1);
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
        self.pool.announce_change();
    }
}
