//! How many token requests 401s may cause.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::evidence::Evidence;

/// At most so many in any stretch of this length.
type Bound = (usize, Duration);

const SHORT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

/// For one credential, whatever its upstreams do.
const CREDENTIAL: &[Bound] = &[(6, SHORT), (30, LONG)];
/// Of these, on doubtful evidence, and on slight: where renewing does not help, it is soon left alone. The two do not use up
/// each other's: a place that has taken tokens is not kept waiting by one that never did.
const DOUBTFUL: &[Bound] = &[(2, MINUTE), (12, LONG)];
const SLIGHT: &[Bound] = &[(2, MINUTE), (8, LONG)];
/// For one upstream: one that is never content leaves room for its neighbours.
const UPSTREAM: &[Bound] = &[(5, SHORT), (24, LONG)];

/// When things happened, as far back as the bounds look.
#[derive(Debug, Default)]
struct Window(VecDeque<Instant>);

impl Window {
    fn has_room(&self, bounds: &[Bound], now: Instant) -> bool {
        bounds.iter().all(|&(most, span)| {
            let since = |at: &Instant| now.saturating_duration_since(*at);
            self.0.iter().filter(|at| since(at) < span).count() < most
        })
    }

    fn forget_newest(&mut self) {
        self.0.pop_back();
    }

    fn note(&mut self, bounds: &[Bound], now: Instant) {
        let most = bounds.iter().map(|(most, _)| *most).max().unwrap_or_default();
        while self.0.len() >= most.max(1) {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }
}

/// The token requests of one credential that 401s have caused: at most 6 in any 10 s and 30 in any 10 min.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    all: Window,
    doubtful: Window,
    slight: Window,
}

/// What there is room for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// For a renewal on strong or inherited evidence, and for the quick retry of a token request.
    pub(crate) strong: bool,
    /// For one on doubtful evidence.
    pub(crate) doubtful: bool,
    /// For one on slight evidence.
    pub(crate) slight: bool,
}

impl Allowance {
    /// True if there is room for a renewal on this evidence.
    #[must_use]
    pub(crate) const fn is_for(self, evidence: Evidence) -> bool {
        match evidence {
            Evidence::Strong | Evidence::Inherited => self.strong,
            Evidence::Doubtful => self.doubtful,
            Evidence::Slight => self.slight,
        }
    }
}

impl Pace {
    /// What there is room for now.
    #[must_use]
    pub(crate) fn allowance(&self, now: Instant) -> Allowance {
        let strong = self.all.has_room(CREDENTIAL, now);
        let doubtful = strong && self.doubtful.has_room(DOUBTFUL, now);
        Allowance { strong, doubtful, slight: strong && self.slight.has_room(SLIGHT, now) }
    }

    /// Counts a token request that is about to be sent.
    pub(crate) fn note(&mut self, evidence: Evidence, now: Instant) {
        self.all.note(CREDENTIAL, now);
        match evidence {
            Evidence::Strong | Evidence::Inherited => {}
            Evidence::Doubtful => self.doubtful.note(DOUBTFUL, now),
            Evidence::Slight => self.slight.note(SLIGHT, now),
        }
    }
}

impl Pace {
    /// A renewal on this evidence was right, or came to nothing: what is bounded so tightly is what does not help.
    pub(crate) fn helped(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Strong | Evidence::Inherited => {}
            Evidence::Doubtful => self.doubtful.forget_newest(),
            Evidence::Slight => self.slight.forget_newest(),
        }
    }
}

/// The same for the renewals that one upstream causes.
#[derive(Debug, Default)]
pub(super) struct UpstreamPace(Window);

impl UpstreamPace {
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.0.has_room(UPSTREAM, now)
    }

    pub(super) fn note(&mut self, now: Instant) {
        self.0.note(UPSTREAM, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_its_bound(gaps in proptest::collection::vec(0_u64..20_000, 1..300)) {
            let (mut pace, mut now, mut noted) = (Pace::default(), Instant::now(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if pace.allowance(now).strong {
                    pace.note(Evidence::Strong, now);
                    noted.push(now);
                }
                let within = |span| noted.iter().filter(|at| now - **at < span).count();
                prop_assert!(within(SHORT) <= 6 && within(LONG) <= 30);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn weak_evidence_has_a_smaller_share() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..2 {
            assert!(pace.allowance(now).slight);
            pace.note(Evidence::Slight, now);
        }
        assert_eq!(pace.allowance(now), Allowance { strong: true, doubtful: true, slight: false });
        assert!(pace.allowance(now + MINUTE).slight);
    }
}
