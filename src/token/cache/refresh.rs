//! Single flight, refresh ahead, and what happens after a failure.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::TokenCache;
use super::shared;
use super::state::{LastRefresh, RefreshState};
use crate::token::access_token::AccessToken;
use crate::token::clock::Now;
use crate::token::control::yield_point;
use crate::token::delay::whole_seconds;
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::flight::{Flight, FlightResult};
use crate::token::journal::TokenEventKind;
use crate::token::source::FetchedToken;
use crate::token::source::Why;

impl TokenCache {
    /// Joins the token request in flight, starting it if there is none. Called under the lock: this is what makes it one.
    pub(super) fn join_flight(self: &Arc<Self>, state: &mut RefreshState, why: Why) -> Flight<Arc<AccessToken>> {
        state.wants(why);
        state.flights.join(|completion| {
            let cache = Arc::clone(self);
            // It ends by the source's own deadline.
            self.control.spawn(async move {
                let began = Instant::now();
                let result = loop {
                    let fetched = cache.request_token().await;
                    if let Some(result) = cache.take_in(fetched, began) {
                        break result;
                    }
                };
                yield_point();
                completion.complete(result);
            });
        })
    }

    /// Starts the refresh of a token that is still good. If it fails, no request fails: the old token stays in use.
    pub(super) fn refresh_ahead(self: &Arc<Self>, generation: u64) {
        let cache = Arc::clone(self);
        // Hopping to the control runtime first keeps the lock off the request path.
        self.control.spawn(async move {
            let mut state = cache.lock();
            // Replaced meanwhile because of a 401: another request would be one too many.
            let replaced = state.generation() != generation;
            if !replaced && state.fail_fast(cache.clock.now().instant).is_none() {
                drop(cache.join_flight(&mut state, Why::Ahead));
            }
        });
    }

    /// Takes the outcome in, and schedules what comes next. `None` where the flight goes on.
    fn take_in(
        self: &Arc<Self>,
        fetched: Result<FetchedToken, TokenError>,
        began: Instant,
    ) -> Option<FlightResult<Arc<AccessToken>>> {
        let now = self.clock.now();
        let mut state = self.lock();
        let fetched = match fetched {
            Err(error) if matches!(error.kind, TokenErrorKind::Held | TokenErrorKind::PutOff) => {
                let error = self.asked_for_nothing(&mut state, error, now)?;
                state.flights.end();
                if let Some(evidence) = state.cause.take() {
                    state.renewal_helped(evidence);
                }
                return Some(Err(error));
            }
            fetched => fetched,
        };
        state.flights.end();
        let cause = state.cause.take();
        let took = now.instant.saturating_duration_since(began);
        state.last_refresh = Some(LastRefresh { at: now.wall, took });
        let built = fetched.and_then(|fetched| {
            let mut expiry = shared::expiry(self, &fetched, now);
            state.take_in(&fetched, &mut expiry, now);
            state.remember_shared(&fetched, expiry);
            let after_unauthorized =
                fetched.shared.as_ref().map_or(state.unauthorized, |shared| shared.after_unauthorized);
            AccessToken::new(fetched, expiry, now, state.generation + 1, after_unauthorized).ok_or_else(|| {
                TokenError::new(TokenErrorKind::InvalidResponse, "the access token has characters no header may hold")
            })
        });
        Some(match built {
            Ok(token) => {
                let expires_at = now.wall + token.expiry.remaining(now);
                state
                    .journal
                    .note(now.wall, TokenEventKind::Obtained { generation: token.generation, expires_at, took });
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
                let error = self.remember(&mut state, error, now);
                state.journal.note(now.wall, TokenEventKind::Failed { error: Arc::clone(&error), took });
                Err(error)
            }
        })
    }

    fn install(self: &Arc<Self>, state: &mut RefreshState, token: AccessToken, now: Now) -> Arc<AccessToken> {
        let token = Arc::new(token);
        let expires_in = token.expiry.remaining(now).as_secs();
        let after_unauthorized = token.header.after_unauthorized;
        match &token.shared {
            None => tracing::info!(
                target: "attache::token", credential = %self.name, generation = token.generation, expires_in,
                after_unauthorized, "token obtained"
            ),
            Some(shared) => tracing::info!(
                target: "attache::token", credential = %self.name, generation = token.generation, expires_in,
                after_unauthorized, origin = shared.origin.as_str(), shared_generation = shared.generation,
                by = &*shared.by, "token obtained"
            ),
        }
        yield_point();
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
        let delay = state.back_off.next(&error);
        let old_is_good = self.snapshot.load().as_ref().is_some_and(|token| token.expiry.is_usable(now));
        if old_is_good || self.refreshes_always() {
            self.schedule(state, now.instant + delay, state.generation);
        }
        let (kind, code) = (error.kind.as_str(), error.code.as_deref().unwrap_or_default());
        let retry_in = whole_seconds(delay);
        // Loud where only a person can mend it or requests are without a token; a refresh ahead has time.
        if error.kind.is_permanent() || !old_is_good {
            tracing::error!(target: "attache::token", credential = %self.name, kind, code, retry_in, old_is_good, "no token: {error}");
        } else {
            tracing::warn!(target: "attache::token", credential = %self.name, kind, code, retry_in, "token not refreshed, the old one is still good: {error}");
        }
        let error = Arc::new(error.with_retry_after(Some(delay)));
        state.flights.remember(Arc::clone(&error), now.instant + delay);
        error
    }

    /// Wakes up at `at`; a token of another generation has its own timer by then.
    pub(super) fn schedule(self: &Arc<Self>, state: &mut RefreshState, at: Instant, generation: u64) {
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
    let (used, usable) = cache.snapshot.load().as_ref().map_or((false, false), |token| {
        let used = token.used.load(Ordering::Relaxed);
        if used {
            token.claim_refresh();
        }
        (used, token.expiry.is_usable(cache.clock.now()))
    });
    if used && usable || cache.refreshes_always() {
        let why = if usable { Why::Ahead } else { Why::Cold };
        drop(cache.join_flight(&mut state, why));
    }
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
