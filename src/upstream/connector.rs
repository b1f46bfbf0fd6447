//! From an origin to an open socket: resolve, filter, dial, handshake.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{AddressPolicy, OwnAddresses};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::http1::Stream;
use super::onward::Target;
use super::{Offer, Origin, Transport, Upstream};
use crate::coarse;
use crate::tls::{HandshakeFault, handshake_reason};

/// How long one address may keep the next from being tried (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Dials the origin (or what stands in for it in `connect`), within the connect timeout.
pub(super) async fn connect(upstream: &Upstream, origin: &Origin, offer: Offer) -> Result<Stream, ExchangeError> {
    let connecting = async {
        let transport = dial_upstream(upstream, origin).await?;
        let Some(tls) = upstream.tls(offer) else { return Ok(Stream::Plain(transport)) };
        let name = upstream.server_name(origin)?;
        match TlsConnector::from(std::sync::Arc::clone(tls)).connect(name, transport).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(handshake_error(&error)),
        }
    };
    in_time(upstream, origin, connecting).await
}

/// A way to the origin for a tunnel, within the connect timeout: nothing of ours is spoken on it.
pub(super) async fn connect_bare(upstream: &Upstream, origin: &Origin) -> Result<Transport, ExchangeError> {
    in_time(upstream, origin, dial_upstream(upstream, origin)).await
}

async fn in_time<T>(
    upstream: &Upstream,
    origin: &Origin,
    connecting: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    let limit = upstream.settings.timeouts.connect;
    coarse::timeout(limit, connecting).await.unwrap_or_else(|_| {
        let via =
            upstream.onward_for(origin).map_or_else(String::new, |proxy| format!(" through the onward proxy {proxy}"));
        let detail = format!("no connection to {origin}{via} within {}", humantime::format_duration(limit));
        Err(ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail))
    })
}

async fn dial_upstream(upstream: &Upstream, origin: &Origin) -> Result<Transport, ExchangeError> {
    let (host, port) = match &upstream.settings.connect {
        Some(connect) => (&connect.host, connect.port),
        None => (&origin.host, origin.port),
    };
    match upstream.onward.as_ref().filter(|onward| onward.covers(host, port)) {
        None => {
            let dialled = dial(without_brackets(host.as_str()), port, &upstream.addresses, &upstream.own).await;
            dialled.map(Transport::Tcp)
        }
        Some(onward) => {
            let by_caller = !upstream.is_single_origin() && upstream.settings.connect.is_none();
            let target = Target { host, port, by_caller };
            // Boxed: few have one, and all would have room for it.
            Box::pin(onward.reach(&target, &upstream.addresses, &upstream.own)).await
        }
    }
}

/// Opens a connection to one of the addresses of a host that may be dialled. `host` is without brackets.
pub(super) async fn dial(
    host: &str,
    port: u16,
    policy: &AddressPolicy,
    own: &OwnAddresses,
) -> Result<TcpStream, ExchangeError> {
    let resolved = resolve(host, port).await?;
    let permitted: Vec<SocketAddr> = resolved.into_iter().filter(|address| policy.permits(address.ip())).collect();
    if permitted.is_empty() {
        return Err(prohibited(host));
    }
    if permitted.iter().any(|address| own.contains(*address)) {
        return Err(own_listener(host, port));
    }
    let stream = race(interleave(permitted)).await.map_err(|error| dial_error(host, port, &error))?;
    if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
        && own.reached(local, peer)
    {
        return Err(own_listener(host, port));
    }
    // Requests are written whole: waiting for more to send only adds latency.
    let _best_effort = stream.set_nodelay(true);
    Ok(stream)
}

pub(super) fn prohibited(host: &str) -> ExchangeError {
    let detail = format!("every address of {host} is private, local or otherwise special");
    ExchangeError::new(ExchangeErrorKind::DestinationIpProhibited, detail)
}

pub(super) fn own_listener(host: &str, port: u16) -> ExchangeError {
    let detail = format!("{host}:{port} is one of attache's own listeners");
    ExchangeError::new(ExchangeErrorKind::ProxyLoopDetected, detail)
}

pub(super) fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ExchangeError> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // getaddrinfo on a blocking thread: the system's own resolution, with /etc/hosts and search domains.
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => {
            let detail = format!("the name {host} does not resolve: {error}");
            Err(ExchangeError::new(ExchangeErrorKind::DnsError, detail))
        }
    }
}

/// Alternates the address families, beginning with the resolver's first choice (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

/// Tries one address after another without waiting for the failure of the one before.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    attempts.extend(waiting.next().map(TcpStream::connect));
    loop {
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    last = Some(error);
                    attempts.extend(waiting.next().map(TcpStream::connect));
                }
                None => return Err(last.unwrap_or_else(|| io::Error::other("the name has no address"))),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(TcpStream::connect));
            }
        }
    }
}

fn dial_error(host: &str, port: u16, error: &io::Error) -> ExchangeError {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => ExchangeErrorKind::ConnectionTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ExchangeErrorKind::ConnectionTerminated,
        _ => ExchangeErrorKind::ConnectionRefused,
    };
    ExchangeError::new(kind, format!("cannot connect to {host}:{port}: {error}"))
}

pub(super) fn handshake_error(error: &io::Error) -> ExchangeError {
    let kind = match HandshakeFault::of(error) {
        HandshakeFault::Certificate => ExchangeErrorKind::TlsCertificateError,
        HandshakeFault::Alert => ExchangeErrorKind::TlsAlertReceived,
        HandshakeFault::Protocol => ExchangeErrorKind::TlsProtocolError,
    };
    let reason = handshake_reason(error).unwrap_or_else(|| error.to_string());
    ExchangeError::new(kind, format!("the TLS handshake failed: {reason}"))
}
