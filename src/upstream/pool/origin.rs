//! The connections to one origin: where a request takes one, and gives it back.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http_body::Body;

use super::for_a_while::ForAWhile;
use super::idle::{Http1Connection, IdleConnections};
use crate::dial::Origin;
use crate::http2::Http2Fault;
use crate::timer::{self, CoarseInstant};
use crate::upstream::connect::{self, Stream};
use crate::upstream::error::{ExchangeError, ExchangeErrorKind};
use crate::upstream::live::{Offer, Upstream};
use crate::upstream::outgoing::BodyError;
use crate::upstream::settings::PoolSettings;
use crate::upstream::slots::{OriginSlots, PendingSlot, QueueSlot, UpstreamSlots};
use crate::upstream::{http1, http2};

/// How long a server that wants HTTP/1.1 is spoken to in it. One that has been mended gets HTTP/2 again without a restart
/// here, and one that has not costs one request in this time a second sending.
const HTTP1_ALONE: Duration = Duration::from_secs(600);

/// The connections to all hosts of one upstream.
pub(in crate::upstream) struct UpstreamPool<B> {
    slots: Rc<UpstreamSlots>,
    origins: RefCell<Vec<Weak<OriginPool<B>>>>,
}

/// The connections to one origin.
pub(in crate::upstream) struct OriginPool<B> {
    idle: IdleConnections<B>,
    shared: RefCell<Vec<http2::Connection>>,
    protocol: Cell<Protocol>,
    offer: Offer,
    slots: Rc<OriginSlots>,
    upstream: Rc<UpstreamPool<B>>,
    /// How long a connection is kept without a request.
    idle_time: Duration,
    /// Its server wants HTTP/1.1.
    http1: ForAWhile,
}

/// A connection in use by one request; dropped instead of given back, an HTTP/1.1 connection is closed.
pub(in crate::upstream) struct Lease<B> {
    pub(in crate::upstream) connection: Connection<B>,
    /// It has carried requests before.
    pub(in crate::upstream) reused: bool,
    pub(super) pool: Rc<OriginPool<B>>,
}

/// By what the server speaks.
pub(in crate::upstream) enum Connection<B> {
    /// The whole connection.
    Http1(Box<Http1Connection<B>>),
    /// One stream of a shared one.
    Http2(SendRequest<Bytes>, StreamGuard<B>),
}

/// Counts one stream of a shared connection while it lives; its end, however it comes, may let a waiting request go on.
pub(in crate::upstream) struct StreamGuard<B> {
    pub(in crate::upstream) streams: Rc<http2::Streams>,
    pool: Rc<OriginPool<B>>,
}

/// What the origin's servers speak, once known. Until then one connection is made and the others wait for what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// What a request gets that needs a connection.
enum Ticket<B> {
    Reuse(Lease<B>),
    Open(PendingSlot),
}

impl<B> UpstreamPool<B> {
    /// Empty; so many workers share the bounds.
    pub(super) fn new(settings: &PoolSettings, workers: usize) -> Self {
        Self { slots: Rc::new(UpstreamSlots::new(settings, workers)), origins: RefCell::default() }
    }

    /// True while it has an origin; those that are gone are forgotten.
    pub(super) fn has_origins(&self) -> bool {
        let mut origins = self.origins.borrow_mut();
        origins.retain(|origin| origin.strong_count() > 0);
        !origins.is_empty()
    }

    /// True if this host may have another connection, perhaps because the one that has been idle longest has made room, at
    /// whichever host.
    fn makes_room(&self, host: &OriginSlots) -> bool {
        host.has_room() || (!host.has_its_share() && self.close_longest_idle() && host.has_room())
    }

    /// Closes what has been idle longest while more is idle than may be.
    fn trim(&self) {
        while self.slots.has_too_many_idle() && self.close_longest_idle() {}
    }

    fn close_longest_idle(&self) -> bool {
        let origins = self.origins.borrow();
        let idle = origins.iter().filter_map(|origin| {
            let origin = origin.upgrade()?;
            Some((origin.longest_idle()?, origin))
        });
        idle.min_by_key(|(since, _)| *since).is_some_and(|(since, origin)| origin.close_idle_since(since))
    }
}

