//! attache's own failures: what went wrong, and its one mapping to a status, `Proxy-Status` (RFC 9209) and a problem
//! document (RFC 9457). Nothing here is ever a 401, save to a reverse
//! listener's own callers, and nothing quotes a header field of the request.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::proxy::body::CallerBody;
use crate::token::{TokenError, TokenErrorKind};
use crate::upstream::{ExchangeError, ExchangeErrorKind};

/// `Proxy-Status`.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// `X-Request-Id`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that attache answers itself.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Name of the problem, and the `error` of `Proxy-Status`.
    problem: &'static str,
    error: &'static str,
    title: &'static str,
    detail: Box<str>,
    /// What the log has instead: how an upstream is reached is no caller's business.
    logged: Option<Box<str>>,
    retry_after: Option<Duration>,
    /// The OAuth error code, where the authorization server said one.
    oauth_error: Option<Box<str>>,
    /// The framing cannot be trusted any more: the connection ends.
    close: bool,
    /// Whose fault: policy and malformed requests are `denied`, the rest `failed`.
    denied: bool,
}

impl Refusal {
    fn new(
        status: StatusCode,
        problem: &'static str,
        error: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into().into_boxed_str();
        let denied = status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED;
        let (logged, retry_after, oauth_error) = (None, None, None);
        Self { status, problem, error, title, detail, logged, retry_after, oauth_error, close: false, denied }
    }

