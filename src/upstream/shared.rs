//! HTTP/2 connections: their streams, and whether a request may rely on them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::BodyError;
use super::counted::{Alive, Bounds, Resting};
use super::error::ExchangeError;
use super::http1::Stream;
use super::lease::{Speaking, StreamGuard};
use super::pool::OriginPool;
use crate::dial::Http2Fault;
use crate::timer::{CoarseInstant, Deadline};

/// Streams of one connection that we open at the most, whatever its server allows.
const MAX_STREAMS: u32 = 256;

/// What of an answer may have come that its caller has not taken yet. It is what a slow reader costs in memory, and, once in
/// each round trip, how fast an answer may be: 12 MB/s over 20 ms.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Room for the windows of all streams, 64 MiB: however many callers read nothing, the others' answers have theirs. A
/// connection takes in no more than `STREAM_WINDOW` for each stream that it has.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Streams that are opened before the server has said how many it allows.
const INITIAL_STREAMS: usize = 100;

/// What small frames of answers that nobody takes may cost besides what is in them, in bytes of 256 for each: events that come
/// in pieces of 16 bytes, for thirty readers who are slow, break off nobody else's answer. Beyond it h2 ends the connection.
const FRAME_BUDGET: usize = 128 * 1024 * 1024;

/// So long after the last piece of any upload has gone out over a connection, with one that waits for room, no other begins
/// there: the server may have given the connection no more room than that one upload has filled (RFC 9113 section 6.9).
const UPLOADS_STUCK: Duration = Duration::from_millis(500);

/// What is kept of a request body that the server has not taken.
const SEND_BUFFER: usize = 256 * 1024;

/// How often a connection with streams on it is asked whether it still stands, and how long it has for the answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// So long after the last byte, with streams on it, a connection has been asked, and has had time to answer.
const PING_OVERDUE: Duration = Duration::from_secs(22);

/// A connection that many requests use at once.
pub(super) struct Shared<B> {
    sender: SendRequest<Bytes>,
    streams: Rc<Streams<B>>,
}

/// What is known of one connection; kept by the pool, by each of its streams and by the connection itself.
pub(super) struct Streams<B> {
    open: Cell<usize>,
    /// How many the server allows, as it said last.
    room: Cell<usize>,
    /// Without a stream since then.
    idle_since: Cell<CoarseInstant>,
    /// The server has refused a stream, and has answered none since.
    refuses: Cell<bool>,
    /// Requests have gone out, and since then not one byte has come.
    owes_since: Cell<Option<CoarseInstant>>,
    /// Something has come since the last request went out.
    heard: Cell<bool>,
    /// A request was not answered in time, and since then not one byte has come.
    timed_out: Cell<bool>,
    /// An upload waits for room, and since then none has moved.
    uploads_wait: Cell<Option<CoarseInstant>>,
    /// No stream can begin on it any more.
    ended: Cell<bool>,
    alive: Cell<Option<Alive<B>>>,
    resting: Cell<Option<Resting<B>>>,
}

impl<B> Streams<B> {
    fn new(alive: Option<Alive<B>>) -> Self {
        Self {
            open: Cell::new(0),
            room: Cell::new(0),
            idle_since: Cell::new(CoarseInstant::now()),
            refuses: Cell::new(false),
            owes_since: Cell::new(None),
            heard: Cell::new(false),
            timed_out: Cell::new(false),
            uploads_wait: Cell::new(None),
            ended: Cell::new(false),
            alive: Cell::new(alive),
            resting: Cell::new(None),
        }
    }

    /// A request goes out.
    pub(super) fn begin(&self) {
        drop(self.resting.take());
        self.open.set(self.open.get() + 1);
        self.heard.set(false);
        if self.owes_since.get().is_none() {
            self.owes_since.set(Some(CoarseInstant::now()));
        }
    }

    /// Its stream has ended, however that came.
    pub(super) fn end(&self, bounds: &Rc<Bounds<B>>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.uploads_wait.set(None);
        }
        self.idle_since.set(CoarseInstant::now());
        if self.open.get() == 0 {
            if self.heard.get() {
                self.owes_since.set(None);
            }
            self.resting.set(Some(Resting::new(bounds)));
            bounds.trim();
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.refuses.set(false);
    }

