//! Why there is no response from an upstream.

use std::fmt;

use crate::dial::{DialError, DialErrorKind};
use crate::http2::Http2Fault;

/// What went wrong, in the words of RFC 9209 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ExchangeErrorKind {
    /// The name does not resolve.
    DnsError,
    /// The name did not resolve in time.
    DnsTimeout,
    /// Every address is one that may not be dialled.
    DestinationIpProhibited,
    /// The address is one of attache's own listeners.
    ProxyLoopDetected,
    /// Nobody listens there.
    ConnectionRefused,
    ConnectionTimeout,
    /// The connection ended before a response head.
    ConnectionTerminated,
    /// A parent proxy could not reach the host.
    DestinationUnavailable,
    /// The parent proxy is not used as it wants to be.
    ProxyConfiguration,
    /// `pool.max` connections are in use.
    ConnectionLimitReached,
    /// The upstream says that it has not processed the request.
    Unprocessed,
    /// The handshake failed.
    TlsProtocolError,
    /// The server's certificate is not acceptable.
    TlsCertificateError,
    /// The server's certificate is for another name.
    TlsCertificateName,
    /// The server refused the handshake.
    TlsAlertReceived,
    /// No response head in time.
    HttpResponseTimeout,
    /// The response is no HTTP.
    HttpProtocolError,
    /// The caller's own body broke off, or its framing did.
    RequestBody,
    /// The caller's own body stood still.
    RequestBodyTimeout,
    /// The caller's own body is longer than it may be.
    RequestBodyTooLarge,
    /// With the token in its query, the target is longer than a URI may be.
    TargetTooLong,
    /// The proof of a bound token could not be made.
    ProofFailed,
}

const ENDED: &str = "the connection ended before an answer";

/// A failed exchange: the kind for the status, the detail for a person. Holds no header and no body.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeError {
    pub(crate) kind: ExchangeErrorKind,
    /// What the system or the library said. It may name addresses that are not the caller's business.
    pub(crate) detail: String,
    /// What a caller may know of it; `None`: all of it.
    pub(crate) caller_message: Option<String>,
    /// Whether the request may be sent again.
    pub(crate) resend: Resend,
}

/// Whether a request that failed may be sent again, as far as that is up to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    /// It may have been processed, and how it failed says that the next one fails alike.
    Never,
    /// It went out on a connection that had been used before, and it (in HTTP/2, or its stream) ended without a response
    /// byte: the usual race with a server that closes idle connections (RFC 9110 section 9.2.2).
    IfIdempotent,
    /// Nothing of it was sent, or its server says that it has not processed it (RFC 9113 section 8.7).
    Always,
    /// The same, because its connection takes no more requests (RFC 9113 section 6.8): no sign that the server has too many.
    OnNextConnection,
}

