//! What came back from an authorization server, before anything is made of it.

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// An answer as it came, whatever its status.
pub(super) struct Answer<'a> {
    /// Who answered, for the sentences.
    pub(super) host: &'a str,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// When the request was sent.
    pub(super) requested_at: Instant,
}
