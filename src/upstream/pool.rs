//! The connections of one worker, never shared across threads: no lock, and a request is answered on the core it came in on.
//!
//! HTTP/1 connections are used last in, first out, so that what is not needed goes idle and is closed. An HTTP/2
//! connection is shared by as many streams as its server allows; the next one is opened when it is full. A connection
//! belongs to one upstream (its trust, its name, its origin) and is never used for another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use super::body::BodyError;
use super::connector;
use super::counted::{Bounds, Opening, Resting, Waiting};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::http1::{self, Stream};
use super::lease::{Lease, Owned, Speaking};
use super::shared::{Shared, Streams};
use super::{Offer, Upstream};
use crate::dial::Origin;
use crate::timer::{self, CoarseInstant};

/// How long a server that wants HTTP/1.1 is spoken to in it. One that has been mended gets HTTP/2 again without a restart
/// here, and one that has not costs one request in this time a second sending.
const HTTP1_ALONE: Duration = Duration::from_secs(600);

/// One worker's connections, by upstream and, where an upstream covers several hosts, by origin.
pub(crate) struct Pool<B> {
    origins: RefCell<HashMap<Key, Rc<OriginPool<B>>>>,
    bounds: RefCell<HashMap<u64, Rc<Bounds<B>>>>,
    workers: usize,
}

/// Upstream, origin where there are several, and what is offered.
type Key = (u64, Option<Origin>, Offer);

/// The connections to one origin.
pub(super) struct OriginPool<B> {
    idle: RefCell<Vec<Idle<B>>>,
    shared: RefCell<Vec<Shared<B>>>,
    protocol: Cell<Protocol>,
    offer: Offer,
    /// How many there are, with those being made.
    pub(super) open: Cell<usize>,
    pub(super) connecting: Cell<usize>,
    /// How many there may be, here and at the upstream's other hosts.
    pub(super) bounds: Rc<Bounds<B>>,
    pub(super) is_one_of_several: bool,
    /// How long a connection is kept without a request.
    idle_time: Duration,
    /// Its server wants HTTP/1.1.
    http1: ForAWhile,
}

/// What the origin's servers speak, once known. Until then one connection is made and the others wait for what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    Http2,
}

struct Idle<B> {
    connection: Box<Owned<B>>,
    since: CoarseInstant,
    _resting: Resting<B>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// An empty pool; bounds are divided among this many workers.
    #[must_use]
    pub(crate) fn new(workers: usize) -> Self {
        Self { origins: RefCell::default(), bounds: RefCell::default(), workers: workers.max(1) }
    }

    /// Makes sure that a connection to this origin can be had, and that its server is who it should be: at least one stands.
    /// A new one stays for the next request.
    ///
    /// # Errors
    /// As for any exchange: resolution, policy, refusal, TLS, timeout.
    pub(crate) async fn ready(&self, upstream: &Upstream, origin: &Origin) -> Result<(), ExchangeError> {
        let pool = self.of(upstream, origin, Offer::Any);
        match pool.take(false) {
            Some(lease) => lease.give_back(),
            // Those that there are stand, and are in use.
            None if !pool.bounds.has_room(&pool) && pool.open.get() > pool.connecting.get() => {}
            None => pool.lease_new(upstream, origin, false).await?.give_back(),
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
            let kept = |idle: &mut Idle<B>| idle.since.after(pool.idle_time) > now && idle.connection.http1.is_alive();
            pool.idle.borrow_mut().retain_mut(kept);
            pool.shared.borrow_mut().retain(|shared| shared.is_kept(now, pool.idle_time));
            Rc::strong_count(pool) > 1 || pool.open.get() > 0 || pool.wants_http1()
        });
        self.bounds.borrow_mut().retain(|_, bounds| {
            let mut hosts = bounds.hosts.borrow_mut();
            hosts.retain(|host| host.strong_count() > 0);
            !hosts.is_empty()
        });
    }

    /// The connections of an origin that a request may leave over.
    pub(super) fn of(&self, upstream: &Upstream, origin: &Origin, offer: Offer) -> Rc<OriginPool<B>> {
        let pool = self.offering(upstream, origin, offer);
        if pool.wants_http1() { self.offering(upstream, origin, Offer::Http1) } else { pool }
    }

    fn offering(&self, upstream: &Upstream, origin: &Origin, offer: Offer) -> Rc<OriginPool<B>> {
        // Without TLS there is nothing to offer, and all requests share their connections.
        let offer = if upstream.tls.is_some() { offer } else { Offer::Any };
        // An upstream with one origin needs no origin in its key, so nothing is cloned for it.
        let key = (upstream.id, (!upstream.is_single_origin()).then(|| origin.clone()), offer);
        let mut origins = self.origins.borrow_mut();
        let pool = origins.entry(key).or_insert_with(|| {
            let known = upstream.tls.is_none() || offer == Offer::Http1;
            let protocol = if known { Protocol::Http1 } else { Protocol::Unknown };
            let mut bounds = self.bounds.borrow_mut();
            let bounds = bounds.entry(upstream.id).or_insert_with(|| Rc::new(Bounds::new(upstream, self.workers)));
            let pool = Rc::new(OriginPool {
                idle: RefCell::default(),
                shared: RefCell::default(),
                protocol: Cell::new(protocol),
                offer,
                open: Cell::new(0),
                connecting: Cell::new(0),
                bounds: Rc::clone(bounds),
                is_one_of_several: !upstream.is_single_origin(),
                idle_time: upstream.settings.timeouts.idle,
                http1: ForAWhile::default(),
            });
            bounds.hosts.borrow_mut().push(Rc::downgrade(&pool));
            pool
        });
        Rc::clone(pool)
    }
}

