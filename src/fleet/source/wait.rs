//! Waiting for the replica that asks.

use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::Instant;

use super::asking::{Asking, LEASE};
use crate::fleet::metrics::WaitOutcome;
use crate::token::jitter;

/// Between two questions: a quarter of the time that has passed, within these bounds.
const PART: u32 = 4;
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(250);
/// So many replicas may ask as often as that; more of them ask less often.
const CROWD: u32 = 1000;

/// After a message, so that not all ask at one moment.
const AFTER_NEWS: Duration = Duration::from_millis(20);

/// The wait of one question, from the first time that there was something to wait for.
pub(super) struct Waiting<'a, 's> {
    asking: &'a Asking<'s>,
    news: watch::Receiver<u64>,
    began: Option<Instant>,
}

impl<'a, 's> Waiting<'a, 's> {
    pub(super) fn none(asking: &'a Asking<'s>) -> Self {
        Self { asking, news: asking.entry.news.subscribe(), began: None }
    }

    /// Waits for a moment; another replica has been asking `since` then. False where that has taken too long in all: longer than
    /// asking itself could have taken, and after a leader's silence.
    pub(super) async fn pause(&mut self, since: Duration) -> bool {
        let now = self.asking.clock.now().instant;
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) > self.asking.longest_lease + LEASE {
            return false;
        }
        let control = &self.asking.replica.control;
        let gap = gap(since, self.asking.replica.replicas()).mul_f64(0.8 + 0.4 * jitter());
        let news = std::pin::pin!(self.news.changed());
        let over = std::pin::pin!(control.sleep(gap));
        if let Either::Left((Ok(()), _)) = select(news, over).await {
            control.sleep(AFTER_NEWS.mul_f64(jitter())).await;
        }
        true
    }

    /// Counts the wait, if there was one.
    pub(super) fn ended(&mut self, outcome: WaitOutcome) {
        if let Some(began) = self.began.take() {
            let took = self.asking.clock.now().instant.saturating_duration_since(began);
            self.asking.replica.metrics.waited(&self.asking.credential.name, took, outcome);
        }
    }
}

/// Who has waited for long can wait a bit longer.
fn gap(since: Duration, replicas: u32) -> Duration {
    let shortest = SHORTEST * replicas.div_ceil(CROWD).max(1);
    (since / PART).clamp(shortest.min(LONGEST), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_between_questions_grows_with_the_wait_and_with_the_crowd() {
        let of = |since, replicas| gap(Duration::from_millis(since), replicas).as_millis();
        assert_eq!([of(0, 1), of(100, 1), of(400, 1), of(2000, 1)], [20, 25, 100, 250]);
        assert_eq!([of(0, 1000), of(0, 5000), of(0, 100_000)], [20, 100, 250]);
    }
}
