//! What a pool counts while it lives: connections, connections in the making, and requests that wait for one.

use std::rc::Rc;

use super::Upstream;
use super::error::{ExchangeError, ExchangeErrorKind};
use super::pool::OriginPool;

/// A request that waits for a connection.
pub(super) struct Waiting<B>(Rc<OriginPool<B>>);

impl<B> Waiting<B> {
    /// An upstream that is overloaded is not helped by a queue without end, and neither is a caller at its end.
    pub(super) fn begin(pool: &Rc<OriginPool<B>>, upstream: &Upstream) -> Result<Self, ExchangeError> {
        // Who waits to hear what the server speaks waits for one handshake, and not for others to finish.
        if pool.open.get() >= pool.max && pool.waiting.get() >= pool.queue {
            let (max, queue, name) = (pool.max, pool.queue, &upstream.settings.name);
            let detail = format!(
                "all {max} connections of this worker to upstream {name:?} are in use, and {queue} requests wait for one already"
            );
            return Err(ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail));
        }
        pool.waiting.set(pool.waiting.get() + 1);
        Ok(Self(Rc::clone(pool)))
    }
}

impl<B> Drop for Waiting<B> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// A connection being made: counted from the beginning, so that a burst stays within the bound.
pub(super) struct Opening<B> {
    alive: Alive<B>,
    connecting: Connecting<B>,
}

impl<B> Opening<B> {
    pub(super) fn new(pool: &Rc<OriginPool<B>>) -> Self {
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
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
        self.pool.announce_change();
    }
}