impl<B> OriginPool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// A connection for one request: an idle one, room on a shared one, or a new one; `fresh` asks for a new one, after a
    /// used one has failed.
    pub(super) async fn lease(
        self: &Rc<Self>,
        upstream: &Upstream,
        origin: &Origin,
        fresh: bool,
        with_body: bool,
    ) -> Result<Lease<B>, ExchangeError> {
        if !fresh && let Some(lease) = self.take(with_body) {
            return Ok(lease);
        }
        // Boxed: a handshake's state is large, and every request's future would have to have room for it.
        Box::pin(self.lease_new(upstream, origin, with_body)).await
    }

    async fn lease_new(
        self: &Rc<Self>,
        upstream: &Upstream,
        origin: &Origin,
        with_body: bool,
    ) -> Result<Lease<B>, ExchangeError> {
        let limit = upstream.settings.timeouts.connect;
        let place = timer::timeout(limit, self.place(upstream, with_body)).await.map_err(|_elapsed| {
            if self.bounds.has_room(self) {
                // There was room, but the connection that was to say what the server speaks has not come about.
                let limit = humantime::format_duration(limit);
                let detail = format!("no connection to {origin} within {limit}");
                return ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail);
            }
            let (max, name) = (self.bounds.max, &upstream.settings.name);
            let detail = format!("all {max} connections of this worker to upstream {name:?} are in use");
            ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail)
        })?;
        match place? {
            Place::Used(lease) => Ok(lease),
            Place::New(opening) => self.open(upstream, origin, opening).await,
        }
    }

    /// A connection that can be used at once: room on a shared one, or the one that was used last and still stands.
    pub(super) fn take(self: &Rc<Self>, with_body: bool) -> Option<Lease<B>> {
        if self.protocol.get() != Protocol::Http1
            && let Some(speaking) = self.shared.borrow().iter().find_map(|shared| shared.stream(self, with_body))
        {
            return Some(Lease::new(speaking, true, self));
        }
        let mut connections = self.idle.borrow_mut();
        while let Some(Idle { mut connection, .. }) = connections.pop() {
            if connection.http1.is_alive() {
                return Some(Lease::new(Speaking::Http1(connection), true, self));
            }
        }
        None
    }

    /// A connection whose response has been read to its end. Not kept if the request is still on its way (RFC 9112 section
    /// 9.3); of more than may be idle, the one goes that has been so for longest.
    pub(super) fn give_back(&self, mut connection: Box<Owned<B>>) {
        if connection.http1.is_reusable() {
            connection.http1.rest();
            let idle = Idle { connection, since: CoarseInstant::now(), _resting: Resting::new(&self.bounds) };
            self.idle.borrow_mut().push(idle);
            self.bounds.trim();
        }
    }

    /// Waits until a connection may be opened, or one comes back.
    async fn place(self: &Rc<Self>, upstream: &Upstream, with_body: bool) -> Result<Place<B>, ExchangeError> {
        let mut waiting = None;
        loop {
            // Registered before looking: a change between the look and the wait is not missed.
            let changed = self.bounds.changed.notified();
            let alone = self.protocol.get() == Protocol::Http1 || self.connecting.get() == 0;
            if alone && self.bounds.makes_room(self) {
                return Ok(Place::New(Opening::new(self)));
            }
            if waiting.is_none() {
                waiting = Some(Waiting::begin(self, upstream)?);
            }
            changed.await;
            if let Some(lease) = self.take(with_body) {
                return Ok(Place::Used(lease));
            }
        }
    }

    async fn open(
        self: &Rc<Self>,
        upstream: &Upstream,
        origin: &Origin,
        opening: Opening<B>,
    ) -> Result<Lease<B>, ExchangeError> {
        let lease = match connector::connect(upstream, origin, self.offer).await? {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.protocol.set(Protocol::Http2);
                let stream = Stream::Tls(stream);
                let shared = Shared::begin(stream, self, opening.established(upstream)).await?;
                let speaking = shared.first(self);
                self.shared.borrow_mut().push(shared);
                Lease::new(speaking, false, self)
            }
            stream => {
                self.protocol.set(Protocol::Http1);
                let peer = stream.peer_addr();
                let http1 = http1::Connection::new(stream, upstream.settings.title_case);
                let owned = Owned { http1, peer, _alive: opening.established(upstream) };
                Lease::new(Speaking::Http1(Box::new(owned)), false, self)
            }
        };
        self.announce_change();
        Ok(lease)
    }
}

