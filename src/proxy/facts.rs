//! What is still needed of a request once it has been taken apart, and the last touch for its answer.

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body as _;

use crate::listen::Incoming;
use crate::proxy::body::CallerBody;

/// What is still needed of the request once it has been taken apart.
#[derive(Clone, Copy)]
pub(super) struct CallerFacts {
    version: Version,
    has_body: bool,
}

impl CallerFacts {
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        Self { version: request.version(), has_body: !request.body().is_end_stream() }
    }

    /// A request that is answered before its body has been read ends an HTTP/1 connection (RFC 9112 section 9.3).
    pub(super) fn must_close(self) -> bool {
        self.version == Version::HTTP_10 || (self.version == Version::HTTP_11 && self.has_body)
    }
}

/// The last touch for the version that the caller speaks.
pub(super) fn finish(mut response: Response<CallerBody>, caller: CallerFacts) -> Response<CallerBody> {
    // hyper writes the version of its own connection; what came from upstream must not downgrade it.
    *response.version_mut() = caller.version;
    // RFC 9112 section 9.3: no persistent connection with an HTTP/1.0 client.
    if caller.version == Version::HTTP_10 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
