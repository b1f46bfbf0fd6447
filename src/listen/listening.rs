//! Where listeners really listen, for whoever asks; a reload changes it.

use std::sync::{Arc, PoisonError, RwLock};

use super::ListenAddress;

/// Every listener's real address. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub struct Listening(Arc<RwLock<Vec<ListeningAt>>>);

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningAt {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is bound; never port 0.
    pub address: ListenAddress,
    /// `forward`, `reverse`, …; `admin`.
    pub mode: &'static str,
}

impl Listening {
    /// All of them, in the configuration's order.
    #[must_use]
    pub fn all(&self) -> Vec<ListeningAt> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a start or a reload.
    pub fn replace(&self, all: Vec<ListeningAt>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
