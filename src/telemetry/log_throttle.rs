//! Log lines that could come with every request: the first of a kind is shown, then one in a while, with a count.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long nothing more of a kind is shown, where the caller does not say.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// Kinds that are told apart at a time. Mostly they are few and fixed in the code (statuses, outcomes); where callers choose
/// them, those beyond are one kind together.
const MAX_KINDS: usize = 128;

/// What has been shown of each kind; `()` where there is one.
#[derive(Debug)]
pub(crate) struct LogThrottle<K = ()>(Mutex<Vec<Shown<K>>>);

#[derive(Debug)]
struct Shown<K> {
    /// `None`: all kinds that there is no room for.
    kind: Option<K>,
    quiet_until: Instant,
    suppressed: u64,
}

impl<K> Default for LogThrottle<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> LogThrottle<K> {
    /// The number of lines that were held back since the last one, if a line of this kind is to be shown now.
    #[must_use]
    pub(crate) fn take(&self, kind: K) -> Option<u64> {
        self.take_for(kind, QUIET_PERIOD)
    }

    /// The same, with this time until the next line of the kind.
    #[must_use]
    pub(crate) fn take_for(&self, kind: K, quiet: Duration) -> Option<u64> {
        self.take_at(kind, quiet, Instant::now())
    }

    fn take_at(&self, kind: K, quiet: Duration, now: Instant) -> Option<u64> {
        // Only failures come here, and they hold the lock for a comparison or two.
        let mut kinds = lock(&self.0);
        let mut kind = Some(kind);
        if kinds.len() >= MAX_KINDS && kinds.iter().all(|shown| shown.kind != kind) {
            kinds.retain(|shown| now < shown.quiet_until || shown.kind.is_none());
            kind = kind.filter(|_| kinds.len() < MAX_KINDS);
        }
        let Some(shown) = kinds.iter_mut().find(|shown| shown.kind == kind) else {
            kinds.push(Shown { kind, quiet_until: now + quiet, suppressed: 0 });
            return Some(0);
        };
        if now < shown.quiet_until {
            shown.suppressed += 1;
            return None;
        }
        shown.quiet_until = now + quiet;
        Some(std::mem::take(&mut shown.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_shown_and_then_one_in_a_while_with_the_number_of_the_others() {
        let (throttle, begin) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.take_at(503, QUIET_PERIOD, begin), Some(0));
        assert_eq!(throttle.take_at(502, QUIET_PERIOD, begin), Some(0), "another kind");
        for second in 1..10 {
            assert_eq!(throttle.take_at(503, QUIET_PERIOD, begin + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.take_at(503, QUIET_PERIOD, begin + QUIET_PERIOD), Some(9));
        assert_eq!(throttle.take_at(503, QUIET_PERIOD, begin + QUIET_PERIOD), None);
        assert_eq!(throttle.take_at(502, QUIET_PERIOD, begin + QUIET_PERIOD), Some(0));
        assert_eq!(throttle.take_at(503, QUIET_PERIOD, begin + QUIET_PERIOD * 2), Some(1));
    }

    #[test]
    fn however_many_kinds_there_are_the_lines_and_the_memory_are_bounded() {
        let (throttle, begin) = (LogThrottle::default(), Instant::now());
        let lines = |from: u32, at| {
            (from..from + 10_000).filter(|kind| throttle.take_at(*kind, QUIET_PERIOD, at).is_some()).count()
        };
        assert_eq!(lines(0, begin), MAX_KINDS + 1, "and one for all the others");
        assert!(throttle.0.lock().unwrap().len() <= MAX_KINDS + 1);
        let later = lines(20_000, begin + QUIET_PERIOD);
        assert!((MAX_KINDS - 1..=MAX_KINDS + 1).contains(&later), "{later}: those that are quiet make room");
        assert_eq!(
            throttle.take_at(7, QUIET_PERIOD, begin + QUIET_PERIOD * 3),
            Some(0),
            "a kind that has been forgotten is new"
        );
    }

    #[test]
    fn the_time_until_the_next_line_may_differ_from_line_to_line() {
        let (throttle, begin) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.take_at((), Duration::ZERO, begin), Some(0), "for the first time");
        assert_eq!(throttle.take_at((), Duration::from_secs(3600), begin), Some(0), "the quiet is over");
        assert_eq!(throttle.take_at((), Duration::ZERO, begin), None);
        assert_eq!(
            throttle.take_at((), Duration::ZERO, begin),
            None,
            "a line that is held back prolongs nothing and ends nothing"
        );
    }
}
