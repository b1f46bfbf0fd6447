//! How long it is until the next dial.

use std::time::Duration;

use super::fault::Loss;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// 0.25 s, doubled with each failure, 5 s at most; a fifth more or less, so that a fleet does not dial at the same moment.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// After a dial that brought no connection.
    pub(super) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.delay()
    }

    /// After the loss of a connection that served for so long. One that is lost at once counts as a dial that failed, or a server
    /// that greets and then does nothing would cost a timeout four times a second. A refused question is an answer, and lengthens
    /// nothing.
    pub(super) fn lost(&mut self, loss: &Loss, served: Duration) -> Duration {
        if served >= LONGEST {
            self.failures = 0;
        }
        match loss {
            Loss::Timeout | Loss::Closed => self.failed(),
            // It is known where to go; twice in a row it is not.
            Loss::Moved(Some(_)) if self.failures == 0 => {
                self.failures = 1;
                Duration::ZERO
            }
            _ => {
                self.failures = 1;
                self.delay()
            }
        }
    }

    fn delay(&self) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.saturating_sub(1)));
        doubled.min(LONGEST).mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;
    const FOR_LONG: Duration = Duration::from_mins(1);

    fn is_about(delay: Duration, seconds: f64) -> bool {
        (0.8 * seconds..=1.2 * seconds).contains(&delay.as_secs_f64())
    }

    #[test]
    fn dials_that_fail_are_made_less_and_less_often_down_to_every_five_seconds() {
        let mut back_off = BackOff::default();
        for seconds in [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0] {
            let delay = back_off.failed();
            assert!(is_about(delay, seconds), "{delay:?} instead of {seconds}");
        }
        for _ in 0..100 {
            back_off.failed();
        }
        assert!(is_about(back_off.failed(), 5.0));
    }

    #[test]
    fn a_connection_that_served_begins_anew_and_one_that_is_lost_at_once_does_not() {
        let mut back_off = BackOff::default();
        for _ in 0..4 {
            back_off.failed();
        }
        assert!(is_about(back_off.lost(&Loss::Timeout, AT_ONCE), 4.0));
        assert!(is_about(back_off.lost(&Loss::Timeout, FOR_LONG), 0.25));
        assert!(is_about(back_off.lost(&Loss::Closed, AT_ONCE), 0.5));
    }

    #[test]
    fn refused_questions_lengthen_nothing() {
        let mut back_off = BackOff::default();
        for loss in [Loss::ReadOnly, Loss::NotReady, Loss::Unauthenticated, Loss::ReadOnly] {
            assert!(is_about(back_off.lost(&loss, AT_ONCE), 0.25));
        }
        for _ in 0..6 {
            back_off.failed();
        }
        assert!(is_about(back_off.lost(&Loss::ReadOnly, AT_ONCE), 0.25));
    }

    #[test]
    fn a_key_that_has_moved_is_followed_at_once_and_not_in_circles() {
        let mut back_off = BackOff::default();
        let moved = Loss::Moved(None);
        assert!(is_about(back_off.lost(&moved, FOR_LONG), 0.25), "where to is not known");
        let node = crate::store::StoreAddress::Tcp { host: "a.test".into(), port: 1 };
        let moved = Loss::Moved(Some(node));
        assert_eq!(back_off.lost(&moved, FOR_LONG), AT_ONCE);
        assert!(is_about(back_off.lost(&moved, AT_ONCE), 0.25));
    }
}