    /// 400: the request's target or fields are malformed or contradict each other.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "http_request_error", "The request is malformed", detail)
    }

    /// 400, and the connection is closed: where one message ends and the next begins is in doubt.
    pub(crate) fn framing(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::bad_request(detail) }
    }

    /// 403: policy.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "route-denied", "http_request_denied", "The request is not allowed", detail)
    }

    /// 403, and the connection is closed: the tunnel's caller may no longer use the listener. No 407: inside of a tunnel a
    /// program takes what it hears for the server's own words.
    pub(crate) fn turned_away(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::denied(detail) }
    }

    /// 404: a reverse listener has nothing at this path or host.
    pub(crate) fn no_route(detail: impl Into<String>) -> Self {
        let title = "There is no upstream here";
        Self::new(StatusCode::NOT_FOUND, "no-route", "destination_not_found", title, detail)
    }

    /// 405: TRACE would send the token back in the body (RFC 9110 section 9.3.8).
    pub(crate) fn method(detail: impl Into<String>) -> Self {
        let title = "The method is not allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "http_request_denied", title, detail)
    }

    /// 501: an extended CONNECT for a protocol that is not known here (RFC 9220 section 3).
    pub(crate) fn not_implemented(detail: impl Into<String>) -> Self {
        let title = "The protocol is not known";
        Self::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", "http_request_error", title, detail)
    }

    /// 408: the caller's body stood still.
    fn slow_body(detail: impl Into<String>) -> Self {
        let refusal = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-body",
            "http_request_error",
            "The request body did not arrive",
            detail,
        );
        Self { close: true, ..refusal }
    }

    /// 407: a caller of a forward listener has not proven itself (RFC 9110 section 15.5.8).
    pub(crate) fn proxy_authentication(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "The caller is not known");
        Self::new(status, "caller-authentication", "http_request_denied", title, detail)
    }

    /// 401: a caller of a reverse listener has not proven itself. The only 401 of our own.
    pub(crate) fn authentication(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::UNAUTHORIZED, "The caller is not known");
        Self::new(status, "caller-authentication", "http_request_denied", title, detail)
    }

    /// 429: `limits.requests_per_second`.
    pub(crate) fn too_many_requests(limit: &str, after: Duration) -> Self {
        let detail = format!("more requests per second than {limit} allows; try again shortly");
        let title = "Too many requests";
        let refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "http_request_denied", title, detail);
        Self { retry_after: Some(after), ..refusal }
    }

    /// 429: so many wrong passwords have come from there that the next one is not looked at yet.
    pub(crate) fn too_many_guesses(after: Duration) -> Self {
        let detail = "too many wrong passwords have come from this address; give the program the right name and password, and try again shortly";
        let title = "Too many wrong passwords";
        let refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "http_request_denied", title, detail);
        Self { retry_after: Some(after), ..refusal }
    }

    /// 429, and the connection is closed: its address has as many as it may have.
    pub(crate) fn too_many_connections() -> Self {
        let detail = "more connections from one address than limits.connections_per_address allows; close one, or send more requests over each";
        let title = "Too many connections";
        let refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-connections", "connection_limit_reached", title, detail);
        Self { retry_after: Some(Duration::from_secs(1)), close: true, ..refusal }
    }

    /// 502: the request has been here before.
    pub(crate) fn proxy_loop(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "loop", "proxy_loop_detected", "The request goes in a circle", detail)
    }

    /// 502: the upstream's answer breaks HTTP.
    pub(crate) fn bad_response(detail: impl Into<String>) -> Self {
        let title = "The upstream's answer cannot be used";
        Self::new(StatusCode::BAD_GATEWAY, "upstream-response", "http_protocol_error", title, detail)
    }

    /// A credential that came, and does not fit the upstream.
    pub(crate) fn credential(detail: impl Into<String>) -> Self {
        let title = "The credential is not usable here";
        Self::new(StatusCode::BAD_GATEWAY, "token-rejected", "proxy_configuration_error", title, detail)
    }

    /// No token: 503 while trying again can help, 502 where the authorization server refused or answered nonsense.
    pub(crate) fn token(credential: &str, error: &TokenError) -> Self {
        let message = &error.message;
        let refusal = match error.kind {
            TokenErrorKind::Permanent | TokenErrorKind::Configuration | TokenErrorKind::InvalidResponse => {
                let detail = format!("no token for credential {credential:?}: {message}; see `attache check --live`");
                let title = match error.kind {
                    TokenErrorKind::Permanent => "The authorization server refused",
                    TokenErrorKind::Configuration => "The credential is not usable here",
                    _ => "No usable token",
                };
                Self::new(StatusCode::BAD_GATEWAY, "token-rejected", "proxy_configuration_error", title, detail)
            }
            TokenErrorKind::Transient | TokenErrorKind::Timeout | TokenErrorKind::Cancelled => {
                let detail =
                    format!("no token for credential {credential:?} for now: {message}; the request was not sent");
                let title = "No token for now";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "token-unavailable", "proxy_internal_error", title, detail)
            }
        };
        let retry_after =
            error.retry_after.or((refusal.status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1)));
        Self { retry_after, oauth_error: error.code.as_deref().map(Box::from), ..refusal }
    }

    /// No answer from the upstream.
    pub(crate) fn exchange(upstream: &str, error: &ExchangeError) -> Self {
        Self::no_answer(&format!("upstream {upstream:?}"), error)
    }

    /// No answer from a host that is nobody's upstream.
    pub(crate) fn unmatched_exchange(target: &str, error: &ExchangeError) -> Self {
        Self::no_answer(target, error)
    }

    fn no_answer(whose: &str, error: &ExchangeError) -> Self {
        let logged = error.told.as_ref().map(|_| format!("{whose}: {error}").into_boxed_str());
        Self { logged, ..Self::no_answer_told(whose, error) }
    }

    fn no_answer_told(whose: &str, error: &ExchangeError) -> Self {
        use ExchangeErrorKind as Kind;
        let detail = |advice: &str| format!("{whose}: {}{advice}", error.told());
        let gateway =
            |status, problem, error, detail| Self::new(status, problem, error, "The upstream did not answer", detail);
        let (bad, timeout) = (StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT);
        match error.kind {
            Kind::DnsError => gateway(bad, "upstream-dns", "dns_error", detail("; check the name in its origin")),
            Kind::DnsTimeout => gateway(timeout, "upstream-dns", "dns_timeout", detail("")),
            Kind::ConnectionRefused => gateway(bad, "upstream-connect", "connection_refused", detail("")),
            Kind::ConnectionTimeout => gateway(timeout, "upstream-connect", "connection_timeout", detail("")),
            Kind::ConnectionTerminated => gateway(bad, "upstream-connect", "connection_terminated", detail("")),
            Kind::DestinationUnavailable => gateway(bad, "upstream-connect", "destination_unavailable", detail("")),
            Kind::ProxyConfiguration => gateway(bad, "upstream-connect", "proxy_configuration_error", detail("")),
            Kind::TlsProtocolError => gateway(bad, "upstream-tls", "tls_protocol_error", detail("")),
            Kind::TlsAlertReceived => gateway(bad, "upstream-tls", "tls_alert_received", detail("")),
            Kind::TlsCertificateError => gateway(bad, "upstream-tls", "tls_certificate_error", detail("")),
            Kind::HttpResponseTimeout => gateway(timeout, "upstream-response", "http_response_timeout", detail("")),
            Kind::HttpProtocolError => gateway(bad, "upstream-response", "http_protocol_error", detail("")),
            Kind::ProxyLoopDetected => Self::proxy_loop(detail("")),
            Kind::RequestBody => Self::framing(error.to_string()),
            Kind::RequestBodyTimeout => Self::slow_body(error.to_string()),
            Kind::RequestBodyTooLarge => Self {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                problem: "content-too-large",
                title: "The request body is too large",
                ..Self::framing(error.to_string())
            },
            Kind::TargetTooLong => Self {
                status: StatusCode::URI_TOO_LONG,
                title: "The request target is too long",
                ..Self::bad_request(error.to_string())
            },
            Kind::ProofFailed => Self {
                status: StatusCode::BAD_GATEWAY,
                error: "proxy_configuration_error",
                title: "The credential is not usable here",
                ..Self::bad_response(error.to_string())
            },
            Kind::ConnectionLimitReached => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let refusal = gateway(status, "overloaded", "connection_limit_reached", detail("; raise pool.max"));
                Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
            }
            Kind::Unprocessed => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let advice = "; it has not processed the request, which can be sent again";
                let refusal = gateway(status, "upstream-response", "destination_unavailable", detail(advice));
                Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
            }
            Kind::DestinationIpProhibited => {
                let advice = "; to allow it, name the network in [forward] private_addresses, or configure the host as an upstream";
                let status = StatusCode::FORBIDDEN;
                let title = "The destination is not allowed";
                Self::new(status, "destination-prohibited", "destination_ip_prohibited", title, detail(advice))
            }
        }
    }

    /// True for the caller's fault or policy, false for ours, the authorization server's or the upstream's.
    #[must_use]
    pub(crate) const fn is_denial(&self) -> bool {
        self.denied
    }

    /// For the log.
    #[must_use]
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The `error` of `Proxy-Status` (RFC 9209 section 2.3).
    #[must_use]
    pub(crate) const fn error(&self) -> &'static str {
        self.error
    }

    /// For the log.
    #[must_use]
    pub(crate) fn detail(&self) -> &str {
        self.logged.as_deref().unwrap_or(&self.detail)
    }

    /// The one place that turns a refusal into a response.
    #[must_use]
    pub(crate) fn into_response(self, request_id: &RequestId, close: bool) -> Response<CallerBody> {
        let mut document = serde_json::json!({
            "type": format!("urn:attache:problem:{}", self.problem),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id.text(),
        });
        if let (Some(code), Some(members)) = (self.oauth_error, document.as_object_mut()) {
            members.insert("oauth_error".into(), (*code).into());
        }
        let mut response = Response::new(CallerBody::own(Bytes::from(format!("{document}\n"))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(PROXY_STATUS, proxy_status(self.error));
        headers.insert(REQUEST_ID, request_id.0.clone());
        if let Some(after) = self.retry_after {
            // Rounded up: a caller that comes back exactly then must not come too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        // Without the charset other programs would guess one (RFC 7617 section 2.1).
        let challenge = HeaderValue::from_static("Basic realm=\"attache\", charset=\"UTF-8\"");
        match self.status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => drop(headers.insert(PROXY_AUTHENTICATE, challenge)),
            StatusCode::UNAUTHORIZED => drop(headers.insert(WWW_AUTHENTICATE, challenge)),
            _ => {}
        }
        if self.close || close {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn proxy_status(error: &'static str) -> HeaderValue {
    HeaderValue::from_str(&format!("attache; error={error}")).unwrap_or(HeaderValue::from_static("attache"))
}

/// The caller's `X-Request-Id`, or one of ours. Made only where it is shown.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Takes over a sensible identifier of the caller's; anything long or strange is replaced.
    #[must_use]
    pub(crate) fn of_value(theirs: &HeaderValue) -> Self {
        let sensible = (1..=128).contains(&theirs.len())
            && theirs.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
        if sensible { Self(theirs.clone()) } else { Self::random() }
    }

    /// 64 random bits.
    #[must_use]
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 8];
        // Without randomness identifiers repeat; nothing else depends on them.
        let _no_matter = aws_lc_rs::rand::fill(&mut bytes);
        let text = format!("{:016x}", u64::from_be_bytes(bytes));
        Self(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-")))
    }

    /// As it is sent.
    #[must_use]
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As it is logged.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap_or("-")
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
            assert_eq!(Refusal::token("key", &TokenError::new(kind, "why")).title, title);
        }
    }

    #[tokio::test]
    async fn what_callers_are_not_told_is_logged() {
        use http_body_util::BodyExt as _;

        let inner = ExchangeError {
            kind: ExchangeErrorKind::ConnectionRefused,
            detail: "cannot connect to 10.0.0.7:443: refused (os error 111)".into(),
            told: Some("it cannot be connected to".into()),
            resend: crate::upstream::Resend::Never,
        };
        let refusal = Refusal::exchange("api", &inner);
        assert!(refusal.detail().contains("10.0.0.7:443") && refusal.detail().contains("upstream \"api\""));
        let body = refusal.into_response(&RequestId::random(), false).into_body().collect().await.unwrap().to_bytes();
        let told = std::str::from_utf8(&body).unwrap();
        assert!(told.contains("upstream \\\"api\\\": it cannot be connected to"), "{told}");
        assert!(!told.contains("10.0.0.7") && !told.contains("111"), "{told}");
    }
}