impl<B> OriginPool<B> {
    /// No new stream begins on this connection.
    pub(super) fn forget(&self, streams: &Rc<Streams<B>>) {
        self.shared.borrow_mut().retain(|shared| !shared.is(streams));
        self.announce_change();
    }

    /// A request was not answered in time over a connection to this address that had been idle. The others that have been idle
    /// since before it left go there too, and each would cost a caller as much; what was given back since has answered.
    pub(super) fn distrust(&self, peer: Option<SocketAddr>, left_at: CoarseInstant) {
        self.idle.borrow_mut().retain(|idle| idle.connection.peer != peer || idle.since > left_at);
    }

    /// From now on, for a while.
    pub(super) fn speak_http1(&self) {
        self.http1.begin(HTTP1_ALONE);
    }

    /// True while its server is known to want HTTP/1.1.
    pub(super) fn wants_http1(&self) -> bool {
        self.http1.holds()
    }

    /// Lets those who wait for a connection look again; without any this is one load.
    pub(super) fn announce_change(&self) {
        self.bounds.changed.notify_waiters();
    }

    /// Since when the connection has been idle that has been so for longest.
    pub(super) fn longest_idle(&self) -> Option<CoarseInstant> {
        let shared = self.shared.borrow().iter().filter_map(Shared::idle_since).min();
        // They are used last in, first out.
        let owned = self.idle.borrow().first().map(|idle| idle.since);
        shared.into_iter().chain(owned).min()
    }

    /// Closes one that has been idle since then.
    pub(super) fn close_idle_since(&self, since: CoarseInstant) -> bool {
        let mut shared = self.shared.borrow_mut();
        if let Some(place) = shared.iter().position(|shared| shared.idle_since() == Some(since)) {
            shared.remove(place).retire();
            return true;
        }
        let mut idle = self.idle.borrow_mut();
        let place = idle.iter().position(|idle| idle.since == since);
        // Dropped, it is closed and counts no more.
        place.map(|place| idle.remove(place)).is_some()
    }
}

/// What holds until some moment.
#[derive(Default)]
struct ForAWhile(Cell<Option<CoarseInstant>>);

impl ForAWhile {
    fn begin(&self, time: Duration) {
        self.0.set(Some(CoarseInstant::now().after(time)));
    }

    fn holds(&self) -> bool {
        self.0.get().is_some_and(|until| until > CoarseInstant::now())
    }
}

enum Place<B> {
    Used(Lease<B>),
    New(Opening<B>),
}

impl<B> Drop for Pool<B> {
    /// An idle connection counts itself in its pool, so the two keep each other: without this they would stay open.
    fn drop(&mut self) {
        for pool in self.origins.borrow().values() {
            drop(pool.idle.take());
            drop(pool.shared.take());
        }
    }
}

impl<B> std::fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_wanted_http1_is_offered_http2_again_after_a_while() {
        let ticker = tokio::spawn(timer::drive());
        tokio::task::yield_now().await;
        let http1 = ForAWhile::default();
        assert!(!http1.holds());
        http1.begin(HTTP1_ALONE);
        tokio::time::sleep(HTTP1_ALONE / 2).await;
        assert!(http1.holds());
        tokio::time::sleep(HTTP1_ALONE / 2 + Duration::from_secs(1)).await;
        assert!(!http1.holds());
        ticker.abort();
    }
}
