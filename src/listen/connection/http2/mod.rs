//! HTTP/2 towards callers (RFC 9113), by the crate `h2` itself: hyper's server over it has no interim answers, no deadline for a
//! stream, and takes a request that was reset for one that has ended.
//!
//! All of a connection is one task: its streams are futures inside of it, so that what several of them have to say leaves in
//! one write, and nothing of them outlives it.

mod answer;
mod batched;
pub(in crate::listen) mod body;
mod head;
mod stream;
pub(in crate::listen) mod tunnel;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::RecvStream;
use h2::server::{Builder, Handshake, SendResponse};
use http::Request;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};

use super::drive::Served;
use super::state::ConnectionState;
use crate::listen::handler::Handler;
use crate::listen::panics;
use crate::listen::settings::Limits;
use batched::{Batch, Batched, batched};
pub(super) use stream::Context as StreamContext;

/// Streams of one caller at a time, and how much of the body of each may wait here.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 128 * 1024;

/// What may wait of all bodies together, as long as they are few.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of an answer that the caller has not taken, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// One caller's connection. Ready when it has ended.
pub(super) struct Connection<S, G, F> {
    phase: Phase<Batched<S>>,
    batch: Batch<S>,
    state: Arc<ConnectionState>,
    begin: G,
    streams: FuturesUnordered<F>,
    /// What of `CONNECTION_WINDOW` it has become.
    window: u32,
    finishing: bool,
}

enum Phase<S> {
    Handshake(Box<Handshake<S, Bytes>>),
    Open(Box<h2::server::Connection<S, Bytes>>),
}

/// Serves what comes over `io`, whose first bytes are the client's preface.
pub(super) fn serve<S, H>(io: S, context: StreamContext<H>, panics: Counter, limits: &Limits) -> impl Served
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
        let (context, panics) = (Rc::clone(&context), panics.clone());
        async move { panics::counted(stream::serve(context, request, respond), &panics).await }
    };
    Connection {
        phase: Phase::Handshake(Box::new(handshake)),
        batch,
        state,
        begin,
        streams: FuturesUnordered::new(),
        window: CONNECTION_WINDOW,
        finishing: false,
    }
}

impl<S, G, F> Connection<S, G, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = Pin::new(&mut self.streams).poll_next(cx) {}
    }

    fn poll_unflushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Phase::Handshake(handshake) = &mut self.phase {
            let mut connection = ready!(Pin::new(handshake.as_mut()).poll(cx))?;
            if self.finishing {
                connection.graceful_shutdown();
            }
            self.phase = Phase::Open(Box::new(connection));
        }
        self.poll_open(cx)
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // Before the connection, which then writes what they have to say.
            self.poll_streams(cx);
            let Phase::Open(connection) = &mut self.phase else { return Poll::Pending };
            let Some(accepted) = ready!(connection.poll_accept(cx)) else { return Poll::Ready(Ok(())) };
            let (request, respond) = accepted?;
            self.streams.push((self.begin)(request, respond));
            // Uploads that the handler does not read must leave room for the others of this caller: a window for each stream, whether it is
            // a request or has become a tunnel. It is never made smaller, for what has been promised may be on its way.
            let streams = self.streams.len().max(self.state.in_progress() + 1);
            let wanted = u32::try_from(streams).unwrap_or(MAX_STREAMS).saturating_mul(STREAM_WINDOW);
            if wanted > self.window {
                self.window = wanted;
                connection.set_target_window_size(wanted);
            }
        }
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
        let polled = self.poll_unflushed(cx);
        // What all streams have said by now leaves together. Of a connection that breaks here the next read tells.
        let _later = self.batch.poll_flush(cx, self.streams.is_empty());
        polled
    }
}

impl<S, G, F> Served for Connection<S, G, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Error = h2::Error;

    /// GOAWAY: what has begun is finished (RFC 9113 section 6.8).
    fn finish(mut self: Pin<&mut Self>) {
        self.finishing = true;
        if let Phase::Open(connection) = &mut self.phase {
            connection.graceful_shutdown();
        }
    }
}
