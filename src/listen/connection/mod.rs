//! One caller's connection, from its first byte to its last.

pub(in crate::listen) mod drain;
mod drive;
pub(in crate::listen) mod frame_meter;
pub(in crate::listen) mod head_meter;
mod http1;
pub(in crate::listen) mod http2;
mod interim;
mod monitored_io;
mod parking;
pub(in crate::listen) mod proxy_protocol;
mod raw_target;
pub(in crate::listen) mod room;
pub(in crate::listen) mod serving;
pub(in crate::listen) mod state;
mod title_case;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use self::drive::{DRAIN_GRACE, Driven};
use self::monitored_io::MonitoredIo;
use self::proxy_protocol::Unread;
use self::serving::Serving;
use self::state::ConnectionState;
use super::bind::Accepted;
use super::caller::CallerConnection;
use super::handler::{ConnectionHandler, Handler, Misplaced, Opened, Opening};
use super::per_address::PerAddress;
use crate::timer;
use crate::tls::server::names_in;

/// RFC 9113 section 3.4: how an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 8446 section 5.1: how a TLS handshake begins, in a record of any version since SSL 3.
const HANDSHAKE: &[u8] = &[0x16, 0x03];

async fn to_its_end(opening: Opening) {
    let opened = opening.await;
    if let Some(connection) = opened {
        connection.await;
    }
}

pub(in crate::listen) fn serve<H: ConnectionHandler>(
    accepted: Accepted,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    per_address: Option<Arc<PerAddress>>,
    serving: Serving,
) -> impl Future<Output = ()> + use<H> {
    to_its_end(Box::pin(admit(accepted, handler, caller, per_address, serving)))
}

async fn admit<H: ConnectionHandler>(
    mut accepted: Accepted,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    per_address: Option<Arc<PerAddress>>,
    serving: Serving,
) -> Opened {
    if !handler.admits(&caller).await {
        return None;
    }
    if let Some(networks) = handler.proxy_protocol()
        && networks.hold(caller.peer.into())
    {
        match proxy_header(&mut accepted, &serving).await {
            Ok(Some(address)) => caller.note_told(address),
            Ok(None) => {}
            Err(Unread::Ended) => return None,
            Err(Unread::Refused(why)) => {
                handler.refused_proxy_header(why, &caller);
                return None;
            }
        }
    }
    if let Some(all) = per_address
        && !handler.is_shared(caller.address())
    {
        caller.count(&all);
    }
    match accepted {
        Accepted::Tcp(stream, _) => secure(stream, handler, caller, serving).await,
        Accepted::Unix(stream) => secure(stream, handler, caller, serving).await,
    }
}

/// Where the caller is, as the proxy in front says ahead of everything else.
async fn proxy_header(accepted: &mut Accepted, serving: &Serving) -> Result<Option<SocketAddr>, Unread> {
    let guard = serving.drain.guard(&Arc::default());
    let within = serving.limits.header_timeout;
    let read = async {
        match accepted {
            Accepted::Tcp(stream, _) => proxy_protocol::read(stream, within).await,
            Accepted::Unix(stream) => proxy_protocol::read(stream, within).await,
        }
    };
    tokio::select! {
        biased;
        read = read => read,
        () = guard.makes_room() => Err(Unread::Ended),
        () = grace(serving.drain.draining()) => Err(Unread::Ended),
    }
}

/// A while after the draining began.
async fn grace(draining: impl Future<Output = ()>) {
    draining.await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// TLS first, where the listener has it.
async fn secure<S, H>(stream: S, handler: Rc<H>, caller: Arc<CallerConnection>, serving: Serving) -> Opened
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: ConnectionHandler,
{
    let Some(config) = handler.tls() else { return handler.open(stream, caller, serving).await };
    let guard = serving.drain.guard(&Arc::default());
    let handshake = timer::timeout(serving.limits.header_timeout, TlsAcceptor::from(config).accept(stream));
    let stream = tokio::select! {
        biased;
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(target: "attache::listen", peer = %caller.address(), %error, "a caller's TLS handshake failed");
                return None;
            }
            // Silent for too long.
            Err(_elapsed) => return None,
        },
        () = guard.makes_room() => return None,
        () = grace(serving.drain.draining()) => return None,
    };
    drop(guard);
    // Boxed: it is large, and each of those who hand it on would have room for it.
    let stream = Box::new(stream);
    if let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        caller.note_certificate(names_in(certificate));
    }
    handler.open(stream, caller, serving).await
}

/// Serves HTTP on any stream, in the version that the caller's first bytes say; `prefix` holds those that have been read
/// already.
pub(crate) fn serve_http<S, H>(
    stream: S,
    prefix: BytesMut,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) -> impl Future<Output = ()> + use<S, H>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    to_its_end(open_http(stream, prefix, handler, caller, serving))
}

/// The same, until its version is known.
pub(crate) fn open_http<S, H>(
    stream: S,
    prefix: BytesMut,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) -> Opening
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    Box::pin(detect(stream, prefix, handler, caller, serving))
}

async fn detect<S, H>(
    mut stream: S,
    mut prefix: BytesMut,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) -> Opened
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Serving { limits, panics, drain } = serving;
    let state = Arc::new(ConnectionState::default());
    let guard = drain.guard(&state);
    let first = speaks_http2(&mut stream, &mut prefix, &state);
    let detected = tokio::select! {
        biased;
        detected = timer::timeout(limits.header_timeout, first) => detected,
        () = guard.makes_room() => return None,
        // What it sends may be on its way.
        () = grace(guard.draining()) => return None,
    };
    // Closed, broken or silent before a single request: there is nothing to answer.
    let Ok(Ok(http2)) = detected else { return None };
    let first = prefix.freeze();
    let misplaced = match &*first {
        first if first.starts_with(HANDSHAKE) => Some(Misplaced::Tls),
        first if proxy_protocol::begins(first) => Some(Misplaced::ProxyHeader),
        _ => None,
    };
    if let Some(what) = misplaced {
        handler.began_with(what, &caller);
    }
    if http2 {
        state.note_http2();
        let io = MonitoredIo::new(stream, first, Arc::clone(&state), false, H::malformed);
        let write_timeout = limits.keep_alive;
        let context = http2::StreamContext { handler, caller, state: Arc::clone(&state), write_timeout };
        let connection = http2::serve(io, context, panics, &limits);
        return Some(Box::pin(Driven::new(connection, state, limits, guard)));
    }
    let connection = http1::serve(stream, first, Rc::clone(&handler), Arc::clone(&caller), Arc::clone(&state), &limits);
    let mut driven = Driven::new(connection, state, limits, guard);
    Some(Box::pin(async move {
        (&mut driven).await;
        // That it is no HTTP either goes without saying.
        if let Some(why) = driven.refused().filter(|_| misplaced.is_none()) {
            handler.refused_head(why, &caller);
        }
    }))
}

/// Reads until it is clear whether this is HTTP/2 with prior knowledge. Whatever was read is in `prefix`.
async fn speaks_http2<S: AsyncRead + Unpin>(
    stream: &mut S,
    prefix: &mut BytesMut,
    state: &ConnectionState,
) -> std::io::Result<bool> {
    loop {
        if !prefix.is_empty() {
            state.note_begun();
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