    /// A request was not taken.
    pub(super) fn refused(&self) {
        self.refuses.set(true);
    }

    /// A request could not begin.
    pub(super) fn ended(&self) {
        self.ended.set(true);
    }

    /// An upload found no room.
    pub(super) fn upload_waits(&self) {
        if self.uploads_wait.get().is_none() {
            self.uploads_wait.set(Some(CoarseInstant::now()));
        }
    }

    /// A piece of an upload has gone out.
    pub(super) fn upload_moves(&self) {
        self.uploads_wait.set(None);
    }

    /// A request was not answered in time.
    pub(super) fn timed_out(&self) {
        self.timed_out.set(true);
    }

    /// The server has said something, whatever it was.
    fn heard(&self) {
        self.timed_out.set(false);
        self.heard.set(true);
        self.owes_since.set((self.open.get() > 0).then(CoarseInstant::now));
    }

    /// True if the other end may have gone: it owes an answer to a request or to a ping.
    fn is_doubtful(&self) -> bool {
        self.timed_out.get()
            || self.owes_since.get().is_some_and(|since| since.after(PING_OVERDUE) <= CoarseInstant::now())
    }

    fn takes_another(&self, with_body: bool) -> bool {
        if with_body && self.uploads_wait.get().is_some_and(|since| since.after(UPLOADS_STUCK) <= CoarseInstant::now())
        {
            return false;
        }
        self.open.get() < self.room.get().min(MAX_STREAMS as usize) && !self.refuses.get() && !self.is_doubtful()
    }

    /// It is gone, and counts no more.
    fn gone(&self) {
        drop(self.alive.take());
        drop(self.resting.take());
    }
}

impl<B> Shared<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Begins to speak HTTP/2, in tasks that end with the connection.
    pub(super) async fn begin(
        stream: Stream,
        pool: &Rc<OriginPool<B>>,
        alive: Alive<B>,
    ) -> Result<Self, ExchangeError> {
        let streams = Rc::new(Streams::new(Some(alive)));
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(INITIAL_STREAMS)
            .max_header_list_size(64 * 1024)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(FRAME_BUDGET)
            .handshake(Heard { stream, streams: Rc::clone(&streams) })
            .await
            .map_err(|error| ExchangeError::from_h2(&error, false))?;
        streams.room.set(connection.max_concurrent_send_streams());
        let mut pings = connection.ping_pong().map(|pings| Pings::new(pings, Rc::clone(&streams)));
        let (told, pool) = (Rc::clone(&streams), Rc::clone(pool));
        tokio::task::spawn_local(async move {
            let ended = std::future::poll_fn(|cx| {
                if pings.as_mut().is_some_and(|pings| pings.poll(cx).is_ready()) {
                    tracing::debug!(target: "attache::upstream", "an upstream connection answers no ping");
                    return Poll::Ready(Ok(()));
                }
                let polled = Pin::new(&mut connection).poll(cx);
                told.room.set(connection.max_concurrent_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(target: "attache::upstream", %error, "upstream connection ended");
                if Http2Fault::of(&error) == Http2Fault::Http11Required {
                    pool.speak_http1();
                }
            }
            told.ended();
            pool.forget(&told);
        });
        Ok(Self { sender, streams })
    }

    /// The stream of the request that it was opened for.
    pub(super) fn first(&self, pool: &Rc<OriginPool<B>>) -> Speaking<B> {
        Speaking::Http2(self.sender.clone(), StreamGuard::new(&self.streams, pool))
    }

    /// Room for a request, if the connection has it and can be relied on.
    pub(super) fn stream(&self, pool: &Rc<OriginPool<B>>, with_body: bool) -> Option<Speaking<B>> {
        if self.streams.ended.get() || !self.streams.takes_another(with_body) {
            return None;
        }
        Some(self.first(pool))
    }

    /// False once it is of no use: closed, or without a stream for this long.
    pub(super) fn is_kept(&self, now: CoarseInstant, idle: Duration) -> bool {
        !self.streams.ended.get() && (self.streams.open.get() > 0 || self.streams.idle_since.get().after(idle) > now)
    }
}

impl<B> Shared<B> {
    /// Since when it has had no stream.
    pub(super) fn idle_since(&self) -> Option<CoarseInstant> {
        (self.streams.open.get() == 0).then(|| self.streams.idle_since.get())
    }

    /// Closes it. Its tasks do that, but its place is free at once.
    pub(super) fn retire(self) {
        self.streams.gone();
    }

    /// True if it is the one that this is known of.
    pub(super) fn is(&self, streams: &Rc<Streams<B>>) -> bool {
        Rc::ptr_eq(&self.streams, streams)
    }
}

/// Asks a connection with streams on it whether it still stands, when it has been silent for a while.
struct Pings<B> {
    peer: PingPong,
    streams: Rc<Streams<B>>,
    deadline: Deadline,
    is_asked: bool,
}

impl<B> Pings<B> {
    fn new(peer: PingPong, streams: Rc<Streams<B>>) -> Self {
        Self { peer, streams, deadline: Deadline::at(CoarseInstant::now().after(PING_INTERVAL)), is_asked: false }
    }

    /// Ready if there was no answer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_asked {
                // Of a connection that has ended its own future tells.
                let Poll::Ready(answered) = self.peer.poll_pong(cx) else { return self.deadline.poll(cx) };
                if answered.is_err() {
                    return Poll::Pending;
                }
                self.is_asked = false;
                self.deadline.move_to(CoarseInstant::now().after(PING_INTERVAL));
            }
            ready!(self.deadline.poll(cx));
            let now = CoarseInstant::now();
            match self.streams.owes_since.get().map(|since| since.after(PING_INTERVAL)) {
                Some(due) if due <= now => {
                    if self.peer.send_ping(Ping::opaque()).is_err() {
                        return Poll::Pending;
                    }
                    self.is_asked = true;
                    self.deadline.move_to(now.after(PING_TIMEOUT));
                }
                Some(due) => self.deadline.move_to(due),
                None => self.deadline.move_to(now.after(PING_INTERVAL)),
            }
        }
    }
}

