//! What `[listeners.X]` and `[limits]` say. Plain data; `config` fills it in.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Loopback and unix sockets: only programs of this machine can connect.
    #[must_use]
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open caller connections in all; at the limit accepting pauses.
    pub connections: usize,
    /// Those from one address; the requests of one more are answered with 429.
    pub connections_per_address: Option<usize>,
    /// Bytes of a request head (431 above).
    pub header_bytes: usize,
    /// Bytes of a request body (413 above).
    pub body_bytes: Option<u64>,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long an HTTP/1 connection has to be idle before its buffers are given back. Not in the file.
    pub parks_after: Duration,
    /// Requests per second over all listeners; 429 above.
    pub requests_per_second: Option<u32>,
    /// The same for each caller; 429 above.
    pub requests_per_second_per_caller: Option<u32>,
    /// Bytes of all replay buffers together.
    pub replay_memory: u64,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
    /// How long accepting goes on before that, while `/readyz` is 503. `None` is 0, where nothing else says.
    pub drain_delay: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: None,
            header_bytes: 64 * 1024,
            body_bytes: None,
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(300),
            parks_after: Duration::from_secs(1),
            requests_per_second: None,
            requests_per_second_per_caller: None,
            replay_memory: 64 * 1024 * 1024,
            drain: Duration::from_secs(30),
            drain_delay: None,
        }
    }
}
