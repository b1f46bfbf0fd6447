//! When a 401 is worth a new token: the evidence, and the bounds. Knows no socket, no token and no HTTP.
//!
//! A 401 can mean that the token is dead, or that one server, one path or one caller's right is bad while the token is
//! fine. [`Renewals`] keeps what one upstream did with one credential's tokens, and decides; [`Pace`] bounds what all
//! upstreams of a credential may cost. ARCHITECTURE.md has the rule in ten lines.

mod evidence;
#[cfg(test)]
mod model_tests;
mod pace;
mod places;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

pub use pace::{Pace, Room};
pub use places::Place;

use self::evidence::Record;

/// What to do about a refused token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Another token is asked for, and the request sent once more with it.
    Renew(Evidence),
    /// The request is sent once more with the token that it had: another server of the same upstream may take it.
    SendAgain,
    /// The answer goes back.
    GiveBack,
}

/// How sure it is that the token is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It was taken here before, and nothing else explains the refusal: it is discarded at once.
    Strong,
    /// It may be something else: the token stays in use until there is another.
    Weak,
}

/// What the credential says about the token that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// It was itself obtained because of a 401, and no upstream has taken it yet: another one is hardly better.
    pub fresh: bool,
    /// What [`Pace`] has room for.
    pub room: Room,
}

/// What one upstream did with the tokens of one credential.
///
/// As long as nothing is refused, a request costs two loads. From the first refusal on, and for ten minutes after the last,
/// acceptances are noted by place.
#[derive(Debug, Default)]
pub struct Renewals {
    /// The newest token that was taken; 0: none yet.
    newest: AtomicU64,
    watching: AtomicBool,
    record: Mutex<Option<Box<Record>>>,
}

impl Renewals {
    /// True if this upstream has taken a token before.
    #[must_use]
    pub fn has_accepted(&self) -> bool {
        self.newest.load(Ordering::Relaxed) > 0
    }

    /// When a request leaves, if that has to be known: pass it to [`Renewals::accepted`].
    #[must_use]
    pub fn sent_at(&self) -> Option<Instant> {
        self.watching.load(Ordering::Relaxed).then(Instant::now)
    }

    /// The upstream took this token. True if it is the first time for a token as new as this.
    pub fn accepted(&self, generation: u64, sent_at: Option<Instant>, place: Place<'_>) -> bool {
        let first = self.newest.load(Ordering::Relaxed) < generation;
        if first {
            // The newest one stays: an answer to an older token may come late.
            self.newest.fetch_max(generation, Ordering::Relaxed);
        }
        if self.watching.load(Ordering::Relaxed) {
            self.note_acceptance(sent_at, place, Instant::now());
        }
        first
    }

    #[cold]
    fn note_acceptance(&self, sent_at: Option<Instant>, place: Place<'_>, now: Instant) {
        let mut record = self.lock();
        if let Some(known) = record.as_mut() {
            known.accepted(sent_at, place, now);
            if known.is_over(now) {
                *record = None;
                self.watching.store(false, Ordering::Relaxed);
            }
        }
    }

    /// The upstream refused a token. Called for every refusal, before [`Renewals::decide`].
    pub fn refused(&self, now: Instant) {
        self.with(now, |record| record.refused(now));
    }

    /// What to do about the refusal of the token that is in use. A decision to renew is counted.
    pub fn decide(&self, place: Place<'_>, standing: Standing, now: Instant) -> Decision {
        self.with(now, |record| record.decide(place, standing, now))
    }

    /// What came of sending the request once more; `decided` is what it was decided on, `None` if a newer token was there.
    pub fn sent_again(&self, decided: Option<Decision>, accepted: bool, place: Place<'_>, now: Instant) {
        self.with(now, |record| record.sent_again(decided, accepted, place, now));
    }

    /// No token came of what was decided.
    pub fn failed(&self, decided: Decision, now: Instant) {
        self.with(now, |record| record.failed(decided));
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.lock();
        let record = record.get_or_insert_with(|| {
            self.watching.store(true, Ordering::Relaxed);
            Box::new(Record::new(self.has_accepted(), now))
        });
        act(record)
    }

    /// A poisoned lock means a panic between two plain assignments: the record is still one.
    fn lock(&self) -> MutexGuard<'_, Option<Box<Record>>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