/// The bytes of a connection, which is counted as long as they can flow.
struct Heard<B> {
    stream: Stream,
    streams: Rc<Streams<B>>,
}

impl<B> Unpin for Heard<B> {}

impl<B> Drop for Heard<B> {
    fn drop(&mut self) {
        self.streams.gone();
    }
}

impl<B> AsyncRead for Heard<B> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.streams.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<B> AsyncWrite for Heard<B> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn clock() -> tokio::task::JoinHandle<()> {
        let ticker = tokio::spawn(crate::timer::drive());
        tokio::task::yield_now().await;
        ticker
    }

    /// A connection that nobody counts, with room for two.
    fn streams() -> Streams<()> {
        let streams = Streams::new(None);
        streams.room.set(2);
        streams
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_owes_an_answer_to_a_ping_takes_no_request() {
        let ticker = clock().await;
        let streams = streams();
        tokio::time::sleep(PING_OVERDUE * 2).await;
        assert!(streams.takes_another(false), "nobody has asked it anything");
        streams.begin();
        tokio::time::sleep(PING_INTERVAL).await;
        assert!(streams.takes_another(false), "it has only now been asked");
        tokio::time::sleep(PING_TIMEOUT / 2).await;
        assert!(!streams.takes_another(false));
        streams.heard();
        assert!(streams.takes_another(false));
        tokio::time::sleep(PING_OVERDUE * 2).await;
        assert!(!streams.takes_another(false), "it still owes an answer");
        ticker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_or_late_is_made_good_by_an_answer() {
        let ticker = clock().await;
        let streams = streams();
        streams.begin();
        streams.timed_out();
        assert!(!streams.takes_another(false));
        streams.heard();
        streams.refused();
        streams.heard();
        assert!(!streams.takes_another(false), "it says something, and takes no request");
        streams.answered();
        assert!(streams.takes_another(false));
        streams.begin();
        assert!(!streams.takes_another(false), "there is no room");
        ticker.abort();
    }
}
