//! attache's own failures, as data: what went wrong, which status and `Proxy-Status` (RFC 9209) that has, and the sentence for
//! the caller. `response.rs` makes an answer of them. None is ever a 401, save to a reverse listener's own callers, and nothing
//! quotes a header field of the request.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::outcome::Outcome;
use super::refusals::{Refusals, Refused};
use crate::runtime::ListenerRoute;
use crate::token::{TokenError, TokenErrorKind};
use crate::upstream::{ExchangeError, ExchangeErrorKind};

/// A request that attache answers itself.
#[derive(Debug)]
pub(crate) struct ProxyError {
    pub(super) kind: ProxyErrorKind,
    detail: Box<str>,
    /// What the log has instead: how an upstream is reached is no caller's business.
    logged: Option<Box<str>>,
    pub(super) retry_after: Option<Duration>,
    /// The OAuth error code, where the authorization server said one.
    pub(super) oauth_error: Option<Box<str>>,
    /// The framing cannot be trusted any more: the connection ends.
    pub(super) close: bool,
    /// The route that the request was on, if it came that far.
    pub(super) route: Option<Arc<ListenerRoute>>,
    /// What of the configuration was in the way, for the person who may change it.
    refused: Option<Box<Refused>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyErrorKind {
    /// The target or the fields are malformed or contradict each other.
    BadRequest,
    /// Policy.
    Denied,
    /// A reverse listener has nothing at this path or host.
    NoRoute,
    MethodNotAllowed,
    NotImplemented,
    ProxyAuthentication,
    /// The only 401 of attache's own.
    Authentication,
    TooManyRequests,
    TooManyGuesses,
    TooManyConnections,
    Loop,
    /// The upstream's answer breaks HTTP.
    BadResponse,
    /// A credential that came, and does not fit.
    CredentialUnusable,
    TokenRefused,
    TokenUnusable,
    TokenUnavailable,
    /// No answer from the upstream.
    Upstream(ExchangeErrorKind),
}

/// What the caller is told of a kind, besides the sentence.
pub(super) struct Row {
    pub(super) status: StatusCode,
    /// Behind `urn:attache:problem:`.
    pub(super) problem: &'static str,
    /// The `error` of `Proxy-Status` (RFC 9209 section 2.3).
    pub(super) proxy_status: &'static str,
    pub(super) title: &'static str,
}

impl ProxyErrorKind {
    #[rustfmt::skip]
    pub(super) const fn row(self) -> Row {
        use StatusCode as S;
        let (status, problem, proxy_status, title) = match self {
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "http_request_error", "The request is malformed"),
            Self::Denied => (S::FORBIDDEN, "route-denied", "http_request_denied", "The request is not allowed"),
            Self::NoRoute => (S::NOT_FOUND, "no-route", "destination_not_found", "There is no upstream here"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "http_request_denied", "The method is not allowed"),
            Self::NotImplemented => (S::NOT_IMPLEMENTED, "not-implemented", "http_request_error", "The protocol is not known"),
            Self::ProxyAuthentication => (S::PROXY_AUTHENTICATION_REQUIRED, "caller-authentication", "http_request_denied", "The caller is not known"),
            Self::Authentication => (S::UNAUTHORIZED, "caller-authentication", "http_request_denied", "The caller is not known"),
            Self::TooManyRequests => (S::TOO_MANY_REQUESTS, "too-many-requests", "http_request_denied", "Too many requests"),
            Self::TooManyGuesses => (S::TOO_MANY_REQUESTS, "too-many-requests", "http_request_denied", "Too many wrong passwords"),
            Self::TooManyConnections => (S::TOO_MANY_REQUESTS, "too-many-connections", "connection_limit_reached", "Too many connections"),
            Self::Loop => (S::BAD_GATEWAY, "loop", "proxy_loop_detected", "The request goes in a circle"),
            Self::BadResponse => (S::BAD_GATEWAY, "upstream-response", "http_protocol_error", "The upstream's answer cannot be used"),
            Self::CredentialUnusable => (S::BAD_GATEWAY, "token-rejected", "proxy_configuration_error", "The credential is not usable here"),
            Self::TokenRefused => (S::BAD_GATEWAY, "token-rejected", "proxy_configuration_error", "The authorization server refused"),
            Self::TokenUnusable => (S::BAD_GATEWAY, "token-rejected", "proxy_configuration_error", "No usable token"),
            Self::TokenUnavailable => (S::SERVICE_UNAVAILABLE, "token-unavailable", "proxy_internal_error", "No token for now"),
            Self::Upstream(kind) => return upstream_row(kind),
        };
        Row { status, problem, proxy_status, title }
    }
}

