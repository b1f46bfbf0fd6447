//! What is known of a token besides, if it is one that replicas share.

use std::sync::Arc;

/// Where a token stands among those of all replicas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shared {
    /// Its number among them; 0 for one that the others do not have.
    pub(crate) generation: u64,
    /// Its fingerprint among them, which takes their key to make.
    pub(crate) mark: Arc<str>,
    pub(crate) origin: Origin,
    /// The replica that obtained it.
    pub(crate) by: Arc<str>,
    /// It was obtained because of a 401.
    pub(crate) after_unauthorized: bool,
    /// In 0..1, and the same for all who have this token: they agree on when its successor is due.
    pub(crate) jitter: f64,
}

/// How a replica came by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// Another one had asked for it.
    Adopted,
    /// It asked, for all.
    Led,
    /// It asked, for itself: the shared cache was away.
    Alone,
}

impl Origin {
    /// The word in logs, metrics and the status.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Led => "led",
            Self::Alone => "alone",
        }
    }
}
