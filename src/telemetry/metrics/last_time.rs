//! When something happened last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// To the second. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastTime(Arc<AtomicU64>);

impl LastTime {
    /// It happens now.
    pub(crate) fn note(&self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.store(since.as_secs(), Ordering::Relaxed);
    }

    /// `None` where it has not happened.
    pub(crate) fn get(&self) -> Option<SystemTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
