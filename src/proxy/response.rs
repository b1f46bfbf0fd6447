//! Answers on their way to the caller: the last touch for an upstream's, and the one place that makes answers of failures.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::body::response::CallerBody;
use super::context::{RequestContext, TraceIds};
use super::error::ProxyError;
use super::outcome::Outcome;
use super::request_id::{REQUEST_ID, RequestId};
use crate::route::Route;
use crate::runtime::ListenerRuntime;
use crate::telemetry::UNMATCHED;

/// W3C Server Timing.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The answer as the caller's version of HTTP has it, and with the id that its request left with. Takes the context along.
pub(crate) fn respond(
    mut ctx: RequestContext,
    request_id: Option<HeaderValue>,
    mut response: Response<CallerBody>,
) -> Response<CallerBody> {
    ctx.note_answer(response.status());
    if let Some(id) = request_id {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
    // hyper writes the version of its own connection; what came from upstream must not downgrade it.
    *response.version_mut() = ctx.version;
    // RFC 9112 section 9.3: no persistent connection with an HTTP/1.0 client.
    if ctx.version == Version::HTTP_10 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().carry(ctx);
    response
}

/// The head of a configured upstream's answer is there; `Server-Timing` says how long that took, where it is wanted.
pub(crate) fn note_upstream(ctx: &mut RequestContext, route: &Route, outcome: Outcome, headers: &mut HeaderMap) {
    if let Some(timing) = ctx.note_upstream(route, outcome) {
        // The upstream may have said something of its own.
        headers.append(SERVER_TIMING, timing);
    }
}

/// A failure is counted, logged once, and made an answer.
pub(crate) fn respond_with_error(
    mut ctx: RequestContext,
    listener: &ListenerRuntime,
    error: &ProxyError,
    request_id: &RequestId,
) -> Response<CallerBody> {
    note_error(&mut ctx, listener, error, request_id);
    let mut response = error_response(error, request_id, ctx.must_close());
    response.body_mut().carry(ctx);
    response
}

/// Counts and logs a failure. Of many of a kind, most are logged at debug.
pub(crate) fn note_error(
    ctx: &mut RequestContext,
    listener: &ListenerRuntime,
    error: &ProxyError,
    request_id: &RequestId,
) {
    ctx.note_error(error, request_id);
    let at = error.route.as_deref();
    let metrics = at.map_or(&listener.metrics, |at| &at.metrics);
    ctx.count(metrics, error.outcome(), error.status());
    if error.is_of_full_pool() {
        metrics.upstream.exhausted.inc();
    }
    // Why there is no token is told of the credential.
    if error.is_of_upstream() {
        metrics.note_failure(error.status().as_u16(), error.detail());
    }
    let upstream = at.map_or(UNMATCHED, |at| at.route.name());
    let status = error.status().as_u16();
    let shown = at.map_or(&listener.refusals, |at| &at.refusals).take(status);
    let (listener, request_id, detail) = (&listener.name, request_id.text(), error.detail());
    let TraceIds { trace_id, span_id } = ctx.trace();
    let is_denied = error.outcome() == Outcome::Denied;
    let word = if is_denied { "refused" } else { "failed" };
    match shown {
        None => {
            tracing::debug!(target: "attache::proxy", %listener, upstream, status, request_id, trace_id, span_id, "{word}: {detail}");
        }
        Some(suppressed) if is_denied => {
            tracing::info!(target: "attache::proxy", %listener, upstream, status, request_id, trace_id, span_id, suppressed, "{word}: {detail}");
        }
        Some(suppressed) => {
            tracing::warn!(target: "attache::proxy", %listener, upstream, status, request_id, trace_id, span_id, suppressed, "{word}: {detail}");
        }
    }
}

/// A problem document (RFC 9457).
pub(crate) fn error_response(error: &ProxyError, request_id: &RequestId, close: bool) -> Response<CallerBody> {
    let row = error.kind.row();
    let mut document = serde_json::json!({
        "type": format!("urn:attache:problem:{}", row.problem),
        "title": row.title,
        "status": row.status.as_u16(),
        "detail": error.sentence(),
        "request_id": request_id.text(),
    });
    if let (Some(code), Some(members)) = (&error.oauth_error, document.as_object_mut()) {
        members.insert("oauth_error".into(), (**code).into());
    }
    let mut response = Response::new(CallerBody::own(Bytes::from(format!("{document}\n"))));
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(PROXY_STATUS, proxy_status(row.proxy_status));
    headers.insert(REQUEST_ID, request_id.value());
    if let Some(after) = error.retry_after {
        // Rounded up: a caller that comes back exactly then must not come too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if row.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    // Without the charset other programs would guess one (RFC 7617 section 2.1).
    let challenge = HeaderValue::from_static("Basic realm=\"attache\", charset=\"UTF-8\"");
    match row.status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => drop(headers.insert(PROXY_AUTHENTICATE, challenge)),
        StatusCode::UNAUTHORIZED => drop(headers.insert(WWW_AUTHENTICATE, challenge)),
        _ => {}
    }
    if error.close || close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn proxy_status(error: &'static str) -> HeaderValue {
    HeaderValue::from_str(&format!("attache; error={error}")).unwrap_or(HeaderValue::from_static("attache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{ExchangeError, ExchangeErrorKind, Resend};

    #[tokio::test]
    async fn what_callers_are_not_told_is_logged() {
        use http_body_util::BodyExt as _;

        let inner = ExchangeError {
            kind: ExchangeErrorKind::ConnectionRefused,
            detail: "cannot connect to 10.0.0.7:443: refused (os error 111)".into(),
            caller_message: Some("it cannot be connected to".into()),
            resend: Resend::Never,
        };
        let error = ProxyError::exchange("api", &inner);
        assert!(error.detail().contains("10.0.0.7:443") && error.detail().contains("upstream \"api\""));
        let response = error_response(&error, &RequestId::random(), false);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("upstream \\\"api\\\": it cannot be connected to"), "{text}");
        assert!(!text.contains("10.0.0.7") && !text.contains("111"), "{text}");
    }
}
