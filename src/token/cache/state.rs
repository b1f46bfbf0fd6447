//! What changes about a cache outside of the request path: the flight, the failure and its back-off, the pace of renewals.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::Instant;

use super::handed::Handed;
use crate::renewal::{Evidence, Pace, Room};
use crate::token::access_token::AccessToken;
use crate::token::clock::Now;
use crate::token::control::Task;
use crate::token::delay::jitter;
use crate::token::error::TokenError;
use crate::token::skew::Skew;

/// What everyone who waited gets.
pub(super) type Landing = Result<Arc<AccessToken>, Arc<TokenError>>;

/// A place among those who wait for the token request in flight.
pub(super) type Flight = watch::Receiver<Option<Landing>>;

/// Everything about a cache that changes outside the request path; guarded by its lock, which is never held across an
/// await.
#[derive(Default)]
pub(super) struct RefreshState {
    pub(super) flight: Option<Flight>,
    /// A 401 is among the reasons of the flight, or of one before it that failed.
    pub(super) unauthorized: bool,
    /// A 401 began the flight.
    pub(super) cause: Option<Evidence>,
    /// The token requests that 401s have caused; boxed, as most credentials see none.
    pace: Option<Box<Pace>>,
    pub(super) generation: u64,
    pub(super) failure: Option<Failure>,
    /// Of permanent failures or of others; boxed, as most credentials have none.
    back_off: Option<(bool, Box<ExponentialBackoff>)>,
    pub(super) timer: Option<Task>,
    pub(super) last_refresh: Option<LastRefresh>,
    /// What was handed out last.
    pub(super) handed: Option<Handed>,
    /// The server's clock beside ours.
    pub(super) skew: Skew,
    /// It has been said that the server grants less than it was asked for.
    pub(super) scope_told: bool,
}

/// When the newest flight landed, and how long it took.
#[derive(Clone, Copy)]
pub(super) struct LastRefresh {
    pub(super) at: SystemTime,
    pub(super) took: Duration,
}

pub(super) struct Failure {
    pub(super) error: Arc<TokenError>,
    pub(super) retry_at: Instant,
}

impl RefreshState {
    pub(super) const fn in_flight(&self) -> bool {
        self.flight.is_some()
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
    pub(super) fn room(&mut self, now: Instant) -> Room {
        self.pace.get_or_insert_default().room(now)
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
        let room = self.room(now).strong;
        if room {
            self.pace.get_or_insert_default().note(evidence, now);
        }
        room
    }

    pub(super) const fn last_refresh(&self) -> Option<LastRefresh> {
        self.last_refresh
    }

    pub(super) fn failure(&self) -> Option<Arc<TokenError>> {
        self.failure.as_ref().map(|failure| Arc::clone(&failure.error))
    }

    pub(super) fn forget_failure(&mut self) {
        self.failure = None;
        self.back_off = None;
    }

    /// The remembered failure while its back-off runs, with the time that is left: hot callers are not made to wait for an
    /// authorization server that is known to be down.
    pub(super) fn fail_fast(&self, now: Now) -> Option<Arc<TokenError>> {
        let failure = self.failure.as_ref()?;
        let left = failure.retry_at.checked_duration_since(now.instant).filter(|left| !left.is_zero())?;
        Some(Arc::new(TokenError::clone(&failure.error).with_retry_after(Some(left))))
    }

    /// Exponential from 1 s to 60 s, or from 30 s to 10 min where only a person can mend it, less up to a fifth.
    pub(super) fn next_delay(&mut self, error: &TokenError) -> Duration {
        let permanent = error.kind.is_permanent();
        if self.back_off.as_ref().is_none_or(|(kind, _)| *kind != permanent) {
            let (min, max) = if permanent { (30, 600) } else { (1, 60) };
            let builder = ExponentialBuilder::new()
                .with_min_delay(Duration::from_secs(min))
                .with_max_delay(Duration::from_secs(max))
                .with_factor(2.0)
                .without_max_times();
            self.back_off = Some((permanent, Box::new(builder.build())));
        }
        let delay = self.back_off.as_mut().and_then(|(_, delays)| delays.next()).unwrap_or(Duration::from_secs(60));
        error.retry_after.unwrap_or_else(|| delay.mul_f64(1.0 - 0.2 * jitter()))
    }
}
