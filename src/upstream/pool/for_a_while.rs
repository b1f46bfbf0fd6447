//! What is known of a server for a while, and then forgotten.

use std::cell::Cell;
use std::time::Duration;

use crate::timer::CoarseInstant;

/// What holds until some moment.
#[derive(Default)]
pub(super) struct ForAWhile(Cell<Option<CoarseInstant>>);

impl ForAWhile {
    pub(super) fn begin(&self, time: Duration) {
        self.0.set(Some(CoarseInstant::now().after(time)));
    }

    pub(super) fn holds(&self) -> bool {
        self.0.get().is_some_and(|until| until > CoarseInstant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer;

    const WHILE: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn what_holds_for_a_while_is_forgotten_then() {
        let ticker = tokio::spawn(timer::drive());
        tokio::task::yield_now().await;
        let http1 = ForAWhile::default();
        assert!(!http1.holds());
        http1.begin(WHILE);
        tokio::time::sleep(WHILE / 2).await;
        assert!(http1.holds());
        tokio::time::sleep(WHILE / 2 + Duration::from_secs(1)).await;
        assert!(!http1.holds());
        ticker.abort();
    }
}
