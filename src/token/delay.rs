//! How long it is until another try: exponential back-off, less a bit of chance.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::error::TokenError;

/// The delays after one failure and the next. Boxed, as most credentials have none.
#[derive(Default)]
pub(super) struct BackOff(Option<(bool, Box<ExponentialBackoff>)>);

impl BackOff {
    /// Exponential from 1 s to 60 s, or from 30 s to 10 min where only a person can mend it, less up to a fifth; the server's own
    /// word goes before that.
    pub(super) fn next(&mut self, error: &TokenError) -> Duration {
        let permanent = error.kind.is_permanent();
        if self.0.as_ref().is_none_or(|(kind, _)| *kind != permanent) {
            self.0 = Some((permanent, Box::new(delays(permanent))));
        }
        let delay = self.0.as_mut().and_then(|(_, delays)| delays.next()).unwrap_or(Duration::from_secs(60));
        error.retry_after.unwrap_or_else(|| delay.mul_f64(1.0 - 0.2 * jitter()))
    }
}

/// After so many failures in a row before this one.
pub(crate) fn back_off(error: &TokenError, before: u32) -> Duration {
    let before = usize::try_from(before).unwrap_or(usize::MAX).min(16);
    let delay = delays(error.kind.is_permanent()).nth(before).unwrap_or(Duration::from_secs(60));
    error.retry_after.unwrap_or(delay)
}

fn delays(permanent: bool) -> ExponentialBackoff {
    let (min, max) = if permanent { (30, 600) } else { (1, 60) };
    let builder = ExponentialBuilder::new().with_min_delay(Duration::from_secs(min));
    builder.with_max_delay(Duration::from_secs(max)).with_factor(2.0).without_max_times().build()
}

/// Before the quick retry of a token request: 100 to 300 ms.
pub(super) fn before_quick_retry() -> Duration {
    Duration::from_millis(100) + Duration::from_millis(200).mul_f64(jitter())
}

/// A random number in 0..1, so that many programs do not ask at the same moment.
pub(crate) fn jitter() -> f64 {
    fastrand::f64()
}

/// Rounded up: less than a second is not at once.
pub(crate) const fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + (time.subsec_nanos() > 0) as u64
}
