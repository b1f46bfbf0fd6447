//! Why there is no way out to a host.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::tls::{HandshakeFault, Keys, handshake_reason};

/// What went wrong, in the words of RFC 9209 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DialErrorKind {
    /// The name does not resolve.
    DnsError,
    /// The name did not resolve in time.
    DnsTimeout,
    /// Every address is one that may not be dialled.
    DestinationIpProhibited,
    /// The address is one of attache's own listeners.
    ProxyLoopDetected,
    /// Nobody listens there, or a proxy refuses the tunnel.
    ConnectionRefused,
    ConnectionTimeout,
    /// The connection ended early.
    ConnectionTerminated,
    /// A parent proxy could not reach the host.
    DestinationUnavailable,
    /// The parent proxy is not used as it wants to be.
    ProxyConfiguration,
    /// The handshake failed.
    TlsProtocolError,
    /// The server's certificate is not acceptable.
    TlsCertificateError,
    /// The server's certificate is for another name.
    TlsCertificateName,
    /// The server refused the handshake.
    TlsAlertReceived,
    /// A parent proxy's answer is no HTTP.
    HttpProtocolError,
}

impl DialErrorKind {
    const fn sentence(self) -> &'static str {
        match self {
            Self::DnsError => "its name does not resolve",
            Self::DnsTimeout => "its name was not resolved in time",
            Self::DestinationIpProhibited => "its addresses may not be dialled",
            Self::ProxyLoopDetected => "it is one of attache's own listeners",
            Self::ConnectionRefused => "it cannot be connected to",
            Self::ConnectionTimeout => "it does not answer",
            Self::ConnectionTerminated => "the connection to it ended early",
            Self::DestinationUnavailable => "the parent proxy cannot reach it",
            Self::ProxyConfiguration => "the parent proxy does not let the request through",
            Self::TlsProtocolError | Self::TlsAlertReceived => "the TLS handshake failed",
            Self::TlsCertificateError | Self::TlsCertificateName => "its certificate is not acceptable",
            Self::HttpProtocolError => "what is on the way to it is no HTTP proxy",
        }
    }
}

/// No way out: the kind for programs, the detail for the operator.
#[derive(Debug, Clone)]
pub(crate) struct DialError {
    pub(crate) kind: DialErrorKind,
    /// A sentence: what happened, and what to do. It may name addresses and machines that are nobody else's business.
    pub(crate) detail: String,
    /// What the caller may know, where it is more than the kind says.
    caller_message: Option<String>,
    /// What the system said when it could not connect.
    pub(crate) system: Option<io::ErrorKind>,
}

impl DialError {
    pub(super) fn new(kind: DialErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), caller_message: None, system: None }
    }

    /// The same, with a sentence that the caller may have.
    pub(super) fn with_caller_message(self, caller_message: impl Into<String>) -> Self {
        Self { caller_message: Some(caller_message.into()), ..self }
    }

    /// A sentence for the caller: what happened to the host that it knows, without a word of how it is reached.
    #[must_use]
    pub(crate) fn caller_message(&self) -> &str {
        self.caller_message.as_deref().unwrap_or_else(|| self.kind.sentence())
    }

    /// A handshake that failed, in words that the caller may have.
    #[must_use]
    pub(crate) fn of_handshake(error: &io::Error, keys: &Keys) -> Self {
        let kind = match HandshakeFault::of(error) {
            HandshakeFault::Certificate => DialErrorKind::TlsCertificateError,
            HandshakeFault::CertificateName => DialErrorKind::TlsCertificateName,
            HandshakeFault::Alert => DialErrorKind::TlsAlertReceived,
            HandshakeFault::Protocol => DialErrorKind::TlsProtocolError,
        };
        let detail = format!("the TLS handshake failed: {}", handshake_reason(error, keys));
        Self::new(kind, detail.clone()).with_caller_message(detail)
    }

    /// No answer of the name servers within this time.
    #[must_use]
    pub(crate) fn unresolved(name: &str, within: Duration) -> Self {
        let within = humantime::format_duration(within);
        let detail =
            format!("the name {name} was not resolved within {within}: this machine's name servers do not answer");
        Self::new(DialErrorKind::DnsTimeout, detail)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for DialError {}
