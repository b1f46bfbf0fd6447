//! Delays: a bit of chance in them, and how they are told.

use std::time::Duration;

/// A random number in 0..1. Without randomness there is no jitter, and that is all.
pub(super) fn jitter() -> f64 {
    let mut bytes = [0; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// Rounded up: less than a second is not at once.
pub(super) const fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + (time.subsec_nanos() > 0) as u64
}
