//! Answers to heads that are no requests, and what the log says of them.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use super::request_id::RequestId;
use crate::listen::{ProxyHeaderError, Unreadable};

/// The whole HTTP/1.1 answer to a head that hyper could not read, or that did not come in time.
pub(crate) fn malformed(why: Unreadable) -> Bytes {
    let status = match why {
        Unreadable::Status(status) => status,
        Unreadable::TwoLengths | Unreadable::RawTarget(_) => StatusCode::BAD_REQUEST,
    };
    let detail = unreadable(why);
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

/// What is wrong with how a connection begins that a proxy in front has made.
pub(super) const fn unreadable_proxy_header(why: ProxyHeaderError) -> &'static str {
    match why {
        ProxyHeaderError::Missing => "it does not begin with a PROXY protocol header",
        ProxyHeaderError::Malformed => "its PROXY protocol header cannot be read, or is not whole",
        ProxyHeaderError::TooLong => {
            "its PROXY protocol header is longer than 107 bytes in version 1, or 4 KiB in version 2"
        }
        ProxyHeaderError::Timeout => "no PROXY protocol header arrived within limits.header_timeout",
    }
}

/// Why a head could not be read, for its caller and the log. Of its text one character at most is told.
pub(super) fn unreadable(why: Unreadable) -> Cow<'static, str> {
    let sentence = match why {
        Unreadable::TwoLengths => "the request has both Content-Length and Transfer-Encoding; send one of them",
        Unreadable::RawTarget(character) => {
            let encoded: String =
                character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
            let shown = match character {
                ' ' => "a blank".to_owned(),
                character if character.is_control() => format!("the character U+{:04X}", u32::from(character)),
                character => format!("the character {character}"),
            };
            return format!("the request target has {shown} in it as it is; write it percent-encoded: {encoded}")
                .into();
        }
        Unreadable::Status(StatusCode::REQUEST_TIMEOUT) => {
            "the request head did not arrive within limits.header_timeout"
        }
        Unreadable::Status(StatusCode::URI_TOO_LONG) => "the request target is too long",
        Unreadable::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            "the request head is larger than limits.header_bytes"
        }
        Unreadable::Status(_) => "the request is not well-formed HTTP/1.1",
    };
    sentence.into()
}
