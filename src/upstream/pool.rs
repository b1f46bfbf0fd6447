//! The connections of one worker, never shared across threads: no lock, and a request is answered on the core it came in on.
//!
//! HTTP/1 connections are used last in, first out, so that what is not needed goes idle and is closed. An HTTP/2
//! connection is shared by as many streams as its server allows; the next one is opened when it is full. A connection
//! belongs to one upstream (its trust, its name, its origin) and is never used for another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::body::{BodyError, Outgoing};
use super::connector;
use super::counted::{Alive, Opening, Waiting};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::http1::{self, Stream};
use super::lease::{Lease, Owned, Speaking, StreamGuard};
use super::{Offer, Origin, Upstream};
use crate::coarse::{self, Tick};
use crate::local::LocalExecutor;

/// Streams of one HTTP/2 connection that we open at the most, whatever its server allows.
const MAX_STREAMS: u32 = 256;

/// What of an answer may have come that its caller has not taken yet. It is what a slow reader costs in memory, and, once in
/// each round trip, how fast an answer may be: 12 MB/s over 20 ms.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Room for the windows of all streams, 64 MiB: however many callers read nothing, the others' answers have theirs. A
/// connection takes in no more than `STREAM_WINDOW` for each stream that it has.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// How often a shared connection with streams on it is asked whether it still stands, and how long it has for the answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker's connections, by upstream and, where an upstream covers several hosts, by origin.
pub struct Pool<B> {
    origins: RefCell<HashMap<Key, Rc<OriginPool<B>>>>,
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
    pub(super) open: Cell<usize>,
    pub(super) connecting: Cell<usize>,
    changed: Notify,
    pub(super) waiting: Cell<usize>,
    pub(super) queue: usize,
    pub(super) max: usize,
    max_idle: usize,
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
    until: Tick,
}

