//! From a host and a port to a TCP connection: names are resolved, addresses filtered, and those that are left raced.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::address::{AddressPolicy, OwnAddresses};
use super::error::{DialError, DialErrorKind};
use super::host::Host;
use super::names::Names;

/// How long one address may keep the next from being tried (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens a connection to one of the addresses of a host that may be dialled. A name is looked up among these.
///
/// # Errors
/// A name that does not resolve, addresses that may not be dialled or are attache's own, and whatever the system says.
pub(crate) async fn dial(
    host: &Host,
    port: u16,
    policy: &AddressPolicy,
    own: &OwnAddresses,
    names: &Names,
) -> Result<TcpStream, DialError> {
    let permitted = |ip: &IpAddr| policy.permits(*ip);
    let (ip, host) = (host.ip(), host.bare());
    let permitted: Vec<SocketAddr> = match ip {
        Some(ip) => [ip].into_iter().filter(permitted).map(|ip| SocketAddr::new(ip, port)).collect(),
        None => {
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
        return DialError::new(DialErrorKind::ProxyConfiguration, detail.clone()).with_caller_message(detail);
    }
    let detail = format!("every address of {host} is private, local or otherwise special");
    DialError::new(DialErrorKind::DestinationIpProhibited, detail.clone()).with_caller_message(detail)
}

pub(super) fn own_listener(host: &str, port: u16) -> DialError {
    let detail = format!("{host}:{port} is one of attache's own listeners");
    DialError::new(DialErrorKind::ProxyLoopDetected, detail)
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
