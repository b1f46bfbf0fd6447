//! One question for a token, on its way through the fleet.

use std::sync::Arc;
use std::time::Duration;

use crate::fleet::entry::Entry;
use crate::fleet::names::{Mark, SharedIdentity};
use crate::fleet::protocol::Take;
use crate::fleet::replica::Replica;
use crate::renewal::Evidence;
use crate::token::{Ask, Clock, RefreshSettings, Shared, TokenOrigin, TokenRequests, Why};

/// A leader that is silent for so long is followed by another.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// What is asked for, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct SharedCredential {
    /// Labels logs and metrics.
    pub(crate) name: String,
    pub(crate) identity: SharedIdentity,
    pub(crate) settings: RefreshSettings,
    /// A whole token request.
    pub(crate) timeout: Duration,
}

/// After this a token that was obtained has landed, and is in use if it is at all: before, looking for a newer one does nothing.
pub(super) const LANDED: Duration = Duration::from_secs(1);

/// Lent down from step to step.
pub(super) struct Asking<'s> {
    pub(super) replica: Arc<Replica>,
    pub(super) entry: Arc<Entry>,
    pub(super) requests: &'s TokenRequests,
    pub(super) credential: &'s SharedCredential,
    pub(super) clock: &'s Clock,
    /// However often it is kept.
    pub(super) longest_lease: Duration,
    pub(super) ask: Ask,
}

impl Asking<'_> {
    pub(super) fn question(&self) -> Take {
        let held = self.ask.held.as_ref();
        Take {
            owner: self.entry.owner.clone(),
            lease: LEASE,
            lease_max: self.longest_lease,
            // What is to be made up for is asked for as a refresh is.
            why: self.ask.why.max(Why::Ahead),
            held: held.and_then(|held| held.shared.as_ref()).map(|shared| Mark::from(Arc::clone(&shared.mark))),
            known: self.entry.known(),
            age: held.map(|held| held.age),
            has_taken: !self.ask.evidence.is_some_and(Evidence::is_weak),
            budget: self.credential.settings.budget,
        }
    }

    /// What is known of a token besides, and counted.
    pub(super) fn standing(&self, mark: &Mark, generation: u64, origin: TokenOrigin, by: &str) -> Shared {
        self.replica.metrics.token(&self.credential.name, origin);
        Shared {
            generation,
            mark: mark.text(),
            origin,
            by: by.into(),
            after_unauthorized: self.ask.after_unauthorized,
            jitter: mark.jitter(),
        }
    }
}
