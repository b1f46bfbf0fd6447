//! The two clocks that a token's life is measured with.
//!
//! The monotonic clock cannot be set back, but on most systems it stands still while the machine sleeps; the wall clock
//! counts through sleep, but can be set. A token is usable only while **both** say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Reads both clocks. A test may shift the wall clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift: Option<Arc<AtomicI64>>,
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Monotonic.
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

impl Clock {
    /// The clocks of the system.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A wall clock that follows the monotonic one, which tests and simulations may pause, plus a shift in seconds.
    pub(crate) fn scripted() -> (Self, Arc<AtomicI64>) {
        let shift = Arc::new(AtomicI64::new(0));
        (Self { shift: Some(Arc::clone(&shift)) }, shift)
    }

    /// Both clocks, now.
    #[must_use]
    pub(crate) fn now(&self) -> Now {
        let instant = Instant::now();
        let wall = match &self.shift {
            None => SystemTime::now(),
            Some(shift) => scripted_wall(instant, shift.load(Ordering::Relaxed)),
        };
        Now { instant, wall }
    }
}

/// A fixed epoch plus what tokio's clock has run, so that paused time moves both clocks alike.
fn scripted_wall(instant: Instant, shift: i64) -> SystemTime {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| instant.into_std());
    let run = instant.into_std().saturating_duration_since(origin);
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000) + run;
    let by = Duration::from_secs(shift.unsigned_abs());
    if shift < 0 { base - by } else { base + by }
}
