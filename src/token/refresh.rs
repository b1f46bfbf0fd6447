//! Single flight, refresh ahead, and what happens after a failure.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{AccessToken, Expires, Expiry, FetchedToken, Injectable, Now, TokenCache, TokenError, TokenErrorKind};

/// What everyone who waited gets.
pub(super) type Landing = Result<Injectable, Arc<TokenError>>;

/// A place among those who wait for the token request in flight.
pub(super) type Flight = watch::Receiver<Option<Landing>>;

/// What a server's `Retry-After` may ask for: none, or a time long past, would have us ask in a loop, and a server that
/// asks for more patience than an hour is asked again anyway.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Everything about a cache that changes outside the request path; guarded by its lock, which is never held across an
/// await.
#[derive(Default)]
pub(super) struct RefreshState {
    flight: Option<Flight>,
    /// A 401 is among the reasons of the flight, or of the one to come.
    unauthorized: bool,
    generation: u64,
    failure: Option<Failure>,
    back_off: Option<(bool, ExponentialBackoff)>,
    timer: Option<AbortHandle>,
    /// It has been said that the server grants less than it was asked for.
    scope_told: bool,
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

    pub(super) const fn note_unauthorized(&mut self) {
        self.unauthorized = true;
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
            self.back_off = Some((permanent, builder.build()));
        }
        let delay = self.back_off.as_mut().and_then(|(_, delays)| delays.next()).unwrap_or(Duration::from_secs(60));
        match error.retry_after {
            Some(asked) => asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER),
            None => delay.mul_f64(1.0 - 0.2 * jitter()),
        }
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
            let fetched = cache.request_token().await;
            let landed = cache.land(fetched);
            landing.send_replace(Some(landed));
        });
        flight
    }

    /// Starts the refresh of a token that is still good. Failure is nobody's: the old token goes on.
    pub(super) fn refresh_ahead(self: &Arc<Self>) {
        let cache = Arc::clone(self);
        // Hopping to the control runtime first keeps the lock off the request path.
        self.control.spawn(async move {
            let mut state = cache.lock();
            if state.fail_fast(cache.clock.now()).is_none() {
                drop(cache.join_flight(&mut state));
            }
        });
    }

    /// One token request; after a failure that may mend itself, and without `Retry-After`, one more at once.
    pub(super) async fn request_token(&self) -> Result<FetchedToken, TokenError> {
        let first = self.timed_fetch().await;
        match first {
            Err(error) if may_mend_itself(error.kind) && error.retry_after.is_none() => {
                tokio::time::sleep(Duration::from_millis(100) + Duration::from_millis(200).mul_f64(jitter())).await;
                self.timed_fetch().await
            }
            result => result,
        }
    }

    async fn timed_fetch(&self) -> Result<FetchedToken, TokenError> {
        let start = Instant::now();
        // A panic in a source must not leave a flight that never lands; `fetch` itself is called inside for that reason.
        let fetch = AssertUnwindSafe(async { self.source.fetch().await });
        let result = fetch.catch_unwind().await.unwrap_or_else(|_| {
            Err(TokenError::new(TokenErrorKind::Transient, "the token request ended in an internal error"))
        });
        let result = result.and_then(|fetched| self.still_alive(fetched));
        self.metrics.record(&self.name, start.elapsed(), result.as_ref().err());
        result
    }

    /// Refuses a token whose time is over when it comes. Only one that its own server gives no life (`expires_in` of zero
    /// or less) goes to those who wait for it.
    fn still_alive(&self, fetched: FetchedToken) -> Result<FetchedToken, TokenError> {
        let now = self.clock.now();
        let expiry = Expiry::new(fetched.expires, fetched.requested_at, now, &self.settings, 0.0);
        match fetched.expires {
            _ if expiry.is_usable(now) => Ok(fetched),
            Expires::In(Duration::ZERO) => Ok(fetched),
            Expires::At(at) if at <= now.wall => {
                let message = "the access token that came has expired already, by its own exp; \
                               the clocks of this machine and of the authorization server may differ";
                Err(TokenError::new(TokenErrorKind::InvalidResponse, message))
            }
            Expires::In(_) | Expires::At(_) | Expires::Unsaid => {
                let (took, life) = (now.instant.saturating_duration_since(fetched.requested_at), expiry.lifetime);
                let message = format!(
                    "the access token came when its life was over or nearly so: it lives for {:.1} s, and the answer took {:.1} s",
                    life.as_secs_f64(),
                    took.as_secs_f64()
                );
                Err(TokenError::new(TokenErrorKind::Transient, message))
            }
        }
    }

    /// Takes the outcome in, and schedules what comes next.
    fn land(self: &Arc<Self>, fetched: Result<FetchedToken, TokenError>) -> Landing {
        let now = self.clock.now();
        let mut state = self.lock();
        state.flight = None;
        let built = fetched.and_then(|fetched| {
            self.tell_missing_scope(&mut state, &fetched);
            let expiry = Expiry::new(fetched.expires, fetched.requested_at, now, &self.settings, jitter());
            AccessToken::new(&fetched, expiry, state.generation + 1, state.unauthorized).ok_or_else(|| {
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
            Err(error) => Err(self.remember(&mut state, error, now)),
        }
    }

    /// Says once that the token can do less than it was asked for: the upstream's 403 would not say so.
    fn tell_missing_scope(&self, state: &mut RefreshState, fetched: &FetchedToken) {
        if !fetched.missing_scope.is_empty() && !std::mem::replace(&mut state.scope_told, true) {
            let missing = fetched.missing_scope.join(" ");
            tracing::warn!(target: "attache::token", credential = %self.name, missing, "the authorization server granted less scope than was asked for");
        }
    }

    fn install(self: &Arc<Self>, state: &mut RefreshState, token: AccessToken, now: Now) -> Injectable {
        let injectable = token.injectable.clone();
        tracing::info!(
            target: "attache::token", credential = %self.name, generation = token.generation,
            expires_in = token.expiry.remaining(now).as_secs(), after_unauthorized = injectable.after_unauthorized,
            "token obtained"
        );
        // A token without any life (`still_alive`) serves those who wait for it and no one else.
        if token.expiry.is_usable(now) {
            if let Some(at) = token.expiry.refresh_at {
                self.schedule(state, at, token.generation);
            }
            self.snapshot.store(Some(Arc::new(token)));
        } else {
            self.snapshot.store(None);
        }
        injectable
    }

    fn remember(self: &Arc<Self>, state: &mut RefreshState, error: TokenError, now: Now) -> Arc<TokenError> {
        let delay = state.next_delay(&error);
        let old_is_good = self.snapshot.load().as_ref().is_some_and(|token| token.expiry.is_usable(now));
        if old_is_good || self.is_kept_fresh() {
            self.schedule(state, now.instant + delay, state.generation);
        }
        let (kind, code) = (error.kind.as_str(), error.code.as_deref().unwrap_or_default());
        // Rounded up: less than a second is not at once.
        let retry_in = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
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
        let timer = self.control.spawn(async move {
            tokio::time::sleep_until(at).await;
            on_timer(&cache, generation);
        });
        if let Some(replaced) = state.timer.replace(timer.abort_handle()) {
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

/// Overload, transport, and nonsense such as the HTML page of a load balancer. A timeout took long enough already.
const fn may_mend_itself(kind: TokenErrorKind) -> bool {
    matches!(kind, TokenErrorKind::Transient | TokenErrorKind::InvalidResponse)
}

/// A random number in 0..1. Without randomness there is no jitter, and that is all.
fn jitter() -> f64 {
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
#[path = "refresh_expiry_tests.rs"]
mod expiry_tests;
