//! The end of the program, as the admin API sees it: it is asked for here, and has begun elsewhere.

use tokio_util::sync::CancellationToken;

/// Two events that happen once each. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping {
    asked: CancellationToken,
    begun: CancellationToken,
}

impl Stopping {
    /// `begun` is cancelled by the program itself when its callers are to go elsewhere.
    pub(crate) fn beginning_with(begun: CancellationToken) -> Self {
        Self { asked: CancellationToken::new(), begun }
    }

    /// Asks for the end. The one that runs the program hears of it, and drains.
    pub(super) fn ask(&self) {
        self.asked.cancel();
    }

    /// Ready once the end was asked for.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// True from the moment that callers are to go elsewhere.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }
}
