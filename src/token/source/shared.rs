//! What is known of a token besides, if it is one that replicas share.

use std::sync::Arc;

/// Where a token stands among those of all replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// Its number among them; 0 for one that the others do not have.
    pub generation: u64,
    /// Its fingerprint among them, which takes their key to make.
    pub mark: Arc<str>,
    /// How this replica came by it.
    pub origin: TokenOrigin,
    /// The replica that obtained it.
    pub by: Arc<str>,
    /// It was obtained because of a 401.
    pub after_unauthorized: bool,
    /// In 0..1, and the same for all who have this token: they agree on when its successor is due.
    pub jitter: f64,
}

/// How a replica came by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenOrigin {
    /// Another one had asked for it.
    Adopted,
    /// It asked, for all.
    Led,
    /// It asked, for itself: the shared cache was away.
    Alone,
}

impl TokenOrigin {
    pub(crate) const ALL: [Self; 3] = [Self::Adopted, Self::Led, Self::Alone];

    /// The word in logs, metrics and the status.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Led => "led",
            Self::Alone => "alone",
        }
    }
}
