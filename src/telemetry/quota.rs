//! Log lines that could come with every request: the first of a kind is shown, then one in a while, with a count.

use crate::sync::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long nothing more of a kind is shown.
const QUIET: Duration = Duration::from_secs(10);

/// Kinds that are told apart at a time. Mostly they are few and fixed in the code (statuses, outcomes); where callers choose
/// them, those beyond are one kind together.
const KINDS: usize = 128;

/// What has been shown of each kind.
#[derive(Debug)]
pub(crate) struct LogQuota<K>(Mutex<Vec<Shown<K>>>);

#[derive(Debug)]
struct Shown<K> {
    /// `None`: whatever there is no room for.
    kind: Option<K>,
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
    pub(crate) fn take(&self, kind: K) -> Option<u64> {
        self.take_at(kind, Instant::now())
    }

    fn take_at(&self, kind: K, now: Instant) -> Option<u64> {
        // Poisoned or not, these are plain numbers. Only failures come here, and they hold it for a comparison or two.
        let mut kinds = lock(&self.0);
        let mut kind = Some(kind);
        if kinds.len() >= KINDS && kinds.iter().all(|shown| shown.kind != kind) {
            kinds.retain(|shown| now < shown.quiet_until || shown.kind.is_none());
            kind = kind.filter(|_| kinds.len() < KINDS);
        }
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

    #[test]
    fn however_many_kinds_there_are_the_lines_and_the_memory_are_bounded() {
        let (quota, begin) = (LogQuota::default(), Instant::now());
        let lines = |from: u32, at| (from..from + 10_000).filter(|kind| quota.take_at(*kind, at).is_some()).count();
        assert_eq!(lines(0, begin), KINDS + 1, "and one for all the others");
        assert!(quota.0.lock().unwrap().len() <= KINDS + 1);
        let later = lines(20_000, begin + QUIET);
        assert!((KINDS - 1..=KINDS + 1).contains(&later), "{later}: those that are quiet make room");
        assert_eq!(quota.take_at(7, begin + QUIET * 3), Some(0), "who has been forgotten is new");
    }
}
