//! A shared cache whose clock is turned by hand, for the stories that it was made for.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;

use super::*;
use crate::fleet::names::Mark;
use crate::fleet::protocol::{Lead, Reach, SharedFailure};
use crate::token::Why;

pub(super) const LEASE: Duration = Duration::from_secs(3);
pub(super) const LONGEST: Duration = Duration::from_secs(12);

/// A store whose clock is turned by hand, as replicas ask it about one identity.
pub(super) struct Fleet {
    pub(super) store: ScriptedStore,
    pub(super) clock: Arc<AtomicU64>,
    pub(super) tag: Tag,
}

impl Fleet {
    pub(super) fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(1_900_000_000_000));
        let read = Arc::clone(&clock);
        let store = ScriptedStore::with_clock(move || Duration::from_millis(read.load(Ordering::Relaxed)));
        Self { store, clock, tag: Tag::scripted("abcdefghijklmnopqrstuv") }
    }

    pub(super) fn wait(&self, milliseconds: u64) {
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Without latency an answer is there at once.
    pub(super) fn take(&self, question: &Take) -> Taken {
        self.store.take(&self.tag, question).now_or_never().unwrap().unwrap()
    }

    pub(super) fn lead(&self, question: &Take) -> Lead {
        match self.take(question) {
            Taken::Lead(lead) => lead,
            other => panic!("{} does not lead: {other:?}", question.owner),
        }
    }

    pub(super) fn put(&self, fence: u64, mark_of: &str, because_of_401: bool) -> PutAnswer {
        let put = Put {
            fence,
            sealed: mark_of.as_bytes().to_vec(),
            mark: mark(mark_of),
            usable: Duration::from_secs(3600),
            after_unauthorized: because_of_401,
            keep: Duration::from_secs(3600),
        };
        self.store.put(&self.tag, &put).now_or_never().unwrap().unwrap()
    }

    pub(super) fn fail(&self, owner: &str, fence: u64, failure: Option<(u64, Reach)>) -> FailAnswer {
        let failure = failure.map(|(seconds, reach)| SharedFailure {
            sealed: format!("failure of {owner}").into_bytes(),
            delay: Duration::from_secs(seconds),
            reach,
        });
        let fail = Fail { owner: owner.into(), fence, failure };
        self.store.fail(&self.tag, &fail).now_or_never().unwrap().unwrap()
    }

    pub(super) fn keep(&self, owner: &str, fence: u64) -> bool {
        let lease = Lease { owner: owner.into(), fence, length: LEASE };
        self.store.keep(&self.tag, &lease).now_or_never().unwrap().unwrap()
    }

    pub(super) fn accepted(&self, generation: u64) -> bool {
        self.store.accepted(&self.tag, generation).now_or_never().unwrap().unwrap()
    }

    /// This replica renews because of a 401, at once.
    pub(super) fn renewed(&self, owner: &str, refused: &str, new: &str) -> Lead {
        let lead = self.lead(&holding(owner, Why::Refused, refused, 0));
        assert_eq!(self.put(lead.fence, new, true), PutAnswer::Put);
        lead
    }
}

pub(super) fn mark(of: &str) -> Mark {
    Mark::from(Arc::from(of))
}

pub(super) fn cold(owner: &str) -> Take {
    Take {
        owner: owner.into(),
        lease: LEASE,
        lease_max: LONGEST,
        why: Why::Cold,
        held: None,
        known: 0,
        age: None,
        has_taken: true,
        budget: None,
    }
}

/// What it holds is of this age in seconds.
pub(super) fn holding(owner: &str, why: Why, held: &str, age: u64) -> Take {
    Take { why, held: Some(mark(held)), age: Some(Duration::from_secs(age)), ..cold(owner) }
}

/// Asks ahead for the successor of what it holds, which is the newest that it knows.
pub(super) fn ahead(owner: &str, held: &str, known: u64) -> Take {
    Take { known, ..holding(owner, Why::Ahead, held, 0) }
}

pub(super) fn seconds(taken: &Taken) -> f64 {
    match taken {
        Taken::Hold(time) | Taken::Spent(time) | Taken::Wait { left: time, .. } | Taken::Failed { left: time, .. } => {
            time.as_secs_f64()
        }
        other => panic!("{other:?} has no end"),
    }
}
