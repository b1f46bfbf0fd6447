//! Log lines that could come with every request: the first of a kind is shown, then one in a while, with a count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing more of a kind is shown.
const QUIET: Duration = Duration::from_secs(10);

/// What has been shown of each kind. The kinds are few and fixed in the code: statuses, outcomes.
#[derive(Debug)]
pub struct LogQuota<K>(Mutex<Vec<Shown<K>>>);

#[derive(Debug)]
struct Shown<K> {
    kind: K,
    quiet_until: Instant,
    suppressed: u64,
}

impl<K> Default for LogQuota<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> LogQuota<K> {
    /// The number of lines that were held back since the last one, if a line of this kind is to be shown now.
    #[must_use]
    pub fn take(&self, kind: K) -> Option<u64> {
        self.take_at(kind, Instant::now())
    }

    fn take_at(&self, kind: K, now: Instant) -> Option<u64> {
        // Poisoned or not, these are plain numbers. Only failures come here, and they hold it for a comparison or two.
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = kinds.iter_mut().find(|shown| shown.kind == kind) else {
            kinds.push(Shown { kind, quiet_until: now + QUIET, suppressed: 0 });
            return Some(0);
        };
        if now < shown.quiet_until {
            shown.suppressed += 1;
            return None;
        }
        shown.quiet_until = now + QUIET;
        Some(std::mem::take(&mut shown.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_shown_and_then_one_in_a_while_with_the_number_of_the_others() {
        let (quota, begin) = (LogQuota::default(), Instant::now());
        assert_eq!(quota.take_at(503, begin), Some(0));
        assert_eq!(quota.take_at(502, begin), Some(0), "another kind");
        for second in 1..10 {
            assert_eq!(quota.take_at(503, begin + Duration::from_secs(second)), None);
        }
        assert_eq!(quota.take_at(503, begin + QUIET), Some(9));
        assert_eq!(quota.take_at(503, begin + QUIET), None);
        assert_eq!(quota.take_at(502, begin + QUIET), Some(0));
        assert_eq!(quota.take_at(503, begin + QUIET * 2), Some(1));
    }
}
