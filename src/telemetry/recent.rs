//! The last requests, for the status page. While it is not open, nothing is kept, and a request costs one load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::AccessRecord;
use crate::sync::lock;

/// How many are kept.
const MAX_RECORDS: usize = 100;

/// How long the page counts as open after it has asked.
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A ring of records. A clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct RecentRequests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Milliseconds after the beginning.
    watched_until: AtomicU64,
    records: Mutex<VecDeque<Arc<AccessRecord>>>,
}

impl Default for RecentRequests {
    fn default() -> Self {
        let shared = Shared { began: Instant::now(), watched_until: AtomicU64::new(0), records: Mutex::default() };
        Self(Arc::new(shared))
    }
}

impl RecentRequests {
    /// True while a status page is open.
    #[must_use]
    pub(crate) fn is_watched(&self) -> bool {
        let until = self.0.watched_until.load(Ordering::Relaxed);
        // The clock is not read where none has ever been open.
        until > 0 && self.elapsed() < until
    }

    /// What there is, the newest first; from now on requests are kept for a while.
    #[must_use]
    pub(crate) fn watch(&self) -> Vec<Arc<AccessRecord>> {
        let attention = u64::try_from(WATCH_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        self.0.watched_until.store(self.elapsed() + attention, Ordering::Relaxed);
        self.records().iter().rev().cloned().collect()
    }

    /// Keeps one more, and forgets the oldest.
    pub(crate) fn keep(&self, record: AccessRecord) {
        let mut records = self.records();
        if records.len() == MAX_RECORDS {
            records.pop_front();
        }
        records.push_back(Arc::new(record));
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn records(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<AccessRecord>>> {
        lock(&self.0.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_are_kept_while_the_page_is_open() {
        let recent = RecentRequests::default();
        assert!(!recent.is_watched());
        assert!(recent.watch().is_empty() && recent.is_watched());
        for bytes in 0..150 {
            recent.keep(AccessRecord { bytes, ..AccessRecord::default() });
        }
        let kept = recent.watch();
        assert_eq!((kept.len(), kept[0].bytes, kept[99].bytes), (100, 149, 50));
    }
}