impl ExchangeError {
    pub(super) fn new(kind: ExchangeErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), caller_message: None, resend: Resend::Never }
    }

    /// The same, of which callers are told this alone.
    pub(super) fn with_caller_message(self, caller_message: impl Into<String>) -> Self {
        Self { caller_message: Some(caller_message.into()), ..self }
    }

    /// The sentence for a caller.
    #[must_use]
    pub(crate) fn caller_message(&self) -> &str {
        self.caller_message.as_deref().unwrap_or(&self.detail)
    }

    /// Nothing was sent: the token would have gone into the query, and there is no room for it.
    #[must_use]
    pub(crate) fn target_too_long() -> Self {
        let detail = "the request target is too long for a token in its query; nothing was sent";
        Self::new(ExchangeErrorKind::TargetTooLong, detail)
    }

    /// The caller's body is longer than `limits.body_bytes`.
    #[must_use]
    pub(crate) fn body_too_large(most: u64) -> Self {
        let detail = format!("the request body is larger than limits.body_bytes, which is {most} bytes");
        Self::new(ExchangeErrorKind::RequestBodyTooLarge, detail)
    }

    /// Nothing was sent: the proof that goes with a bound token could not be made.
    #[must_use]
    pub(crate) fn unsigned(reason: &str) -> Self {
        Self::new(
            ExchangeErrorKind::ProofFailed,
            format!("no proof for the token could be made, nothing was sent: {reason}"),
        )
    }

    /// Sorts what ended a stream of HTTP/2 or its connection. `stale`: the connection had been used before.
    pub(super) fn from_h2(error: &h2::Error, stale: bool) -> Self {
        let (kind, resend) = match Http2Fault::of(error) {
            Http2Fault::Unprocessed | Http2Fault::Http11Required => (ExchangeErrorKind::Unprocessed, Resend::Always),
            Http2Fault::GoingAway => (ExchangeErrorKind::Unprocessed, Resend::OnNextConnection),
            Http2Fault::Malformed => (ExchangeErrorKind::HttpProtocolError, Resend::Never),
            Http2Fault::Body => {
                return Self::new(ExchangeErrorKind::RequestBody, "the request body broke off");
            }
            Http2Fault::Broken => (ExchangeErrorKind::ConnectionTerminated, if_stale(stale)),
        };
        let caller_message = (kind == ExchangeErrorKind::ConnectionTerminated).then(|| ENDED.to_owned());
        Self { kind, detail: error_chain(error), caller_message, resend }
    }

    /// The connection ended, and nothing says why but the system. `stale`: it had been used before, and not one byte came back.
    pub(super) fn ended(why: &str, stale: bool) -> Self {
        let detail = format!("{ENDED}: {why}");
        let error = Self::new(ExchangeErrorKind::ConnectionTerminated, detail).with_caller_message(ENDED);
        Self { resend: if_stale(stale), ..error }
    }

    /// The caller's body broke off: hyper says last why, attache's own checks say it in a sentence.
    pub(super) fn invalid_body(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut root = error;
        while let Some(cause) = root.source() {
            root = cause;
        }
        let detail = if error.is::<hyper::Error>() {
            format!("the request body is not valid ({root})")
        } else {
            root.to_string()
        };
        Self::new(ExchangeErrorKind::RequestBody, detail)
    }
}

impl From<DialError> for ExchangeError {
    fn from(error: DialError) -> Self {
        let kind = match error.kind {
            DialErrorKind::DnsError => ExchangeErrorKind::DnsError,
            DialErrorKind::DnsTimeout => ExchangeErrorKind::DnsTimeout,
            DialErrorKind::DestinationIpProhibited => ExchangeErrorKind::DestinationIpProhibited,
            DialErrorKind::ProxyLoopDetected => ExchangeErrorKind::ProxyLoopDetected,
            DialErrorKind::ConnectionRefused => ExchangeErrorKind::ConnectionRefused,
            DialErrorKind::ConnectionTimeout => ExchangeErrorKind::ConnectionTimeout,
            DialErrorKind::ConnectionTerminated => ExchangeErrorKind::ConnectionTerminated,
            DialErrorKind::DestinationUnavailable => ExchangeErrorKind::DestinationUnavailable,
            DialErrorKind::ProxyConfiguration => ExchangeErrorKind::ProxyConfiguration,
            DialErrorKind::TlsProtocolError => ExchangeErrorKind::TlsProtocolError,
            DialErrorKind::TlsCertificateError => ExchangeErrorKind::TlsCertificateError,
            DialErrorKind::TlsCertificateName => ExchangeErrorKind::TlsCertificateName,
            DialErrorKind::TlsAlertReceived => ExchangeErrorKind::TlsAlertReceived,
            DialErrorKind::HttpProtocolError => ExchangeErrorKind::HttpProtocolError,
        };
        let caller_message = error.caller_message().to_owned();
        Self::new(kind, error.detail).with_caller_message(caller_message)
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ExchangeError {}

const fn if_stale(stale: bool) -> Resend {
    if stale { Resend::IfIdempotent } else { Resend::Never }
}

/// An error with what caused it, for the log.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
