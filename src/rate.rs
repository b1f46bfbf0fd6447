//! So many a second: one bucket, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The generic cell rate algorithm: one number, the moment up to which requests are paid for.
#[derive(Debug)]
pub(crate) struct RateLimit {
    start: Instant,
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds' worth that may come at once.
    burst: u64,
    paid_until: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl RateLimit {
    /// So many requests per second; a second's worth may come at once.
    #[must_use]
    pub(crate) fn new(per_second: u32) -> Self {
        Self::with_burst(per_second, per_second)
    }

    /// So many requests per second, of which so many may come at once.
    #[must_use]
    pub(crate) fn with_burst(per_second: u32, burst: u32) -> Self {
        let cost = SECOND / u64::from(per_second.max(1));
        Self { start: Instant::now(), cost, burst: cost * u64::from(burst.max(1)), paid_until: AtomicU64::new(0) }
    }

    /// Takes one request's worth.
    ///
    /// # Errors
    /// How long until there is room again.
    pub(crate) fn admit(&self) -> Result<(), Duration> {
        self.admit_at(self.now())
    }

    /// Whether one would be admitted now; takes nothing.
    ///
    /// # Errors
    /// How long until one would.
    pub(crate) fn wait(&self) -> Result<(), Duration> {
        let now = self.now();
        self.next(self.paid_until.load(Ordering::Relaxed), now).map(drop)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Until when one more would be paid for.
    fn next(&self, paid: u64, now: u64) -> Result<u64, Duration> {
        let (next, most) = (paid.max(now) + self.cost, now + self.burst);
        if next > most { Err(Duration::from_nanos(next - most)) } else { Ok(next) }
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        let mut paid = self.paid_until.load(Ordering::Relaxed);
        loop {
            let next = self.next(paid, now)?;
            match self.paid_until.compare_exchange_weak(paid, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => paid = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_burst_and_then_the_rate() {
        let limit = RateLimit::new(10);
        let at = |millis: u64| millis * 1_000_000;
        for _ in 0..10 {
            assert!(limit.admit_at(at(0)).is_ok());
        }
        assert_eq!(limit.admit_at(at(0)), Err(Duration::from_millis(100)));
        assert!(limit.admit_at(at(100)).is_ok());
        assert!(limit.admit_at(at(150)).is_err());
    }

    #[test]
    fn more_than_a_seconds_worth_may_come_at_once_and_asking_takes_nothing() {
        let limit = RateLimit::with_burst(1, 3);
        for _ in 0..3 {
            assert_eq!(limit.wait(), Ok(()));
            assert!(limit.admit_at(0).is_ok());
        }
        assert_eq!(limit.admit_at(0), Err(Duration::from_secs(1)));
        assert_eq!(limit.next(limit.paid_until.load(Ordering::Relaxed), 0), Err(Duration::from_secs(1)));
        assert!(limit.admit_at(SECOND).is_ok());
    }
}
