//! The last requests, for the status page and `attache tail`. While neither looks, nothing is kept, and a request costs one load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::AccessRecord;
use crate::sync::lock;

/// How many are kept: a second of a busy proxy, in about a megabyte; fewer where they are long.
const MAX_REQUESTS: usize = 1000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a page or a command counts as looking after it has asked.
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// What people are told of a request beyond the access log.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RecentRequest {
    /// Its number: later ones have greater ones.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) record: AccessRecord,
    /// Why attache refused it or failed, as the caller was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Each time that it went out.
    pub(crate) tries: Vec<Try>,
    /// The caller's fields. A value that could be a secret is masked.
    pub(crate) fields: Vec<(String, String)>,
}

/// One time that a request went out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Try {
    /// Milliseconds after the head had come.
    pub(crate) began_ms: f64,
    /// Until the head of the answer, or the failure.
    pub(crate) took_ms: f64,
    /// Of it, the wait for a connection, where there was one.
    pub(crate) connect_ms: Option<f64>,
    /// Of the answer.
    pub(crate) status: Option<u16>,
    /// Why there was none.
    pub(crate) failure: Option<String>,
}

/// A ring of requests. A clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct RecentRequests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Milliseconds after the beginning.
    watched_until: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// How many there have been.
    count: u64,
    requests: VecDeque<Arc<RecentRequest>>,
    bytes: usize,
}

/// What has come since the last question.
#[derive(Debug, Serialize)]
pub(crate) struct Batch {
    /// The oldest first.
    pub(crate) requests: Vec<Arc<RecentRequest>>,
    /// What to ask for next.
    pub(crate) next: u64,
    /// Some that came in between are not kept any more.
    pub(crate) missed: u64,
}

impl RecentRequest {
    /// About what it takes.
    fn size(&self) -> usize {
        let AccessRecord { host, path, method, request_id, .. } = &self.record;
        let texts = host.len() + path.len() + method.len() + request_id.len();
        let fields: usize =
            self.fields.iter().map(|(name, value)| name.len() + value.len() + size_of::<(String, String)>()).sum();
        let failures = self.tries.iter().map(|one| one.failure.as_ref().map_or(0, String::len) + size_of::<Try>());
        size_of::<Self>() + texts + fields + failures.sum::<usize>() + self.reason.as_ref().map_or(0, String::len)
    }
}

impl Default for RecentRequests {
    fn default() -> Self {
        let shared = Shared { began: Instant::now(), watched_until: AtomicU64::new(0), ring: Mutex::default() };
        Self(Arc::new(shared))
    }
}

impl RecentRequests {
    /// True while a page or a command looks.
    #[must_use]
    pub(crate) fn is_watched(&self) -> bool {
        let until = self.0.watched_until.load(Ordering::Relaxed);
        // The clock is not read where none has ever looked.
        until > 0 && self.elapsed() < until
    }

    /// What has come since `next` of the batch before, or everything there is; from now on requests are kept for a while.
    #[must_use]
    pub(crate) fn watch(&self, since: Option<u64>) -> Batch {
        let attention = u64::try_from(WATCH_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        self.0.watched_until.store(self.elapsed() + attention, Ordering::Relaxed);
        let ring = self.ring();
        let oldest = ring.count - ring.requests.len() as u64;
        // A number from before a restart belongs to another process.
        let since = since.filter(|since| *since <= ring.count);
        let from = since.unwrap_or(oldest).max(oldest);
        let known = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let requests = ring.requests.iter().skip(known).cloned().collect();
        Batch { requests, next: ring.count, missed: since.map_or(0, |since| from - since) }
    }

    /// Keeps one more, and forgets the oldest.
    pub(crate) fn keep(&self, request: RecentRequest) {
        let mut ring = self.ring();
        ring.bytes += request.size();
        while ring.requests.len() == MAX_REQUESTS || (ring.bytes > MAX_BYTES && !ring.requests.is_empty()) {
            let oldest = ring.requests.pop_front();
            ring.bytes -= oldest.map_or(0, |oldest| oldest.size());
        }
        ring.count += 1;
        let id = ring.count;
        ring.requests.push_back(Arc::new(RecentRequest { id, ..request }));
    }

    /// Lets go of what is kept, unless a page or a command looks.
    pub(super) fn forget_unwatched(&self) {
        if !self.is_watched() {
            let mut ring = self.ring();
            (ring.requests, ring.bytes) = (VecDeque::new(), 0);
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.0.ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_are_kept_while_a_page_looks() {
        let recent = RecentRequests::default();
        assert!(!recent.is_watched());
        assert!(recent.watch(None).requests.is_empty() && recent.is_watched());
        (0..1500).for_each(|_| recent.keep(RecentRequest::default()));
        let kept = recent.watch(None);
        assert_eq!((kept.requests.len(), kept.requests[0].id, kept.requests[999].id), (1000, 501, 1500));
        assert_eq!((kept.next, kept.missed), (1500, 0));
    }

    #[test]
    fn long_requests_are_kept_within_a_bound_of_bytes_and_none_while_nothing_looks() {
        let recent = RecentRequests::default();
        let long = || RecentRequest { reason: Some("x".repeat(64 * 1024)), ..RecentRequest::default() };
        (0..100).for_each(|_| recent.keep(long()));
        let kept = recent.watch(None).requests.len();
        assert!((50..64).contains(&kept), "{kept}");
        recent.forget_unwatched();
        assert_eq!(recent.watch(None).requests.len(), kept, "a page looks");
        recent.0.watched_until.store(0, Ordering::Relaxed);
        recent.forget_unwatched();
        assert!(recent.watch(None).requests.is_empty());
    }

    #[test]
    fn who_asks_again_gets_what_is_new_and_learns_what_was_missed() {
        let recent = RecentRequests::default();
        recent.keep(RecentRequest::default());
        let first = recent.watch(None);
        recent.keep(RecentRequest::default());
        let second = recent.watch(Some(first.next));
        assert_eq!((second.requests.len(), second.requests[0].id, second.missed), (1, 2, 0));
        assert!(recent.watch(Some(second.next)).requests.is_empty());
        (0..1200).for_each(|_| recent.keep(RecentRequest::default()));
        assert_eq!(recent.watch(Some(second.next)).missed, 200);
        assert_eq!(recent.watch(Some(u64::MAX)).requests.len(), 1000, "a number of another run");
    }
}
