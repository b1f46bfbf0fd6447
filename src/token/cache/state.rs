//! What changes about a cache outside of the request path: the flight, the failure and its back-off, the pace of renewals.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::renewal::{Allowance, Evidence, Pace};
use crate::token::access_token::AccessToken;
use crate::token::control::Task;
use crate::token::delay::BackOff;
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::expiry::Expiry;
use crate::token::flight::Flights;
use crate::token::journal::Journal;
use crate::token::skew::Skew;
use crate::token::source::Shared;
use crate::token::source::Why;

/// Everything about a cache that changes outside the request path; guarded by its lock, which is never held across an
/// await.
#[derive(Default)]
pub(super) struct RefreshState {
    pub(super) flights: Flights<Arc<AccessToken>>,
    /// The best reason of all who have joined the flight.
    pub(super) why: Why,
    /// The one that was asked for last.
    pub(super) asked: Why,
    /// A 401 is among the reasons of the flight, or of one before it that failed.
    pub(super) unauthorized: bool,
    /// A 401 began the flight.
    pub(super) cause: Option<Evidence>,
    /// The token requests that 401s have caused; boxed, as most credentials see none.
    pace: Option<Box<Pace>>,
    pub(super) generation: u64,
    pub(super) back_off: BackOff,
    pub(super) timer: Option<Task>,
    pub(super) last_refresh: Option<LastRefresh>,
    pub(super) journal: Journal,
    /// The newest token, as replicas know it.
    pub(super) last: Option<Box<Last>>,
    /// A refused token that is out of use; it comes back if there is to be no other.
    pub(super) discarded: Option<Arc<AccessToken>>,
    /// Until then 401s cause no token request, by what evidence they are; the last is for all.
    held_weak_until: Option<Instant>,
    held_until: Option<Instant>,
    /// The successor of the newest token has been put off.
    pub(super) put_off: bool,
    /// What the server returned last.
    pub(super) handed: Option<Handed>,
    /// The server's clock beside ours.
    pub(super) skew: Skew,
    /// It has been said that the server grants less than it was asked for.
    pub(super) scope_told: bool,
}

/// The token that was returned last.
pub(super) struct Handed {
    pub(super) fingerprint: [u8; 32],
    pub(super) expires_at: Instant,
    /// It could be used when it came: not so where a server gives no token any life.
    pub(super) lived: bool,
    /// It has been returned before, with the same end: the next request waits until then.
    pub(super) next_after: Option<Instant>,
}

/// When the newest flight landed, and how long it took.
#[derive(Clone, Copy)]
pub(super) struct LastRefresh {
    pub(super) at: SystemTime,
    pub(super) took: Duration,
}

/// The newest token of a cache whose tokens replicas share.
pub(super) struct Last {
    /// `None` where it was obtained while there was no fleet.
    pub(super) shared: Option<Shared>,
    pub(super) expiry: Expiry,
    pub(super) requested_at: Instant,
    /// How old it was then.
    pub(super) age: Duration,
}

impl RefreshState {
    /// Why a flight is wanted; the better reason counts.
    pub(super) fn wants(&mut self, why: Why) {
        self.why = if self.flights.is_under_way() { self.why.max(why) } else { why };
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// A flight begins because of a 401; its request is counted.
    pub(super) fn begin_renewal(&mut self, evidence: Evidence, now: Instant) {
        self.unauthorized = true;
        self.cause = Some(evidence);
        self.pace.get_or_insert_default().note(evidence, now);
    }

    /// How many more token requests 401s may cause now.
    pub(super) fn allowance(&mut self, now: Instant) -> Allowance {
        let allowance = self.pace.get_or_insert_default().allowance(now);
        let is_held = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if is_held(self.held_until) {
            return Allowance { strong: false, doubtful: false, slight: false };
        }
        let weak = !is_held(self.held_weak_until);
        Allowance { doubtful: allowance.doubtful && weak, slight: allowance.slight && weak, ..allowance }
    }

    /// All replicas together have renewed often enough for a refusal on this evidence.
    pub(super) fn hold(&mut self, evidence: Option<Evidence>, until: Instant) {
        if evidence.is_some_and(Evidence::is_weak) {
            self.held_weak_until = Some(until);
        } else {
            self.held_until = Some(until);
        }
    }

    /// There is another token.
    pub(super) fn end_hold(&mut self) {
        (self.held_weak_until, self.held_until) = (None, None);
    }

    /// It does not count among the renewals that do not help.
    pub(super) fn renewal_helped(&mut self, evidence: Evidence) {
        if let Some(pace) = &mut self.pace {
            pace.helped(evidence);
        }
    }

    /// True if the flight may send one more request; if a 401 began it, that is counted.
    pub(super) fn may_ask_again(&mut self, now: Instant) -> bool {
        let Some(evidence) = self.cause else { return true };
        let room = self.allowance(now).strong;
        if room {
            self.pace.get_or_insert_default().note(evidence, now);
        }
        room
    }

    pub(super) const fn last_refresh(&self) -> Option<LastRefresh> {
        self.last_refresh
    }

    /// True if there was one.
    pub(super) fn forget_failure(&mut self) -> bool {
        self.back_off = BackOff::default();
        self.flights.forget_failure()
    }

    /// The remembered failure while its back-off runs, with the time that is left: hot callers are not made to wait for an
    /// authorization server that is known to be down.
    pub(super) fn fail_fast(&self, now: Instant) -> Option<Arc<TokenError>> {
        let (error, left) = self.flights.fail_fast(now)?;
        Some(Arc::new(TokenError::clone(error).with_retry_after(Some(left))))
    }
}

/// No token because of a 401 for so long.
pub(crate) fn held(left: Duration) -> TokenError {
    let message = "the replicas that share this token have renewed it because of 401s as often as may be";
    TokenError::new(TokenErrorKind::Held, message).with_retry_after(Some(left))
}