impl<B> OriginPool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Empty, and known to its upstream.
    pub(super) fn new(upstream: &Upstream, offer: Offer, of: &Rc<UpstreamPool<B>>) -> Rc<Self> {
        let known = !upstream.may_speak_http2() || offer == Offer::Http1;
        let pool = Rc::new(Self {
            idle: IdleConnections::default(),
            shared: RefCell::default(),
            protocol: Cell::new(if known { Protocol::Http1 } else { Protocol::Unknown }),
            offer,
            slots: Rc::new(OriginSlots::new(&of.slots, !upstream.is_single_origin())),
            upstream: Rc::clone(of),
            idle_time: upstream.settings.timeouts.idle,
            http1: ForAWhile::default(),
        });
        of.origins.borrow_mut().push(Rc::downgrade(&pool));
        pool
    }

    /// Closes what is not needed any more.
    pub(super) fn sweep(&self, now: CoarseInstant) {
        self.idle.sweep(now, self.idle_time);
        self.shared.borrow_mut().retain(|shared| shared.is_kept(now, self.idle_time));
    }

    /// A connection for one request: an idle one, room on a shared one, or a new one; `fresh` asks for a new one, after a
    /// used one has failed.
    pub(in crate::upstream) async fn lease(
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
        let ticket = timer::timeout(limit, self.ticket(upstream, with_body)).await.map_err(|_elapsed| {
            if self.slots.has_room() {
                // There was room, but the connection that was to say what the server speaks has not come about.
                let limit = humantime::format_duration(limit);
                let detail = format!("no connection to {origin} within {limit}");
                return ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail);
            }
            let (max, name) = (self.upstream.slots.max(), &upstream.settings.name);
            let detail = format!("all {max} connections of this worker to upstream {name:?} are in use");
            ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail)
        })?;
        match ticket? {
            Ticket::Reuse(lease) => Ok(lease),
            Ticket::Open(slot) => self.open(upstream, origin, slot).await,
        }
    }

    /// A connection that can be used at once: room on a shared one, or the one that was used last and still stands.
    pub(in crate::upstream) fn take(self: &Rc<Self>, with_body: bool) -> Option<Lease<B>> {
        if self.protocol.get() != Protocol::Http1
            && let Some(shared) = self.shared.borrow().iter().find(|shared| shared.takes_another(with_body))
        {
            return Some(self.stream(shared, true));
        }
        self.idle.take().map(|connection| self.leased(Connection::Http1(connection), true))
    }

    fn stream(self: &Rc<Self>, shared: &http2::Connection, reused: bool) -> Lease<B> {
        let guard = StreamGuard::new(shared.streams(), self);
        self.leased(Connection::Http2(shared.sender().clone(), guard), reused)
    }

    fn leased(self: &Rc<Self>, connection: Connection<B>, reused: bool) -> Lease<B> {
        Lease { connection, reused, pool: Rc::clone(self) }
    }

    /// A connection whose response has been read to its end. Not kept if the request is still on its way (RFC 9112 section
    /// 9.3); of more than may be idle, the one goes that has been so for longest.
    pub(super) fn give_back(&self, connection: Box<Http1Connection<B>>) {
        self.idle.put(connection, &self.upstream.slots);
        self.upstream.trim();
        self.slots.announce_change();
    }

    /// Waits until a connection may be opened, or one comes back.
    async fn ticket(self: &Rc<Self>, upstream: &Upstream, with_body: bool) -> Result<Ticket<B>, ExchangeError> {
        let mut waiting = None;
        loop {
            // Registered before looking: a change between the look and the wait is not missed.
            let changed = self.slots.changed();
            let alone = self.protocol.get() == Protocol::Http1 || !self.slots.is_connecting();
            if alone && self.upstream.makes_room(&self.slots) {
                return Ok(Ticket::Open(PendingSlot::new(&self.slots)));
            }
            if waiting.is_none() {
                waiting = Some(QueueSlot::new(&self.slots, &upstream.settings.name)?);
            }
            changed.await;
            if let Some(lease) = self.take(with_body) {
                return Ok(Ticket::Reuse(lease));
            }
        }
    }

    async fn open(
        self: &Rc<Self>,
        upstream: &Upstream,
        origin: &Origin,
        slot: PendingSlot,
    ) -> Result<Lease<B>, ExchangeError> {
        let began = Instant::now();
        let stream = connect::connect(upstream, origin, self.offer).await?;
        upstream.metrics.connects.observe(began.elapsed());
        let lease = match stream {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.protocol.set(Protocol::Http2);
                let pool = Rc::downgrade(self);
                let ended = move |streams: &Rc<_>, fault| {
                    let Some(pool) = pool.upgrade() else { return };
                    if fault == Some(Http2Fault::Http11Required) {
                        pool.speak_http1();
                    }
                    pool.forget(streams);
                };
                let slot = slot.established(&upstream.metrics.connections);
                let shared = http2::Connection::begin(Stream::Tls(stream), slot, ended).await?;
                let lease = self.stream(&shared, false);
                self.shared.borrow_mut().push(shared);
                lease
            }
            stream => {
                self.protocol.set(Protocol::Http1);
                let peer = stream.get_ref().peer_addr();
                let http1 = http1::Connection::new(stream, upstream.settings.title_case);
                let slot = slot.established(&upstream.metrics.connections);
                self.leased(Connection::Http1(Box::new(Http1Connection { http1, peer, _slot: slot })), false)
            }
        };
        self.slots.announce_change();
        Ok(lease)
    }
}

