//! One caller's connection, from its first byte to its last.

pub(in crate::listen) mod drain;
mod drive;
pub(in crate::listen) mod frame_meter;
pub(in crate::listen) mod head_meter;
mod http1;
pub(in crate::listen) mod http2;
mod interim;
mod monitored_io;
pub(in crate::listen) mod room;
pub(in crate::listen) mod state;
mod title_case;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use self::drain::Roster;
use self::drive::{DRAIN_GRACE, watch};
use self::monitored_io::Watched;
use self::state::Standing;
use super::Handler;
use super::bind::Accepted;
use super::caller::CallerConnection;
use super::settings::Limits;
use crate::coarse;
use crate::tls::server::names_in;

/// RFC 9113 section 3.4: how an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What serving connections needs besides them; one for each worker and kind of listener.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    /// `[limits]`.
    pub(crate) limits: Arc<Limits>,
    /// Panics in the tasks of connections.
    pub(crate) panics: Counter,
    /// Who is told to finish.
    pub(crate) roster: Rc<Roster>,
}

/// Serves an accepted connection.
pub(in crate::listen) async fn serve<H: Handler>(
    accepted: Accepted,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) {
    if !handler.admits(&caller).await {
        return;
    }
    match accepted {
        Accepted::Tcp(stream, _) => serve_secured(stream, handler, caller, serving).await,
        Accepted::Unix(stream) => serve_secured(stream, handler, caller, serving).await,
    }
}

/// A while after the draining began.
async fn grace(draining: impl Future<Output = ()>) {
    draining.await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// TLS first, where the listener has it.
async fn serve_secured<S, H>(stream: S, handler: Rc<H>, caller: Arc<CallerConnection>, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Some(config) = handler.tls() else { return serve_protocol(stream, handler, caller, serving).await };
    let seat = serving.roster.seat(&Arc::default());
    let handshake = coarse::timeout(serving.limits.header_timeout, TlsAcceptor::from(config).accept(stream));
    let stream = tokio::select! {
        biased;
        // Boxed: the state of a handshake is large, and every connection's future would have to have room for it.
        shaken = Box::pin(handshake) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(target: "attache::listen", peer = %caller.peer, %error, "a caller's TLS handshake failed");
                return;
            }
            // Silent for too long.
            Err(_elapsed) => return,
        },
        () = seat.makes_room() => return,
        () = grace(serving.roster.draining()) => return,
    };
    drop(seat);
    if let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        caller.has_shown(names_in(certificate));
    }
    serve_protocol(stream, handler, caller, serving).await;
}

async fn serve_protocol<S, H>(stream: S, handler: Rc<H>, caller: Arc<CallerConnection>, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    if handler.speaks_socks() {
        handler.serve_socks(stream, caller).await;
    } else {
        serve_stream(stream, BytesMut::new(), handler, caller, serving).await;
    }
}

/// Serves HTTP on any stream, in the version that the caller's first bytes say; `prefix` holds those that have been read
/// already.
pub(crate) async fn serve_stream<S, H>(
    mut stream: S,
    mut prefix: BytesMut,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Serving { limits, panics, roster } = serving;
    let standing = Arc::new(Standing::default());
    let seat = roster.seat(&standing);
    let limits = &*limits;
    let first = speaks_http2(&mut stream, &mut prefix, &standing);
    let detected = tokio::select! {
        biased;
        detected = coarse::timeout(limits.header_timeout, first) => detected,
        () = seat.makes_room() => return,
        // What it sends may be on its way.
        () = grace(seat.draining()) => return,
    };
    let Ok(Ok(http2)) = detected else {
        // Closed, broken or silent before a single request: nobody to answer.
        return;
    };
    let watched = Watched::new(stream, prefix.freeze(), Arc::clone(&standing), !http2, H::malformed);
    if http2 {
        standing.is_http2();
        let patience = limits.keep_alive;
        let context = http2::StreamContext { handler, caller, standing: Arc::clone(&standing), patience };
        watch(pin!(http2::serve(watched, context, panics, limits)), &standing, limits, &seat).await;
    } else {
        let title_case = handler.title_case();
        let watched = watched.in_title_case(title_case);
        let connection = http1::serve(watched, handler, caller, Arc::clone(&standing), title_case, limits);
        watch(pin!(connection), &standing, limits, &seat).await;
    }
}

/// Reads until it is clear whether this is HTTP/2 with prior knowledge. Whatever was read is in `prefix`.
async fn speaks_http2<S: AsyncRead + Unpin>(
    stream: &mut S,
    prefix: &mut BytesMut,
    standing: &Standing,
) -> std::io::Result<bool> {
    loop {
        if !prefix.is_empty() {
            standing.has_begun();
        }
        let read = &prefix[..prefix.len().min(PREFACE.len())];
        if !PREFACE.starts_with(read) {
            return Ok(false);
        }
        if read.len() == PREFACE.len() {
            return Ok(true);
        }
        if stream.read_buf(prefix).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
