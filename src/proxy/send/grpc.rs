//! gRPC tells a refused token in `grpc-status`, under a 200: in the head where there is no message, else in the trailers,
//! when the answer has gone and nothing can be sent again.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// `UNAUTHENTICATED`.
const UNAUTHENTICATED: &str = "16";

/// True for a refusal without a message.
pub(super) fn is_unauthenticated(status: StatusCode, fields: &HeaderMap) -> bool {
    status == StatusCode::OK && says_unauthenticated(fields)
}

pub(super) fn says_unauthenticated(fields: &HeaderMap) -> bool {
    fields.get(&STATUS).is_some_and(|status| status == UNAUTHENTICATED)
}

/// True of the head of an answer whose trailers have the status.
pub(super) fn is_told_in_trailers(fields: &HeaderMap) -> bool {
    let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    fields.get(CONTENT_TYPE).is_some_and(is_grpc) && !fields.contains_key(&STATUS)
}