#[rustfmt::skip]
const fn upstream_row(kind: ExchangeErrorKind) -> Row {
    use ExchangeErrorKind as Kind;
    use StatusCode as S;
    const SILENT: &str = "The upstream did not answer";
    let (status, problem, proxy_status, title) = match kind {
        Kind::DnsError => (S::BAD_GATEWAY, "upstream-dns", "dns_error", SILENT),
        Kind::DnsTimeout => (S::GATEWAY_TIMEOUT, "upstream-dns", "dns_timeout", SILENT),
        Kind::ConnectionRefused => (S::BAD_GATEWAY, "upstream-connect", "connection_refused", SILENT),
        Kind::ConnectionTimeout => (S::GATEWAY_TIMEOUT, "upstream-connect", "connection_timeout", SILENT),
        Kind::ConnectionTerminated => (S::BAD_GATEWAY, "upstream-connect", "connection_terminated", SILENT),
        Kind::DestinationUnavailable => (S::BAD_GATEWAY, "upstream-connect", "destination_unavailable", SILENT),
        Kind::ProxyConfiguration => (S::BAD_GATEWAY, "upstream-connect", "proxy_configuration_error", SILENT),
        Kind::TlsProtocolError => (S::BAD_GATEWAY, "upstream-tls", "tls_protocol_error", SILENT),
        Kind::TlsAlertReceived => (S::BAD_GATEWAY, "upstream-tls", "tls_alert_received", SILENT),
        Kind::TlsCertificateError | Kind::TlsCertificateName => (S::BAD_GATEWAY, "upstream-tls", "tls_certificate_error", SILENT),
        Kind::HttpResponseTimeout => (S::GATEWAY_TIMEOUT, "upstream-response", "http_response_timeout", SILENT),
        Kind::HttpProtocolError => (S::BAD_GATEWAY, "upstream-response", "http_protocol_error", SILENT),
        Kind::ProxyLoopDetected => return ProxyErrorKind::Loop.row(),
        Kind::RequestBody => return ProxyErrorKind::BadRequest.row(),
        Kind::RequestBodyTimeout => (S::REQUEST_TIMEOUT, "request-body", "http_request_error", "The request body did not arrive"),
        Kind::RequestBodyTooLarge => (S::PAYLOAD_TOO_LARGE, "content-too-large", "http_request_error", "The request body is too large"),
        Kind::TargetTooLong => (S::URI_TOO_LONG, "bad-request", "http_request_error", "The request target is too long"),
        Kind::ProofFailed => (S::BAD_GATEWAY, "upstream-response", "proxy_configuration_error", "The credential is not usable here"),
        Kind::ConnectionLimitReached => (S::SERVICE_UNAVAILABLE, "overloaded", "connection_limit_reached", SILENT),
        Kind::Unprocessed => (S::SERVICE_UNAVAILABLE, "upstream-response", "destination_unavailable", SILENT),
        Kind::DestinationIpProhibited => (S::FORBIDDEN, "destination-prohibited", "destination_ip_prohibited", "The destination is not allowed"),
    };
    Row { status, problem, proxy_status, title }
}

impl ProxyError {
    fn new(kind: ProxyErrorKind, detail: impl Into<String>) -> Self {
        let detail = detail.into().into_boxed_str();
        Self {
            kind,
            detail,
            logged: None,
            retry_after: None,
            oauth_error: None,
            close: false,
            route: None,
            refused: None,
        }
    }

    pub(crate) fn on(self, route: &Arc<ListenerRoute>) -> Self {
        Self { route: Some(Arc::clone(route)), ..self }
    }

