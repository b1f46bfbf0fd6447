//! What one upstream did with the tokens of one credential, as all requests share it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use tokio::time::Instant;

use super::decision::{Acceptance, Answer, Decision, RefusedToken};
use super::evidence::Evidence;
use super::places::RequestPath;
use super::rule::Record;
use crate::sync::lock;

/// So many places of an upstream are remembered.
const PLACES: usize = 512;
/// The same where each caller has a record of its own.
const PLACES_OF_A_CALLER: usize = 16;

/// What one upstream did with the tokens of one credential.
///
/// As long as nothing is refused, a request costs two loads. From the first refusal on, and for ten minutes after the last,
/// acceptances are noted by place, each kind of them once after each refusal.
#[derive(Debug)]
pub(crate) struct Renewals {
    /// The newest token that was taken; 0: none yet.
    newest: AtomicU64,
    watching: AtomicBool,
    record: Mutex<Option<Box<Record>>>,
    noted: OnceLock<Box<Noted>>,
    places: usize,
}

impl Default for Renewals {
    fn default() -> Self {
        Self {
            newest: AtomicU64::new(0),
            watching: AtomicBool::new(false),
            record: Mutex::default(),
            noted: OnceLock::new(),
            places: PLACES,
        }
    }
}

impl Renewals {
    /// For one caller among thousands.
    #[must_use]
    pub(crate) fn of_a_caller() -> Self {
        Self { places: PLACES_OF_A_CALLER, ..Self::default() }
    }

    /// True if this upstream has taken a token before.
    #[must_use]
    pub(crate) fn has_accepted(&self) -> bool {
        self.newest.load(Ordering::Relaxed) > 0
    }

    /// When a request leaves, if that has to be known: pass it to [`Renewals::accepted`].
    #[must_use]
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        self.watching.load(Ordering::Relaxed).then(Instant::now)
    }

    /// The upstream took this token.
    pub(crate) fn accepted(&self, generation: u64, sent_at: Option<Instant>, place: RequestPath<'_>) -> Acceptance {
        self.accepted_at(generation, sent_at, place, Instant::now)
    }

    /// `now` is asked only where it matters.
    pub(super) fn accepted_at(
        &self,
        generation: u64,
        sent_at: Option<Instant>,
        place: RequestPath<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Acceptance {
        let first = self.newest.load(Ordering::Relaxed) < generation;
        if first {
            // The newest one stays: an answer to an older token may come late.
            self.newest.fetch_max(generation, Ordering::Relaxed);
        }
        let watching = self.watching.load(Ordering::Relaxed);
        let proved = if watching { self.note_acceptance(sent_at, place, now()) } else { None };
        Acceptance { first, proved }
    }

    #[cold]
    fn note_acceptance(&self, sent_at: Option<Instant>, place: RequestPath<'_>, now: Instant) -> Option<Evidence> {
        let noted = self.noted.get_or_init(Box::default);
        let kind = noted.kind(place);
        if noted.has(kind) {
            return None;
        }
        let mut record = self.lock();
        let known = record.as_mut()?;
        let (settled, proved) = known.accepted(sent_at, place, now);
        if settled {
            noted.add(kind);
        }
        if known.is_over(now) {
            *record = None;
            self.watching.store(false, Ordering::Relaxed);
        }
        proved
    }

    /// What to do about the refusal of the token that is in use. A decision to renew is counted.
    pub(crate) fn decide(&self, place: RequestPath<'_>, refused: RefusedToken, now: Instant) -> Decision {
        self.with(now, |record| record.decide(place, refused, now))
    }

    /// The outcome of sending the request again, with the token of this number; `decided` is what it was decided on, `None` if
    /// a newer token was there.
    pub(crate) fn sent_again(
        &self,
        decided: Option<Decision>,
        answer: Answer,
        generation: u64,
        place: RequestPath<'_>,
        now: Instant,
    ) {
        self.with(now, |record| record.sent_again(decided, answer, generation, place, now));
    }

    /// No token came of what was decided.
    pub(crate) fn failed(&self, decided: Decision, place: RequestPath<'_>, now: Instant) {
        self.with(now, |record| record.failed(decided, place, now));
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.lock();
        let record = record.get_or_insert_with(|| {
            self.watching.store(true, Ordering::Relaxed);
            Box::new(Record::new(self.has_accepted(), self.places, now))
        });
        let done = act(record);
        // Under the lock, so that what is noted from here on knows of it.
        if let Some(noted) = self.noted.get() {
            noted.forget();
        }
        done
    }

    /// A poisoned lock means a panic between two plain assignments: the record is still one.
    fn lock(&self) -> MutexGuard<'_, Option<Box<Record>>> {
        lock(&self.record)
    }
}

/// The kinds of acceptance that have been noted since the last refusal: most need not be noted again, so that a path that
/// always refuses does not put a lock before every request to the others.
#[derive(Debug)]
struct Noted {
    hasher: RandomState,
    epoch: AtomicU64,
    kinds: [AtomicU64; 64],
}

impl Default for Noted {
    fn default() -> Self {
        Self { hasher: RandomState::new(), epoch: AtomicU64::new(1), kinds: [const { AtomicU64::new(0) }; 64] }
    }
}

impl Noted {
    /// What a request is of, as long as nothing is refused.
    fn kind(&self, place: RequestPath<'_>) -> u64 {
        self.hasher.hash_one((self.epoch.load(Ordering::Acquire), place.host, place.path))
    }

    fn has(&self, kind: u64) -> bool {
        self.slot(kind).load(Ordering::Relaxed) == kind
    }

    fn add(&self, kind: u64) {
        self.slot(kind).store(kind, Ordering::Relaxed);
    }

    fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    fn slot(&self, kind: u64) -> &AtomicU64 {
        // Six bits, for as many slots.
        &self.kinds[usize::from(kind.to_le_bytes()[0] & 63)]
    }
}
