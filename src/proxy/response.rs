//! Answers to heads that could not be read, before there is a request that anybody could look at.

use bytes::Bytes;
use http::StatusCode;

use crate::listen::Unreadable;
use crate::proxy::error::RequestId;

/// The whole HTTP/1.1 answer to a head that hyper could not read, or that did not come in time.
#[must_use]
pub(crate) fn malformed(why: Unreadable) -> Bytes {
    let (status, detail) = match why {
        Unreadable::Status(status) => (status, malformed_detail(status)),
        Unreadable::TwoLengths => {
            (StatusCode::BAD_REQUEST, "the request has both Content-Length and Transfer-Encoding; send one of them")
        }
    };
    let (id, code) = (RequestId::random(), status.as_u16());
    let reason = status.canonical_reason().unwrap_or("Error");
    let document = serde_json::json!({
        "type": "urn:attache:problem:bad-request",
        "title": "The request is malformed",
        "status": code,
        "detail": detail,
        "request_id": id.text(),
    });
    let body = format!("{document}\n");
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         proxy-status: attache; error=http_request_error\r\nx-request-id: {}\r\nconnection: close\r\ndate: {}\r\n\r\n",
        body.len(),
        id.text(),
        httpdate::fmt_http_date(std::time::SystemTime::now()),
    );
    Bytes::from(head + &body)
}

const fn malformed_detail(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_TIMEOUT => "the request head did not arrive within limits.header_timeout",
        StatusCode::URI_TOO_LONG => "the request target is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request head is larger than limits.header_bytes",
        _ => "the request is not well-formed HTTP/1.1",
    }
}
