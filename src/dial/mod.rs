//! Ways out: from a host and a port to the bytes between us and it, directly or through a parent proxy. What is spoken there,
//! and over which TLS, is the business of who asked.
//!
//! Every connection that attache makes to another machine begins here: names are resolved, addresses filtered and raced, and the
//! network's own proxy is asked in one way.

mod address;
mod error;
pub(crate) mod fuzzing;
mod http2;
mod names;
mod no_proxy;
mod origin;
mod parent_proxy;
mod settings;
mod transport;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

pub(crate) use address::{AddressPolicy, OwnAddresses};
pub(crate) use error::{DialError, DialErrorKind};
pub(crate) use http2::Http2Fault;
pub(crate) use names::Names;
pub(crate) use no_proxy::NoProxyRule;
pub(crate) use origin::{Authority, Host, is_loopback_host};
pub use origin::{InvalidAuthority, Origin, OriginPattern, Scheme};
pub(crate) use parent_proxy::{ParentProxy, Target, response_parser};
pub(crate) use settings::{ParentProxyLogin, ParentProxySettings};
pub(crate) use transport::Transport;

use crate::tls::{HandshakeFault, Keys, handshake_reason};

/// How long one address may keep the next from being tried (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens a connection to one of the addresses of a host that may be dialled. `host` is without brackets; a name is looked up
/// among these.
///
/// # Errors
/// A name that does not resolve, addresses that may not be dialled or are our own, and whatever the system says.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    policy: &AddressPolicy,
    own: &OwnAddresses,
    names: &Names,
) -> Result<TcpStream, DialError> {
    let permitted = |ip: &IpAddr| policy.permits(*ip);
    let permitted: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => [ip].into_iter().filter(permitted).map(|ip| SocketAddr::new(ip, port)).collect(),
        Err(_) => {
            let resolved = names.resolve(host).await?;
            resolved.iter().copied().filter(permitted).map(|ip| SocketAddr::new(ip, port)).collect()
        }
    };
    if permitted.is_empty() {
        return Err(prohibited(host, policy));
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

pub(super) fn prohibited(host: &str, policy: &AddressPolicy) -> DialError {
    if *policy == AddressPolicy::Loopback {
        let detail = format!(
            "{host} is not on this machine, although its name says so: what would go there in clear was not sent; use https"
        );
        return DialError::new(DialErrorKind::ProxyConfiguration, detail.clone()).telling(detail);
    }
    let detail = format!("every address of {host} is private, local or otherwise special");
    DialError::new(DialErrorKind::DestinationIpProhibited, detail.clone()).telling(detail)
}

pub(super) fn own_listener(host: &str, port: u16) -> DialError {
    let detail = format!("{host}:{port} is one of attache's own listeners");
    DialError::new(DialErrorKind::ProxyLoopDetected, detail)
}

/// A host as resolvers and certificates have it: an IPv6 address without brackets.
#[must_use]
pub(crate) fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
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

fn dial_error(host: &str, port: u16, error: &io::Error) -> DialError {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => DialErrorKind::ConnectionTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => DialErrorKind::ConnectionTerminated,
        _ => DialErrorKind::ConnectionRefused,
    };
    let detail = format!("cannot connect to {host}:{port}: {error}");
    let mut failed = DialError::new(kind, detail);
    failed.system = Some(error.kind());
    failed
}

/// A handshake that failed, in words.
#[must_use]
pub(crate) fn handshake_error(error: &io::Error, keys: &Keys) -> DialError {
    let kind = match HandshakeFault::of(error) {
        HandshakeFault::Certificate => DialErrorKind::TlsCertificateError,
        HandshakeFault::Alert => DialErrorKind::TlsAlertReceived,
        HandshakeFault::Protocol => DialErrorKind::TlsProtocolError,
    };
    let detail = format!("the TLS handshake failed: {}", handshake_reason(error, keys));
    DialError::new(kind, detail.clone()).telling(detail)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// An address where nothing is answered, for as long as this is kept: a listener whose queue is full.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queue.push(connected.unwrap());
        }
        (address, listener, queue)
    }

    #[tokio::test]
    async fn a_silent_address_keeps_nobody_from_the_next() {
        let (first, _listener, _queue) = silent().await;
        let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let began = std::time::Instant::now();
        let stream = race(vec![first, second.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), second.local_addr().unwrap());
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn families_take_turns() {
        let addresses = |text: &[&str]| text.iter().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = interleave(addresses(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]));
        assert_eq!(mixed, addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"]));
    }
}