    pub(crate) fn on_optional(self, route: Option<&Arc<ListenerRoute>>) -> Self {
        if let Some(route) = route { self.on(route) } else { self }
    }

    /// The same, with what it is that the configuration does not allow.
    pub(super) fn refusing(self, what: Refused) -> Self {
        Self { refused: Some(Box::new(what)), ..self }
    }

    /// Tells of it, if it is that the configuration does not allow something.
    pub(super) fn tell(&self, refusals: Option<&Refusals>) {
        if let (Some(refusals), Some(what)) = (refusals, &self.refused) {
            refusals.tell(what, &self.detail);
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::BadRequest, detail)
    }

    /// 400, and the connection is closed: where one message ends and the next begins is in doubt.
    pub(crate) fn framing(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::bad_request(detail) }
    }

    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::Denied, detail)
    }

    /// 403, and the connection is closed: the tunnel's caller may no longer use the listener. No 407: inside of a tunnel a
    /// program takes what it hears for the server's own words.
    pub(crate) fn turned_away(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::denied(detail) }
    }

    pub(crate) fn no_route(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::NoRoute, detail)
    }

    /// TRACE would send the token back in the body (RFC 9110 section 9.3.8).
    pub(crate) fn method(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::MethodNotAllowed, detail)
    }

    /// An extended CONNECT for a protocol that is not known here (RFC 9220 section 3).
    pub(crate) fn not_implemented(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::NotImplemented, detail)
    }

    /// A caller of a forward listener is not authenticated (RFC 9110 section 15.5.8).
    pub(crate) fn proxy_authentication(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::ProxyAuthentication, detail)
    }

    /// A caller of a reverse listener is not authenticated.
    pub(crate) fn authentication(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::Authentication, detail)
    }

    /// `requests_per_second`.
    pub(crate) fn too_many_requests(limit: &str, after: Duration) -> Self {
        let detail = format!("more requests per second than {limit} allows; try again shortly");
        Self { retry_after: Some(after), ..Self::new(ProxyErrorKind::TooManyRequests, detail) }
    }

    /// So many wrong passwords have come from there that the next one is not looked at yet.
    pub(crate) fn too_many_guesses(after: Duration) -> Self {
        let detail = "too many wrong passwords have come from this address; give the program the right name and password, and try again shortly";
        Self { retry_after: Some(after), ..Self::new(ProxyErrorKind::TooManyGuesses, detail) }
    }

    /// Its address has as many connections as it may have; this one is closed.
    pub(crate) fn too_many_connections() -> Self {
        let detail = "more connections from one address than limits.connections_per_address allows; close one, or send more requests over each";
        let error = Self::new(ProxyErrorKind::TooManyConnections, detail);
        Self { retry_after: Some(Duration::from_secs(1)), close: true, ..error }
    }

    pub(crate) fn proxy_loop(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::Loop, detail)
    }

    pub(crate) fn bad_response(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::BadResponse, detail)
    }

    pub(crate) fn credential(detail: impl Into<String>) -> Self {
        Self::new(ProxyErrorKind::CredentialUnusable, detail)
    }

    /// No token: 503 while trying again can help, 502 where the authorization server refused or answered nonsense.
    pub(crate) fn token(credential: &str, error: &TokenError) -> Self {
        let kind = match error.kind {
            TokenErrorKind::Permanent => ProxyErrorKind::TokenRefused,
            TokenErrorKind::Configuration => ProxyErrorKind::CredentialUnusable,
            TokenErrorKind::InvalidResponse => ProxyErrorKind::TokenUnusable,
            TokenErrorKind::Transient
            | TokenErrorKind::Timeout
            | TokenErrorKind::Cancelled
            | TokenErrorKind::Held
            | TokenErrorKind::PutOff => ProxyErrorKind::TokenUnavailable,
        };
        let message = &error.message;
        let is_temporary = kind == ProxyErrorKind::TokenUnavailable;
        let detail = if is_temporary {
            format!("no token for credential {credential:?} for now: {message}; the request was not sent")
        } else {
            format!("no token for credential {credential:?}: {message}; see `attache check --live`")
        };
        let retry_after = error.retry_after.or(is_temporary.then_some(Duration::from_secs(1)));
        let oauth_error = error.code.as_deref().map(Box::from);
        Self { retry_after, oauth_error, ..Self::new(kind, detail) }
    }

    /// No answer from an upstream.
    pub(crate) fn exchange(upstream: &str, error: &ExchangeError) -> Self {
        Self::no_answer(&format!("upstream {upstream:?}"), "; `attache check --live` shows why", error)
    }

    /// No answer from a host that no upstream covers.
    pub(crate) fn unmatched_exchange(target: &str, error: &ExchangeError) -> Self {
        let failed = Self::no_answer(target, "", error);
        match error.kind {
            ExchangeErrorKind::DestinationIpProhibited => failed.refusing(Refused::Address(target.into())),
            _ => failed,
        }
    }

    fn no_answer(whose: &str, shown_by: &str, error: &ExchangeError) -> Self {
        use ExchangeErrorKind as Kind;
        let detail = |advice: &str| format!("{whose}: {}{advice}", error.caller_message());
        let detail = match error.kind {
            Kind::RequestBody
            | Kind::RequestBodyTimeout
            | Kind::RequestBodyTooLarge
            | Kind::TargetTooLong
            | Kind::ProofFailed => error.to_string(),
            Kind::DnsError => detail("; check the name in its origin"),
            Kind::ConnectionRefused => detail(shown_by),
            Kind::ConnectionLimitReached => detail("; raise pool.max"),
            Kind::Unprocessed => detail("; it has not processed the request, which can be sent again"),
            Kind::DestinationIpProhibited => detail(
                "; to allow it, name the network in [forward] private_addresses, or configure the host as an upstream",
            ),
            _ => detail(""),
        };
        let is_temporary = matches!(error.kind, Kind::ConnectionLimitReached | Kind::Unprocessed);
        let close = matches!(error.kind, Kind::RequestBody | Kind::RequestBodyTimeout | Kind::RequestBodyTooLarge);
        Self {
            logged: error.caller_message.as_ref().map(|_| format!("{whose}: {error}").into_boxed_str()),
            retry_after: is_temporary.then_some(Duration::from_secs(1)),
            close,
            ..Self::new(ProxyErrorKind::Upstream(error.kind), detail)
        }
    }

    /// True if the upstream of its route could not be reached, or did not answer as it should.
    pub(super) fn is_of_upstream(&self) -> bool {
        let upstreams = matches!(self.kind, ProxyErrorKind::Upstream(_) | ProxyErrorKind::BadResponse);
        upstreams && self.route.is_some() && self.outcome() == Outcome::Failed
    }

    /// True if all connections of the upstream's pool were in use.
    pub(super) const fn is_of_full_pool(&self) -> bool {
        matches!(self.kind, ProxyErrorKind::Upstream(ExchangeErrorKind::ConnectionLimitReached))
    }

    pub(crate) const fn kind(&self) -> ProxyErrorKind {
        self.kind
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.row().status
    }

    /// The caller's fault or policy is denied; attache's, the authorization server's or the upstream's has failed.
    pub(crate) fn outcome(&self) -> Outcome {
        let status = self.status();
        let is_denied = status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED;
        if is_denied { Outcome::Denied } else { Outcome::Failed }
    }

    /// For the caller.
    pub(super) fn sentence(&self) -> &str {
        &self.detail
    }

    /// For the log.
    pub(crate) fn detail(&self) -> &str {
        self.logged.as_deref().unwrap_or(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_refused_is_called_refused_by_it() {
        for (kind, title) in [
            (TokenErrorKind::Permanent, "The authorization server refused"),
            (TokenErrorKind::InvalidResponse, "No usable token"),
            (TokenErrorKind::Configuration, "The credential is not usable here"),
            (TokenErrorKind::Transient, "No token for now"),
        ] {
            assert_eq!(ProxyError::token("key", &TokenError::new(kind, "why")).kind.row().title, title);
        }
    }
}
