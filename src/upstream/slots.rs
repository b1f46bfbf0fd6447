//! What is counted while it lives: an upstream's connections, those that are idle, and requests that wait for one.

use std::cell::Cell;
use std::rc::Rc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::settings::PoolSettings;

/// One upstream's share of this worker, at all of its hosts together: who names hosts does not choose how many connections
/// there are.
pub(super) struct UpstreamSlots {
    open: Cell<usize>,
    idle: Cell<usize>,
    waiting: Cell<usize>,
    changed: Notify,
    max: usize,
    max_idle: usize,
    queue: usize,
}

/// What one of its hosts has of them.
pub(super) struct OriginSlots {
    /// How many connections there are, with those being made.
    open: Cell<usize>,
    connecting: Cell<usize>,
    is_one_of_several: bool,
    upstream: Rc<UpstreamSlots>,
}

impl UpstreamSlots {
    /// Nothing yet, of an upstream that so many workers share.
    pub(super) fn new(settings: &PoolSettings, workers: usize) -> Self {
        let share = |whole: usize| whole.div_ceil(workers).max(1);
        Self {
            open: Cell::new(0),
            idle: Cell::new(0),
            waiting: Cell::new(0),
            changed: Notify::new(),
            max: share(settings.max),
            max_idle: share(settings.max_idle),
            queue: settings.queue.div_ceil(workers),
        }
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    pub(super) fn has_too_many_idle(&self) -> bool {
        self.idle.get() > self.max_idle
    }
}

impl OriginSlots {
    /// None yet, of one host.
    pub(super) fn new(upstream: &Rc<UpstreamSlots>, is_one_of_several: bool) -> Self {
        Self { open: Cell::new(0), connecting: Cell::new(0), is_one_of_several, upstream: Rc::clone(upstream) }
    }

    /// True without a connection, also one that is being made.
    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    pub(super) fn has_established(&self) -> bool {
        self.open.get() > self.connecting.get()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    /// True if this host may have another connection.
    pub(super) fn has_room(&self) -> bool {
        self.upstream.open.get() < self.upstream.max && !self.has_its_share()
    }

    /// Of several hosts, one may have as many as it leaves to the others: a host that answers nothing takes half of them, two
    /// such hosts two thirds, and there is always one for another.
    pub(super) fn has_its_share(&self) -> bool {
        let UpstreamSlots { open, idle, max, .. } = &*self.upstream;
        let busy = open.get() - idle.get().min(open.get());
        !self.is_empty() && self.is_one_of_several && self.open.get() >= max.saturating_sub(busy)
    }

    /// The next change, which a waiting request looks at.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.upstream.changed.notified()
    }

    /// Lets those who wait for a connection look again; without any this is one load.
    pub(super) fn announce_change(&self) {
        self.upstream.changed.notify_waiters();
    }
}

/// A request that waits for a connection.
pub(super) struct QueueSlot(Rc<UpstreamSlots>);

impl QueueSlot {
    /// An upstream that is overloaded is not helped by a queue without end, and neither is a caller at its end.
    pub(super) fn new(host: &OriginSlots, upstream: &str) -> Result<Self, ExchangeError> {
        let slots = &host.upstream;
        // Who waits to hear what the server speaks waits for one handshake, and not for others to finish.
        if !host.has_room() && slots.waiting.get() >= slots.queue {
            let (max, queue) = (slots.max, slots.queue);
            let detail = format!(
                "all {max} connections of this worker to upstream {upstream:?} are in use, and {queue} requests wait for one already"
            );
            return Err(ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail));
        }
        slots.waiting.set(slots.waiting.get() + 1);
        Ok(Self(Rc::clone(slots)))
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// A connection without a request.
pub(super) struct IdleSlot(Rc<UpstreamSlots>);

impl IdleSlot {
    pub(super) fn new(upstream: &Rc<UpstreamSlots>) -> Self {
        upstream.idle.set(upstream.idle.get() + 1);
        Self(Rc::clone(upstream))
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        self.0.idle.set(self.0.idle.get() - 1);
    }
}

/// A connection being made: counted from the beginning, so that a burst stays within the bound.
pub(super) struct PendingSlot {
    slot: ConnectionSlot,
    connecting: Connecting,
}

impl PendingSlot {
    pub(super) fn new(host: &Rc<OriginSlots>) -> Self {
        host.upstream.open.set(host.upstream.open.get() + 1);
        host.open.set(host.open.get() + 1);
        host.connecting.set(host.connecting.get() + 1);
        Self { slot: ConnectionSlot { host: Rc::clone(host), gauge: None }, connecting: Connecting(Rc::clone(host)) }
    }

    /// It stands, and is counted in the metrics too.
    pub(super) fn established(self, connections: &Gauge) -> ConnectionSlot {
        let Self { mut slot, connecting } = self;
        drop(connecting);
        connections.inc();
        slot.gauge = Some(connections.clone());
        slot
    }
}

struct Connecting(Rc<OriginSlots>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
    }
}

/// Counts one connection while it lives; its end may let a waiting request go on.
pub(super) struct ConnectionSlot {
    host: Rc<OriginSlots>,
    gauge: Option<Gauge>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.host.open.set(self.host.open.get() - 1);
        self.host.upstream.open.set(self.host.upstream.open.get() - 1);
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
        self.host.announce_change();
    }
}