struct Shared<B> {
    sender: http2::SendRequest<Outgoing<B>>,
    streams: Rc<Cell<usize>>,
    /// Streams the server allows, as it said last.
    room: Rc<Cell<usize>>,
    /// Without a stream it is kept until then.
    until: Cell<Tick>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// An empty pool; bounds are divided among this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { origins: RefCell::default(), workers: workers.max(1) }
    }

    /// Makes sure that a connection to this origin can be had, and that its server is who it should be: at least one stands.
    /// A new one stays for the next request.
    ///
    /// # Errors
    /// As for any exchange: resolution, policy, refusal, TLS, timeout.
    pub async fn ready(&self, upstream: &Upstream, origin: &Origin) -> Result<(), ExchangeError> {
        let pool = self.of(upstream, origin, Offer::Any);
        match pool.take(upstream) {
            Some(lease) => lease.give_back(),
            // All of them are in use, so they stand.
            None if pool.open.get() - pool.connecting.get() >= pool.max => {}
            None => pool.lease_new(upstream, origin).await?.give_back(),
        }
        Ok(())
    }

    /// Closes what has been idle for too long, or belongs to an upstream that is no longer live, and forgets origins without a
    /// connection. Call it every few seconds.
    pub fn sweep(&self, is_live: impl Fn(u64) -> bool) {
        let now = Tick::now();
        self.origins.borrow_mut().retain(|(upstream, ..), pool| {
            // Requests that began before a reload finish; their connections then serve nobody.
            let now = if is_live(*upstream) { now } else { Tick::from_bits(u64::MAX) };
            pool.idle.borrow_mut().retain_mut(|idle| idle.until > now && idle.connection.http1.is_alive());
            pool.shared
                .borrow_mut()
                .retain(|shared| !shared.sender.is_closed() && (shared.streams.get() > 0 || shared.until.get() > now));
            Rc::strong_count(pool) > 1 || pool.open.get() > 0
        });
    }

    pub(super) fn of(&self, upstream: &Upstream, origin: &Origin, offer: Offer) -> Rc<OriginPool<B>> {
        // Without TLS there is nothing to offer, and all requests share their connections.
        let offer = if upstream.tls.is_some() { offer } else { Offer::Any };
        // An upstream with one origin needs no origin in its key, so nothing is cloned for it.
        let key = (upstream.id, (!upstream.is_single_origin()).then(|| origin.clone()), offer);
        let mut origins = self.origins.borrow_mut();
        let pool = origins.entry(key).or_insert_with(|| {
            let known = upstream.tls.is_none() || offer == Offer::Http1;
            let protocol = if known { Protocol::Http1 } else { Protocol::Unknown };
            let share = |whole: usize| whole.div_ceil(self.workers).max(1);
            Rc::new(OriginPool {
                idle: RefCell::default(),
                shared: RefCell::default(),
                protocol: Cell::new(protocol),
                offer,
                open: Cell::new(0),
                connecting: Cell::new(0),
                changed: Notify::new(),
                waiting: Cell::new(0),
                queue: upstream.settings.pool.queue.div_ceil(self.workers),
                max: share(upstream.settings.pool.max),
                max_idle: share(upstream.settings.pool.max_idle),
            })
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
    ) -> Result<Lease<B>, ExchangeError> {
        if !fresh && let Some(lease) = self.take(upstream) {
            return Ok(lease);
        }
        // Boxed: a handshake's state is large, and every request's future would have to have room for it.
        Box::pin(self.lease_new(upstream, origin)).await
    }

    async fn lease_new(self: &Rc<Self>, upstream: &Upstream, origin: &Origin) -> Result<Lease<B>, ExchangeError> {
        let limit = upstream.settings.timeouts.connect;
        let place = coarse::timeout(limit, self.place(upstream)).await.map_err(|_elapsed| {
            if self.open.get() < self.max {
                // There was room, but the connection that was to say what the server speaks has not come about.
                let limit = humantime::format_duration(limit);
                let detail = format!("no connection to {origin} within {limit}");
                return ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail);
            }
            let detail = format!("all {} connections of this worker to {origin} are in use", self.max);
            ExchangeError::new(ExchangeErrorKind::ConnectionLimitReached, detail)
        })?;
        match place? {
            Place::Used(lease) => Ok(lease),
            Place::New(opening) => self.open(upstream, origin, opening).await,
        }
    }

    /// A connection that can be used at once: room on a shared one, or the one that was used last and still stands.
    pub(super) fn take(self: &Rc<Self>, upstream: &Upstream) -> Option<Lease<B>> {
        let idle = upstream.settings.timeouts.idle;
        if self.protocol.get() != Protocol::Http1
            && let Some(speaking) = self.room_on_shared(idle)
        {
            return Some(Lease::new(speaking, true, self, idle));
        }
        let mut connections = self.idle.borrow_mut();
        while let Some(Idle { mut connection, .. }) = connections.pop() {
            if connection.http1.is_alive() {
                return Some(Lease::new(Speaking::Http1(connection), true, self, idle));
            }
        }
        None
    }

    /// A connection whose response has been read to its end. Not kept if the request is still on its way (RFC 9112 section
    /// 9.3), or if there are enough.
    pub(super) fn give_back(&self, mut connection: Box<Owned<B>>, idle: Duration) {
        let mut connections = self.idle.borrow_mut();
        if connection.http1.is_reusable() && connections.len() < self.max_idle {
            connection.http1.rest();
            connections.push(Idle { connection, until: Tick::now().after(idle) });
        }
    }

    fn room_on_shared(self: &Rc<Self>, idle: Duration) -> Option<Speaking<B>> {
        let shared = self.shared.borrow();
        let shared = shared.iter().find(|shared| {
            let room = shared.room.get().min(MAX_STREAMS as usize);
            !shared.sender.is_closed() && shared.streams.get() < room
        })?;
        Some(Speaking::Http2(shared.sender.clone(), StreamGuard::new(&shared.streams, self, idle)))
    }

    /// Waits until a connection may be opened, or one comes back.
    async fn place(self: &Rc<Self>, upstream: &Upstream) -> Result<Place<B>, ExchangeError> {
        let mut waiting = None;
        loop {
            // Registered before looking: a change between the look and the wait is not missed.
            let changed = self.changed.notified();
            let alone = self.protocol.get() == Protocol::Http1 || self.connecting.get() == 0;
            if alone && self.open.get() < self.max {
                return Ok(Place::New(Opening::new(self)));
            }
            if waiting.is_none() {
                waiting = Some(Waiting::begin(self, upstream)?);
            }
            changed.await;
            if let Some(lease) = self.take(upstream) {
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
        let speaking = match connector::connect(upstream, origin, self.offer).await? {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.speak_http2(*stream, opening.established(upstream), upstream).await?
            }
            stream => {
                self.protocol.set(Protocol::Http1);
                let http1 = http1::Connection::new(stream, upstream.settings.title_case);
                Speaking::Http1(Box::new(Owned { http1, _alive: opening.established(upstream) }))
            }
        };
        self.changed.notify_waiters();
        Ok(Lease::new(speaking, false, self, upstream.settings.timeouts.idle))
    }

    async fn speak_http2<S>(
        self: &Rc<Self>,
        stream: S,
        alive: Alive<B>,
        upstream: &Upstream,
    ) -> Result<Speaking<B>, ExchangeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.protocol.set(Protocol::Http2);
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .max_header_list_size(64 * 1024)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // A connection whose other end has silently gone would keep every request waiting for its timeout.
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ExchangeError::from_hyper(&error, false))?;
        let room = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&room);
        tokio::task::spawn_local(async move {
            let _alive = alive;
            let mut connection = std::pin::pin!(connection);
            let ended = std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                told.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(target: "attache::upstream", %error, "upstream connection ended");
            }
        });
        let streams = Rc::new(Cell::new(0));
        let idle = upstream.settings.timeouts.idle;
        let stream = StreamGuard::new(&streams, self, idle);
        let until = Cell::new(Tick::now().after(idle));
        self.shared.borrow_mut().push(Shared { sender: sender.clone(), streams, room, until });
        Ok(Speaking::Http2(sender, stream))
    }
}

impl<B> OriginPool<B> {
    /// A stream of a shared connection has ended.
    pub(super) fn note_stream_end(&self, streams: &Rc<Cell<usize>>, idle: Duration) {
        if let Some(shared) = self.shared.borrow().iter().find(|shared| Rc::ptr_eq(&shared.streams, streams)) {
            shared.until.set(Tick::now().after(idle));
        }
        self.announce_change();
    }

    /// Lets those who wait for a connection look again; without any this is one load.
    pub(super) fn announce_change(&self) {
        self.changed.notify_waiters();
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
