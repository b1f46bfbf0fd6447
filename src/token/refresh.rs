//! Single flight, refresh ahead, and what happens after a failure.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::Instant;

use super::control::{Task, turn};
use super::repeated::Handed;
use super::request::whole_seconds;
use super::skew::Skew;
use super::{AccessToken, Expiry, FetchedToken, Now, TokenCache, TokenError, TokenErrorKind};
use crate::renewal::{Evidence, Pace, Room};

/// What everyone who waited gets.
pub(super) type Landing = Result<Arc<AccessToken>, Arc<TokenError>>;

/// A place among those who wait for the token request in flight.
pub(super) type Flight = watch::Receiver<Option<Landing>>;

/// Everything about a cache that changes outside the request path; guarded by its lock, which is never held across an
/// await.
#[derive(Default)]
pub(super) struct RefreshState {
    flight: Option<Flight>,
    /// A 401 is among the reasons of the flight, or of one before it that failed.
    unauthorized: bool,
    /// A 401 began the flight.
    cause: Option<Evidence>,
    /// The token requests that 401s have caused; boxed, as most credentials see none.
    pace: Option<Box<Pace>>,
    generation: u64,
    failure: Option<Failure>,
    /// Of permanent failures or of others; boxed, as most credentials have none.
    back_off: Option<(bool, Box<ExponentialBackoff>)>,
    timer: Option<Task>,
    last_refresh: Option<LastRefresh>,
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

struct Failure {
    error: Arc<TokenError>,
    retry_at: Instant,
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
    fn next_delay(&mut self, error: &TokenError) -> Duration {
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

impl TokenCache {
    /// Joins the token request in flight, starting it if there is none. Called under the lock: this is what makes it one.
    pub(super) fn join_flight(self: &Arc<Self>, state: &mut RefreshState) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (landing, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let cache = Arc::clone(self);
        // In a task of its own, so that no caller's departure cancels it. It ends by the source's own deadline.
        self.control.spawn(async move {
            let began = Instant::now();
            let fetched = cache.request_token().await;
            let landed = cache.land(fetched, began);
            turn();
            landing.send_replace(Some(landed));
        });
        flight
    }

    /// Starts the refresh of a token that is still good. Failure is nobody's: the old token goes on.
    pub(super) fn refresh_ahead(self: &Arc<Self>, generation: u64) {
        let cache = Arc::clone(self);
        // Hopping to the control runtime first keeps the lock off the request path.
        self.control.spawn(async move {
            let mut state = cache.lock();
            // Replaced meanwhile because of a 401: another request would be one too many.
            let replaced = state.generation() != generation;
            if !replaced && state.fail_fast(cache.clock.now()).is_none() {
                drop(cache.join_flight(&mut state));
            }
        });
    }

    /// Takes the outcome in, and schedules what comes next.
    fn land(self: &Arc<Self>, fetched: Result<FetchedToken, TokenError>, began: Instant) -> Landing {
        let now = self.clock.now();
        let mut state = self.lock();
        state.flight = None;
        let cause = state.cause.take();
        let took = now.instant.saturating_duration_since(began);
        state.last_refresh = Some(LastRefresh { at: now.wall, took });
        let built = fetched.and_then(|fetched| {
            let mut expiry = Expiry::of(&fetched, now, &self.settings, jitter());
            state.take_in(&fetched, &mut expiry, now);
            AccessToken::new(fetched, expiry, now, state.generation + 1, state.unauthorized).ok_or_else(|| {
                TokenError::new(TokenErrorKind::InvalidResponse, "the access token has characters no header may hold")
            })
        });
        match built {
            Ok(token) => {
                state.generation = token.generation;
                state.unauthorized = false;
                state.forget_failure();
                Ok(self.install(&mut state, token, now))
            }
            Err(error) => {
                if let Some(evidence) = cause {
                    // Whether it would have helped is not known.
                    state.renewal_helped(evidence);
                }
                Err(self.remember(&mut state, error, now))
            }
        }
    }

    fn install(self: &Arc<Self>, state: &mut RefreshState, token: AccessToken, now: Now) -> Arc<AccessToken> {
        let token = Arc::new(token);
        tracing::info!(
            target: "attache::token", credential = %self.name, generation = token.generation,
            expires_in = token.expiry.remaining(now).as_secs(), after_unauthorized = token.injectable.after_unauthorized,
            "token obtained"
        );
        turn();
        // A token without any life (`still_alive`) serves those who wait for it and no one else.
        if token.expiry.is_usable(now) {
            if let Some(at) = token.expiry.refresh_at {
                self.schedule(state, at, token.generation);
            }
            self.snapshot.store(Some(Arc::clone(&token)));
        } else {
            self.snapshot.store(None);
        }
        token
    }

    fn remember(self: &Arc<Self>, state: &mut RefreshState, error: TokenError, now: Now) -> Arc<TokenError> {
        let delay = state.next_delay(&error);
        let old_is_good = self.snapshot.load().as_ref().is_some_and(|token| token.expiry.is_usable(now));
        if old_is_good || self.is_kept_fresh() {
            self.schedule(state, now.instant + delay, state.generation);
        }
        let (kind, code) = (error.kind.as_str(), error.code.as_deref().unwrap_or_default());
        let retry_in = whole_seconds(delay);
        // Loud where only a person can mend it or somebody is without a token; a refresh ahead has time.
        if error.kind.is_permanent() || !old_is_good {
            tracing::error!(target: "attache::token", credential = %self.name, kind, code, retry_in, old_is_good, "no token: {error}");
        } else {
            tracing::warn!(target: "attache::token", credential = %self.name, kind, code, retry_in, "token not refreshed, the old one is still good: {error}");
        }
        let error = Arc::new(error.with_retry_after(Some(delay)));
        state.failure = Some(Failure { error: Arc::clone(&error), retry_at: now.instant + delay });
        error
    }

    /// Wakes up at `at`; a token of another generation has its own timer by then.
    fn schedule(self: &Arc<Self>, state: &mut RefreshState, at: Instant, generation: u64) {
        let cache = Arc::downgrade(self);
        let timer = self.control.spawn_at(at, move || on_timer(&cache, generation));
        if let Some(replaced) = state.timer.replace(timer) {
            replaced.abort();
        }
    }
}

/// Refreshes what is in use. A token that nobody used since it came is left to lapse: servers bill tokens. The next
/// request that finds it due starts the refresh after all.
fn on_timer(cache: &Weak<TokenCache>, generation: u64) {
    let Some(cache) = cache.upgrade() else { return };
    let mut state = cache.lock();
    if state.generation() != generation {
        return;
    }
    let wanted = cache.is_kept_fresh()
        || cache.snapshot.load().as_ref().is_some_and(|token| {
            let used = token.used.load(Ordering::Relaxed);
            if used {
                token.claim_refresh();
            }
            used && token.expiry.is_usable(cache.clock.now())
        });
    if wanted {
        drop(cache.join_flight(&mut state));
    }
}

impl Drop for TokenCache {
    fn drop(&mut self) {
        if let Some(timer) = self.lock().timer.take() {
            timer.abort();
        }
    }
}

/// A random number in 0..1. Without randomness there is no jitter, and that is all.
pub(super) fn jitter() -> f64 {
    let mut bytes = [0; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "interleaving_tests.rs"]
mod interleaving_tests;

#[cfg(test)]
#[path = "refresh_expiry_tests.rs"]
mod expiry_tests;
