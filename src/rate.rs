//! So many requests per second: one bucket, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The generic cell rate algorithm: one number, the moment up to which requests are paid for. A second's worth may come
/// at once.
#[derive(Debug)]
pub struct RateLimit {
    start: Instant,
    /// Nanoseconds that one request costs.
    cost: u64,
    paid_until: AtomicU64,
}

const BURST: u64 = 1_000_000_000;

impl RateLimit {
    /// So many requests per second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { start: Instant::now(), cost: BURST / u64::from(per_second.max(1)), paid_until: AtomicU64::new(0) }
    }

    /// Takes one request's worth.
    ///
    /// # Errors
    /// How long until there is room again.
    pub fn admit(&self) -> Result<(), Duration> {
        self.admit_at(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        let mut paid = self.paid_until.load(Ordering::Relaxed);
        loop {
            let next = paid.max(now) + self.cost;
            if next > now + BURST {
                return Err(Duration::from_nanos(next - now - BURST));
            }
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
}
