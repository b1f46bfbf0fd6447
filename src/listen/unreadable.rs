//! What is wrong with a head that is no request.

use http::StatusCode;

/// Why a request head could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is answered with this status.
    Status(StatusCode),
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.3): 400.
    TwoLengths,
    /// This character of its target has to be percent-encoded: 400.
    RawTarget(char),
}
