//! The connections of one worker, never shared across threads: no lock, and a request is answered on the core it came in on.
//!
//! HTTP/1 connections are used last in, first out, so that what is not needed goes idle and is closed. An HTTP/2
//! connection is shared by as many streams as its server allows; the next one is opened when it is full. A connection
//! belongs to one upstream (its trust, its name, its origin) and is never used for another.

mod for_a_while;
mod idle;
mod lease;
mod origin;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use http_body::Body;

use super::error::ExchangeError;
use super::live::{Offer, Upstream};
use super::outgoing::BodyError;
use crate::dial::Origin;
use crate::timer::CoarseInstant;

pub(super) use origin::{Connection, Lease, OriginPool, UpstreamPool};

/// One worker's connections, by upstream and, where an upstream covers several hosts, by origin.
pub(crate) struct Pool<B> {
    origins: RefCell<HashMap<Key, Rc<OriginPool<B>>>>,
    upstreams: RefCell<HashMap<u64, Rc<UpstreamPool<B>>>>,
    workers: usize,
}

/// Upstream, origin where there are several, and what is offered.
type Key = (u64, Option<Origin>, Offer);

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// An empty pool; bounds are divided among this many workers.
    #[must_use]
    pub(crate) fn new(workers: usize) -> Self {
        Self { origins: RefCell::default(), upstreams: RefCell::default(), workers: workers.max(1) }
    }

    /// Makes sure that a connection to this origin is available, and that its server is who it should be: at least one stands.
    /// A new one stays for the next request.
    ///
    /// # Errors
    /// As for any exchange: resolution, policy, refusal, TLS, timeout.
    pub(crate) async fn ready(&self, upstream: &Upstream, origin: &Origin) -> Result<(), ExchangeError> {
        let pool = self.of(upstream, origin, Offer::Any);
        match pool.take(false) {
            Some(lease) => lease.give_back(),
            None if pool.is_full() => {}
            None => pool.lease(upstream, origin, true, false).await?.give_back(),
        }
        Ok(())
    }

    /// Closes what has been idle for too long, or belongs to an upstream that is no longer live, and forgets origins without a
    /// connection. Call it every few seconds.
    pub(crate) fn sweep(&self, is_live: impl Fn(u64) -> bool) {
        let now = CoarseInstant::now();
        self.origins.borrow_mut().retain(|(upstream, ..), pool| {
            // Requests that began before a reload finish; their connections then serve nobody.
            let now = if is_live(*upstream) { now } else { CoarseInstant::from_bits(u64::MAX) };
            pool.sweep(now);
            Rc::strong_count(pool) > 1 || pool.is_needed()
        });
        self.upstreams.borrow_mut().retain(|_, upstream| upstream.has_origins());
    }

    /// The connections of an origin that a request may leave over.
    pub(super) fn of(&self, upstream: &Upstream, origin: &Origin, offer: Offer) -> Rc<OriginPool<B>> {
        let pool = self.offering(upstream, origin, offer);
        if pool.wants_http1() { self.offering(upstream, origin, Offer::Http1) } else { pool }
    }

    fn offering(&self, upstream: &Upstream, origin: &Origin, offer: Offer) -> Rc<OriginPool<B>> {
        // Without TLS there is nothing to offer, and all requests share their connections.
        let offer = if upstream.may_speak_http2() { offer } else { Offer::Any };
        // An upstream with one origin needs no origin in its key, so nothing is cloned for it.
        let key = (upstream.id, (!upstream.is_single_origin()).then(|| origin.clone()), offer);
        let mut origins = self.origins.borrow_mut();
        let pool = origins.entry(key).or_insert_with(|| {
            let mut upstreams = self.upstreams.borrow_mut();
            let of = upstreams
                .entry(upstream.id)
                .or_insert_with(|| Rc::new(UpstreamPool::new(&upstream.settings.pool, self.workers)));
            OriginPool::new(upstream, offer, of)
        });
        Rc::clone(pool)
    }
}

impl<B> std::fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
