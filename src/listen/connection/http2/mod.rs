//! HTTP/2 towards callers (RFC 9113), by the crate `h2` itself: hyper's server over it has no interim answers, no deadline for a
//! stream, and takes a request that was reset for one that has ended.
//!
//! All of a connection is one task: its streams are futures inside of it, so that what several of them have to say leaves in
//! one write, and nothing of them outlives it.

mod answer;
mod batched;
pub(in crate::listen) mod body;
mod head;
mod signal;
mod stream;
pub(in crate::listen) mod tunnel;

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::RecvStream;
use h2::server::{Builder, Handshake, SendResponse};
use http::Request;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};

use super::drive::Served;
use super::state::{ConnectionState, InProgress};
use crate::listen::handler::Handler;
use crate::listen::panics;
use crate::listen::settings::Limits;
use batched::{Batch, Batched, batched};
use signal::Signal;
pub(super) use stream::Context as StreamContext;

/// Streams of one caller at a time, and how much of the body of each may wait here.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 128 * 1024;

/// What may wait of all bodies together, as long as they are few.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of an answer that the caller has not taken, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// How often its streams and the connection look after each other before the rest of the worker has its turn.
const MAX_ROUNDS: usize = 4;

/// For how many turns of the worker what is to be written may wait for more.
const MAX_PUT_OFF: u8 = 4;

/// One caller's connection. Ready when it has ended.
pub(super) struct Connection<S, G, F> {
    phase: Phase<Batched<S>>,
    batch: Batch<S>,
    state: Arc<ConnectionState>,
    begin: G,
    /// Boxed: the set has room for one more than there are, which would be most of an idle connection.
    streams: FuturesUnordered<Pin<Box<F>>>,
    /// Who of the two has something to do: the streams, or h2's part, which reads, writes, and hands over requests.
    streams_woken: Arc<Signal>,
    http2_woken: Arc<Signal>,
    /// What of `CONNECTION_WINDOW` it has become.
    window: u32,
    /// How many bytes waited after the last poll, and for how many turns.
    waited: usize,
    put_off: u8,
    finishing: bool,
    /// Goes away once something has been asked.
    leaving: bool,
    has_asked: bool,
}

enum Phase<S> {
    Handshake(Box<Handshake<S, Bytes>>),
    Open(Box<h2::server::Connection<S, Bytes>>),
}

/// Serves what comes over `io`, whose first bytes are the client's preface.
pub(super) fn serve<S, H>(
    io: S,
    context: StreamContext<H>,
    panics: Counter,
    limits: &Limits,
) -> impl Served + Unpin + use<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let state = Arc::clone(&context.state);
    let context = Rc::new(context);
    let (io, batch) = batched(io);
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .handshake(io);
    let begin = move |request, respond| {
        let in_progress = InProgress::new(&context.state);
        let serving = stream::serve(Rc::clone(&context), in_progress, request, respond);
        panics::counted(serving, panics.clone())
    };
    Connection {
        phase: Phase::Handshake(Box::new(handshake)),
        batch,
        state,
        begin,
        streams: FuturesUnordered::new(),
        streams_woken: Signal::new(),
        http2_woken: Signal::new(),
        window: CONNECTION_WINDOW,
        waited: 0,
        put_off: 0,
        finishing: false,
        leaving: false,
        has_asked: false,
    }
}

impl<S, G, F> Future for Connection<S, G, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.poll_rounds(cx);
        if polled.is_pending() && self.puts_off() {
            // Wakes this task again once the worker has looked at its sockets.
            let _later = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        // What all streams have said by now leaves together. h2's part goes on when there is room. Of a connection that breaks here the
        // next read tells.
        let waker = Waker::from(Arc::clone(&self.http2_woken));
        let _later = self.batch.poll_flush(&mut Context::from_waker(&waker));
        self.waited = self.batch.waiting();
        polled
    }
}

impl<S, G, F> Connection<S, G, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    /// The streams first: h2's part then writes what they have to say.
    fn poll_rounds(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let (streams, http2) = (Arc::clone(&self.streams_woken), Arc::clone(&self.http2_woken));
        streams.watch(cx.waker());
        http2.watch(cx.waker());
        let (for_streams, for_http2) = (Waker::from(Arc::clone(&streams)), Waker::from(Arc::clone(&http2)));
        let mut has_begun = false;
        for _ in 0..MAX_ROUNDS {
            if streams.take() || has_begun {
                let mut cx = Context::from_waker(&for_streams);
                while let Poll::Ready(Some(())) = Pin::new(&mut self.streams).poll_next(&mut cx) {}
                has_begun = false;
            }
            // One whose time is up reads its end, whether anything has come or not.
            if http2.take() || self.state.is_expired() {
                let before = self.streams.len();
                if let Poll::Ready(ended) = self.poll_http2(&mut Context::from_waker(&for_http2)) {
                    return Poll::Ready(ended);
                }
                has_begun = self.streams.len() > before;
            }
            if !has_begun && streams.rest() && http2.rest() {
                return Poll::Pending;
            }
        }
        if has_begun {
            for_streams.wake_by_ref();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Phase::Handshake(handshake) = &mut self.phase {
            let mut connection = ready!(Pin::new(handshake.as_mut()).poll(cx))?;
            if self.finishing {
                connection.graceful_shutdown();
            }
            self.phase = Phase::Open(Box::new(connection));
        }
        let Phase::Open(connection) = &mut self.phase else { return Poll::Pending };
        while let Some((request, respond)) = ready!(connection.poll_accept(cx)?) {
            self.streams.push(Box::pin((self.begin)(request, respond)));
            self.has_asked = true;
            if self.leaving {
                connection.graceful_shutdown();
            }
            // Uploads that the handler does not read must leave room for the others of this caller: a window for each stream, whether it is
            // a request or has become a tunnel. It is never made smaller, for what has been promised may be on its way.
            let streams = u32::try_from(self.state.in_progress()).unwrap_or(MAX_STREAMS);
            let wanted = streams.saturating_mul(STREAM_WINDOW);
            if wanted > self.window {
                self.window = wanted;
                connection.set_target_window_size(wanted);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True if what waits to be written waits for one more turn of the worker: other streams may have their answers in it. Alone, or
    /// when the last turn has brought nothing, it leaves at once.
    fn puts_off(&mut self) -> bool {
        let waiting = self.batch.waiting();
        let has_grown = waiting > self.waited;
        self.waited = waiting;
        let puts_off = has_grown && !self.streams.is_empty() && self.put_off < MAX_PUT_OFF;
        self.put_off = if puts_off { self.put_off + 1 } else { 0 };
        puts_off
    }
}

impl<S, G, F> Served for Connection<S, G, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Error = h2::Error;

    /// GOAWAY, though not before the first request: a caller that is sent away again and again without an answer gives up.
    fn take_leave(mut self: Pin<&mut Self>) {
        self.leaving = true;
        if self.has_asked {
            self.finish();
        }
    }

    /// GOAWAY: what has begun is finished (RFC 9113 section 6.8).
    fn finish(mut self: Pin<&mut Self>) {
        self.finishing = true;
        if let Phase::Open(connection) = &mut self.phase {
            connection.graceful_shutdown();
        }
        Waker::from(Arc::clone(&self.http2_woken)).wake();
    }
}

#[cfg(test)]
mod tests;
