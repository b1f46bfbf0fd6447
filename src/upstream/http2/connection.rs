//! An HTTP/2 connection, which many requests use at once, and the task that drives it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::streams::{MAX_STREAMS, PING_INTERVAL, PING_TIMEOUT, Streams};
use crate::http2::Http2Fault;
use crate::timer::{CoarseInstant, Deadline};
use crate::upstream::connect::Stream;
use crate::upstream::error::ExchangeError;
use crate::upstream::slots::ConnectionSlot;

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

/// What is kept of a request body that the server has not taken.
const SEND_BUFFER: usize = 256 * 1024;

/// A connection, and what is known of it.
pub(in crate::upstream) struct Connection {
    sender: SendRequest<Bytes>,
    streams: Rc<Streams>,
}

impl Connection {
    /// Begins to speak HTTP/2, in a task that ends with the connection and then calls `ended`, with what it ended of.
    pub(in crate::upstream) async fn begin(
        stream: Stream,
        slot: ConnectionSlot,
        ended: impl FnOnce(&Rc<Streams>, Option<Http2Fault>) + 'static,
    ) -> Result<Self, ExchangeError> {
        let streams = Rc::new(Streams::new(Some(slot), stream.get_ref().peer_addr()));
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
        streams.allow(connection.max_concurrent_send_streams());
        let mut pings = connection.ping_pong().map(|pings| Pings::new(pings, Rc::clone(&streams)));
        let driven = Rc::clone(&streams);
        tokio::task::spawn_local(async move {
            let end = std::future::poll_fn(|cx| {
                if pings.as_mut().is_some_and(|pings| pings.poll(cx).is_ready()) {
                    tracing::debug!(target: "attache::upstream", "an upstream connection answers no ping");
                    return Poll::Ready(Ok(()));
                }
                let polled = Pin::new(&mut connection).poll(cx);
                driven.allow(connection.max_concurrent_send_streams());
                polled
            });
            let fault = end.await.err().map(|error| {
                tracing::debug!(target: "attache::upstream", %error, "upstream connection ended");
                Http2Fault::of(&error)
            });
            driven.ended();
            ended(&driven, fault);
        });
        Ok(Self { sender, streams })
    }

    pub(in crate::upstream) const fn sender(&self) -> &SendRequest<Bytes> {
        &self.sender
    }

    pub(in crate::upstream) const fn streams(&self) -> &Rc<Streams> {
        &self.streams
    }

    /// True if it has room for a request, and can be relied on.
    pub(in crate::upstream) fn takes_another(&self, with_body: bool) -> bool {
        !self.streams.has_ended() && self.streams.takes_another(with_body)
    }

    /// False once it cannot be used: closed, or without a stream for this long.
    pub(in crate::upstream) fn is_kept(&self, now: CoarseInstant, idle: Duration) -> bool {
        !self.streams.has_ended() && self.idle_since().is_none_or(|since| since.after(idle) > now)
    }

    /// Since when it has had no stream.
    pub(in crate::upstream) fn idle_since(&self) -> Option<CoarseInstant> {
        self.streams.idle_since()
    }

    /// Closes it. Its task does that, but its slot is free at once.
    pub(in crate::upstream) fn retire(self) {
        self.streams.gone();
    }
}

/// Asks a connection with streams on it whether it still stands, when it has been silent for a while.
struct Pings {
    peer: PingPong,
    streams: Rc<Streams>,
    deadline: Deadline,
    is_asked: bool,
}

impl Pings {
    fn new(peer: PingPong, streams: Rc<Streams>) -> Self {
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
            match self.streams.owes_since().map(|since| since.after(PING_INTERVAL)) {
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
struct Heard {
    stream: Stream,
    streams: Rc<Streams>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.streams.gone();
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.streams.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
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
