//! How many token requests a cache may send: servers bill tokens, or limit them.
//!
//! Every request counts, the quick retry, a forced refresh and `Bypass` too, whatever comes of it. The window slides: in
//! **no** stretch of its length are more than `requests` sent. (A token bucket that may be full at the start of a window
//! sends up to twice as many.) Times are remembered for it, one by one up to [`GRAINS`] requests, and beyond that in
//! grains of a sixteenth of the window, each of which counts until its last request has left it: so memory is bounded, and
//! the error is on the side of asking less. The clock is the monotonic one, which stands still while the machine sleeps.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::control;

/// Into how many grains a window is divided.
const GRAINS: u32 = 16;

/// What a window can touch: all of its grains, the rest of one that is leaving, and the one that begins.
const MAX_GRAINS: u32 = GRAINS + 2;

/// `budget`: at most so many token requests in any stretch of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// At least one.
    pub requests: u32,
    /// The window.
    pub per: Duration,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            86_400 => "d",
            seconds => return write!(f, "{}/{seconds}s", self.requests),
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

/// What has been spent of a budget, by one cache or by several that share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent(Arc<Mutex<Ledger>>);

impl Spent {
    /// Counts a request that is sent now, unless it would be one too many.
    pub(super) fn admit(&self, budget: Budget, now: Instant) -> Admission {
        control::lock(&self.0).admit(budget, now)
    }

    /// Counts a request that has been admitted by who has the ledger of all replicas, where so many are `used`. These, if a
    /// warning is due.
    pub(super) fn note(&self, budget: Budget, used: u32, now: Instant) -> Option<u32> {
        control::lock(&self.0).note(budget, used, now)
    }
}

/// What was sent in the window that ends now. There may be thousands of these: times are nanoseconds since the first.
#[derive(Debug, Default)]
struct Ledger {
    began: Option<Instant>,
    told_at: Option<u64>,
    grains: VecDeque<Grain>,
}

#[derive(Debug)]
struct Grain {
    last: u64,
    requests: u32,
}

/// Whether a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is counted; `tell` has how many are used where a warning is due.
    Granted { tell: Option<u32> },
    /// Not now, but after this time.
    Spent(Duration),
}

impl Ledger {
    /// Counts a request that is sent now, unless it would be one too many.
    fn admit(&mut self, budget: Budget, now: Instant) -> Admission {
        let (now, window) = self.forget(budget, now);
        let used: u32 = self.grains.iter().map(|grain| grain.requests).sum();
        if used >= budget.requests
            && let Some(oldest) = self.grains.front()
        {
            return Admission::Spent(Duration::from_nanos((oldest.last + window).saturating_sub(now)));
        }
        self.count(budget.requests, window, now);
        Admission::Granted { tell: self.tell(used + 1, budget.requests, window, now) }
    }

    fn note(&mut self, budget: Budget, used: u32, now: Instant) -> Option<u32> {
        let (now, window) = self.forget(budget, now);
        self.count(budget.requests, window, now);
        self.tell(used, budget.requests, window, now)
    }

    /// Forgets what has left the window; this moment and the window in nanoseconds.
    fn forget(&mut self, budget: Budget, now: Instant) -> (u64, u64) {
        let now = nanos(now.saturating_duration_since(*self.began.get_or_insert(now)));
        let window = nanos(budget.per);
        while self.grains.front().is_some_and(|grain| grain.last + window <= now) {
            self.grains.pop_front();
        }
        (now, window)
    }

    fn count(&mut self, allowed: u32, window: u64, now: u64) {
        let width = (window / u64::from(GRAINS)).max(1);
        let newest = self.grains.back_mut();
        match newest.filter(|newest| allowed > GRAINS && newest.last / width == now / width) {
            Some(grain) => {
                grain.last = now;
                grain.requests += 1;
            }
            None => {
                let most = usize::try_from(allowed.min(MAX_GRAINS)).unwrap_or_default();
                // Only what was admitted elsewhere can be more.
                while self.grains.len() >= most.max(1) {
                    self.grains.pop_front();
                }
                self.grains.reserve_exact(most.saturating_sub(self.grains.len()));
                self.grains.push_back(Grain { last: now, requests: 1 });
            }
        }
    }

    /// Once in a window, from four fifths on.
    fn tell(&mut self, used: u32, allowed: u32, window: u64, now: u64) -> Option<u32> {
        let nearly_spent = u64::from(used) * 5 >= u64::from(allowed) * 4;
        if !nearly_spent || self.told_at.is_some_and(|at| now < at + window) {
            return None;
        }
        self.told_at = Some(now);
        Some(used)
    }
}

/// Enough for five hundred years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn budget(requests: u32) -> Budget {
        Budget { requests, per: HOUR }
    }

    #[test]
    fn the_next_request_is_allowed_when_the_oldest_leaves_the_window() {
        let (mut ledger, began) = (Ledger::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(matches!(ledger.admit(budget(2), at(0)), Admission::Granted { .. }));
        assert!(matches!(ledger.admit(budget(2), at(600)), Admission::Granted { .. }));
        assert_eq!(ledger.admit(budget(2), at(700)), Admission::Spent(Duration::from_secs(2900)));
        assert_eq!(ledger.admit(budget(2), at(3599)), Admission::Spent(Duration::from_secs(1)));
        assert!(matches!(ledger.admit(budget(2), at(3600)), Admission::Granted { .. }));
        assert_eq!(ledger.admit(budget(2), at(3600)), Admission::Spent(Duration::from_secs(600)));
    }

    #[test]
    fn four_fifths_are_told_once_in_a_window_and_again_in_a_later_one() {
        let (mut ledger, began) = (Ledger::default(), Instant::now());
        let mut told = Vec::new();
        for second in 0..2 * 3600 {
            let now = began + Duration::from_secs(second);
            if second % 3600 < 10
                && let Admission::Granted { tell: Some(used) } = ledger.admit(budget(10), now)
            {
                told.push((second, used));
            }
        }
        assert_eq!(told, [(7, 8), (3607, 10)], "the second time all of the window before is still in use");
    }

    #[test]
    fn a_budget_is_written_as_it_is_configured() {
        let shown = [1, 60, 3600, 86_400, 90].map(|seconds| {
            let per = Duration::from_secs(seconds);
            Budget { requests: 60, per }.to_string()
        });
        assert_eq!(shown, ["60/s", "60/m", "60/h", "60/d", "60/90s"]);
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_budget_and_memory_is_bounded(
            requests in 1_u32..200,
            gaps in prop::collection::vec(0_u64..200_000, 1..800),
        ) {
            let (mut ledger, mut now) = (Ledger::default(), Instant::now());
            let mut sent: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match ledger.admit(budget(requests), now) {
                    Admission::Granted { .. } => sent.push(now),
                    Admission::Spent(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= HOUR);
                        // Not stingy either: at most a grain is remembered longer than the window.
                        let since = now.checked_sub(HOUR + HOUR / GRAINS);
                        let in_use = sent.iter().filter(|at| since.is_none_or(|since| **at > since)).count();
                        prop_assert!(in_use >= usize::try_from(requests).unwrap());
                    }
                }
                prop_assert!(ledger.grains.len() <= usize::try_from(MAX_GRAINS).unwrap());
                prop_assert!(ledger.grains.capacity() <= usize::try_from(MAX_GRAINS).unwrap(), "{}", ledger.grains.capacity());
            }
            for (index, first) in sent.iter().enumerate() {
                let in_window = sent[index..].iter().take_while(|at| **at < *first + HOUR).count();
                prop_assert!(in_window <= usize::try_from(requests).unwrap());
            }
        }
    }
}
