//! The token that a server returned last.

use tokio::time::Instant;

/// The token that was returned last.
pub(super) struct Handed {
    pub(super) fingerprint: [u8; 32],
    pub(super) expires_at: Instant,
    /// It could be used when it came: not so where a server gives no token any life.
    pub(super) lived: bool,
    /// It has been returned before, with the same end: the next request waits until then.
    pub(super) next_after: Option<Instant>,
}
