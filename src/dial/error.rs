//! Why there is no way out to a host.

use std::fmt;
use std::io;

/// What went wrong, in the words of RFC 9209 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialErrorKind {
    /// The name does not resolve.
    DnsError,
    /// Every address is one that may not be dialled.
    DestinationIpProhibited,
    /// The address is one of our own listeners.
    ProxyLoopDetected,
    /// Nobody listens there, or a proxy does not let us through.
    ConnectionRefused,
    /// No connection in time.
    ConnectionTimeout,
    /// The connection ended early.
    ConnectionTerminated,
    /// An onward proxy could not reach the host.
    DestinationUnavailable,
    /// The onward proxy is not used as it wants to be.
    ProxyConfiguration,
    /// The handshake failed.
    TlsProtocolError,
    /// The server's certificate is not acceptable.
    TlsCertificateError,
    /// The server refused the handshake.
    TlsAlertReceived,
    /// An onward proxy's answer is no HTTP.
    HttpProtocolError,
}

/// No way out: the kind for programs, the detail for a person.
#[derive(Debug, Clone)]
pub struct DialError {
    /// The kind.
    pub kind: DialErrorKind,
    /// A sentence: what happened, and what to do.
    pub detail: String,
    /// What the system said when it could not connect.
    pub system: Option<io::ErrorKind>,
}

impl DialError {
    /// An error of this kind.
    pub(super) fn new(kind: DialErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), system: None }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for DialError {}