impl<B> OriginPool<B> {
    /// True if no other may be opened, and those that there are stand.
    pub(super) fn is_full(&self) -> bool {
        !self.slots.has_room() && self.slots.has_established()
    }

    /// True while it has a connection, or knows something of its server that is worth knowing.
    pub(super) fn is_needed(&self) -> bool {
        !self.slots.is_empty() || self.wants_http1()
    }

    /// No new stream begins on this connection.
    fn forget(&self, streams: &Rc<http2::Streams>) {
        self.shared.borrow_mut().retain(|shared| !Rc::ptr_eq(shared.streams(), streams));
        self.slots.announce_change();
    }

    /// A request was not answered in time over a connection to this address that had been idle. The others that have been idle
    /// since before it left go there too, and each would cost a caller as much; what was given back since has answered.
    pub(super) fn distrust(&self, peer: Option<SocketAddr>, left_at: CoarseInstant) {
        self.idle.close_older(peer, left_at);
    }

    /// From now on, for a while.
    pub(super) fn speak_http1(&self) {
        self.http1.begin(HTTP1_ALONE);
    }

    /// True while its server is known to want HTTP/1.1.
    pub(in crate::upstream) fn wants_http1(&self) -> bool {
        self.http1.holds()
    }

    /// Since when the connection has been idle that has been so for longest.
    fn longest_idle(&self) -> Option<CoarseInstant> {
        let shared = self.shared.borrow().iter().filter_map(http2::Connection::idle_since).min();
        shared.into_iter().chain(self.idle.longest()).min()
    }

    fn close_idle_since(&self, since: CoarseInstant) -> bool {
        let mut shared = self.shared.borrow_mut();
        if let Some(place) = shared.iter().position(|shared| shared.idle_since() == Some(since)) {
            shared.remove(place).retire();
            return true;
        }
        drop(shared);
        self.idle.close_since(since)
    }
}

impl<B> StreamGuard<B> {
    fn new(streams: &Rc<http2::Streams>, pool: &Rc<OriginPool<B>>) -> Self {
        streams.begin();
        Self { streams: Rc::clone(streams), pool: Rc::clone(pool) }
    }
}

impl<B> Drop for StreamGuard<B> {
    fn drop(&mut self) {
        self.streams.end(&self.pool.upstream.slots);
        self.pool.upstream.trim();
        self.pool.slots.announce_change();
    }
}
