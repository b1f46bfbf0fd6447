//! What an error of HTTP/2 means for the request that met it.

use std::error::Error as _;

/// The outcome of a request whose stream, or whose connection, ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http2Fault {
    /// Its server has not processed it and says so (RFC 9113 section 8.7): whatever its method, it may be sent again.
    Unprocessed,
    /// The same, because its connection takes no more requests (section 6.8); another may.
    GoingAway,
    /// The same, and it has to be sent over HTTP/1.1 (RFC 9113 section 7, `HTTP_1_1_REQUIRED`): for some servers a client
    /// certificate does not go with HTTP/2.
    Http11Required,
    /// What came is no HTTP/2 that can be relied on, so this side has ended it.
    Malformed,
    /// This side has given the request up, because its body broke off.
    Body,
    /// Anything else: nobody knows whether it was processed.
    Broken,
}

impl Http2Fault {
    /// Sorts an error of hyper's client.
    #[must_use]
    pub(crate) fn of_hyper(error: &hyper::Error) -> Self {
        error.source().and_then(|source| source.downcast_ref::<h2::Error>()).map_or(Self::Broken, Self::of)
    }

    /// Sorts an error.
    #[must_use]
    pub(crate) fn of(error: &h2::Error) -> Self {
        match error.reason() {
            Some(h2::Reason::HTTP_1_1_REQUIRED) if error.is_remote() => Self::Http11Required,
            Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Self::Unprocessed,
            // A GOAWAY ends those streams alone that are above the last one it names. The others go on.
            _ if error.is_remote() && error.is_go_away() => Self::GoingAway,
            _ if error.is_library() => Self::Malformed,
            _ if error.is_reset() && !error.is_remote() => Self::Body,
            _ => Self::Broken,
        }
    }
}
