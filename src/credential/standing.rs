//! What people and scripts are told about a credential.

use super::{Credential, Source};
use crate::token::{TokenEvent, TokenStatus};

impl Credential {
    /// For people and scripts.
    #[must_use]
    pub(crate) fn status(&self) -> TokenStatus {
        match &self.source {
            Source::Tokens { cache, .. } => cache.status(),
            Source::Fixed(fixed) => fixed.status(),
            Source::Exchange(exchange) => exchange.status(),
        }
    }

    /// What happened to its tokens in the last hour, the oldest first; nothing for a fixed one, and for one whose tokens are
    /// those of its callers.
    #[must_use]
    pub(crate) fn events(&self) -> Vec<TokenEvent> {
        match &self.source {
            Source::Tokens { cache, .. } => cache.events(),
            Source::Fixed(_) | Source::Exchange(_) => Vec::new(),
        }
    }

    /// It expires, and is asked for again: not so a fixed one.
    #[must_use]
    pub(crate) const fn is_obtained(&self) -> bool {
        matches!(self.source, Source::Tokens { .. })
    }
}
