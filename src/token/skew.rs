//! How far the authorization server's clock is from this machine's, by the `Date` of its answers (RFC 9110 section 6.6.1).
//!
//! It is reported and nothing else: lifetimes are counted on this machine's clocks, from when the request was sent, so a
//! wrong `Date` can neither extend a token nor end it. But where `exp` or a signed assertion is compared across both clocks,
//! this is the first thing to look at.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Beyond these seconds it is worth a warning: assertions and `exp` commonly have leeways of half a minute to a minute.
const NOTABLE: u64 = 30;

/// Seconds of skew from which on a refusal of what says a time may be because of it: some servers have no leeway at all.
pub(crate) const FAR_OFF: u64 = 5;

/// What is known of one server's clock.
#[derive(Debug, Default)]
pub(super) struct Skew {
    seconds: Option<i64>,
    warned: bool,
}

impl Skew {
    /// Whole seconds by which the server is ahead; negative where it is behind. `None` before the first `Date`.
    pub(super) const fn seconds(&self) -> Option<i64> {
        self.seconds
    }

    /// Takes an answer's skew in. True if people should be warned: once, and again after it was fine.
    pub(super) const fn note(&mut self, seconds: i64) -> bool {
        self.seconds = Some(seconds);
        let notable = is_notable(seconds);
        let warn = notable && !self.warned;
        self.warned = notable;
        warn
    }
}

/// True if people should be warned of so much skew.
#[must_use]
pub(crate) const fn is_notable(seconds: i64) -> bool {
    seconds.unsigned_abs() > NOTABLE
}

/// Whole seconds by which the server is ahead, by the `Date` of an answer that has just come to a request of that moment.
#[must_use]
pub(crate) fn clock_skew(date: SystemTime, requested_at: Instant) -> i64 {
    let now = SystemTime::now();
    seconds_of_skew(date, now.checked_sub(requested_at.elapsed()).unwrap_or(now), now)
}

/// So much skew, in words: `the server's clock is 90 s behind this machine's`.
#[must_use]
pub(crate) fn skew_in_words(seconds: i64) -> String {
    let side = if seconds > 0 { "ahead of" } else { "behind" };
    format!("the server's clock is {} s {side} this machine's", seconds.unsigned_abs())
}

/// Seconds by which `date` lies outside of the time in which it was written: between sending and receiving, and within the
/// second that it names. So neither a slow answer nor the missing fraction looks like skew.
pub(super) fn seconds_of_skew(date: SystemTime, sent: SystemTime, received: SystemTime) -> i64 {
    if let Ok(ahead) = date.duration_since(received) {
        return i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    }
    let behind = sent.duration_since(date + Duration::from_secs(1)).unwrap_or_default();
    -i64::try_from(behind.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000_000.0 + seconds)
    }

    #[test]
    fn a_date_within_the_exchange_or_the_second_it_names_is_no_skew() {
        for (date, sent, received) in [(0.0, 0.0, 0.0), (0.0, 0.9, 0.95), (5.0, 0.0, 20.0), (-1.0, 0.5, 0.6)] {
            assert_eq!(seconds_of_skew(at(date), at(sent), at(received)), 0, "{date} {sent} {received}");
        }
    }

    #[test]
    fn a_server_ahead_is_positive_and_one_behind_negative() {
        assert_eq!(seconds_of_skew(at(120.0), at(0.0), at(1.0)), 119);
        assert_eq!(seconds_of_skew(at(-120.0), at(0.0), at(1.0)), -119);
        assert_eq!(seconds_of_skew(SystemTime::UNIX_EPOCH, at(0.0), at(1.0)), -999_999);
    }

    #[test]
    fn a_warning_is_due_once_and_again_after_it_was_fine() {
        let mut skew = Skew::default();
        assert_eq!(skew.seconds(), None);
        let due: Vec<bool> = [0, 30, 31, 500, -31, -30, -31, 40].map(|seconds| skew.note(seconds)).into();
        assert_eq!(due, [false, false, true, false, false, false, true, false]);
        assert_eq!(skew.seconds(), Some(40));
    }
}
