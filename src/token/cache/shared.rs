//! What differs for a cache whose tokens replicas share: another one's token may be there, and a new one may have to wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::TokenCache;
use super::state::{Last, RefreshState};
use crate::token::access_token::AccessToken;
use crate::token::clock::Now;
use crate::token::delay::jitter;
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::expiry::Expiry;
use crate::token::source::{FetchedToken, TokenOrigin, Why};

/// Over what part of a token's life the replicas spread their questions for its successor, and the least that it is.
const SPREAD: u32 = 20;
const LEAST_SPREAD: Duration = Duration::from_secs(1);

impl TokenCache {
    /// Another replica has a newer token: adopts it, if there is one here that is in use, or none could be had. Costs no token
    /// request, even where that was made up.
    pub(crate) fn look_for_newer(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.flights.failure().is_some() || self.has_token(|token| self.is_in_use(token)) {
            drop(self.join_flight(&mut state, Why::Look));
        }
    }

    /// Another replica has a newer token than the one that has just come.
    pub(crate) fn adopt_newer(self: &Arc<Self>) {
        let mut state = self.lock();
        if self.has_token(|_| true) {
            drop(self.join_flight(&mut state, Why::Look));
        }
    }

    /// The shared cache is back: what this replica obtained for itself, or has put off, is asked for there.
    pub(crate) fn rejoin(self: &Arc<Self>) {
        if !self.is_on_its_own() {
            return;
        }
        let mut state = self.lock();
        if self.has_token(|token| self.is_in_use(token)) && state.fail_fast(self.clock.now().instant).is_none() {
            drop(self.join_flight(&mut state, Why::Rejoin));
        }
    }

    fn has_token(&self, is_worth_it: impl FnOnce(&AccessToken) -> bool) -> bool {
        let token = self.snapshot.load();
        token.as_ref().is_some_and(|token| token.expiry.is_usable(self.clock.now()) && is_worth_it(token))
    }

    fn is_in_use(&self, token: &AccessToken) -> bool {
        token.used.load(Ordering::Relaxed) || self.refreshes_always()
    }

    /// True if what there is was not obtained for all replicas, or its successor has been put off: as soon as the shared cache is
    /// back, that is asked.
    pub(crate) fn is_on_its_own(&self) -> bool {
        let state = self.lock();
        let last = state.last.as_ref().and_then(|last| last.shared.as_ref());
        state.put_off || last.is_some_and(|shared| shared.origin == TokenOrigin::Alone)
    }
}

/// The life of a token that came: all replicas that have it agree when its successor is due, and each of them adds a bit of its own.
pub(super) fn expiry(cache: &TokenCache, fetched: &FetchedToken, now: Now) -> Expiry {
    let Some(shared) = &fetched.shared else { return Expiry::of(fetched, now, &cache.settings, jitter()) };
    let expiry = Expiry::of(fetched, now, &cache.settings, shared.jitter);
    expiry.refreshed_later((expiry.lifetime / SPREAD).max(LEAST_SPREAD).mul_f64(jitter()))
}

impl RefreshState {
    /// Remembers what replicas know of the newest token.
    pub(super) fn remember_shared(&mut self, fetched: &FetchedToken, expiry: Expiry) {
        (self.put_off, self.discarded) = (false, None);
        self.end_hold();
        let (shared, requested_at, age) = (fetched.shared.clone(), fetched.requested_at, fetched.age);
        self.last = Some(Box::new(Last { shared, expiry, requested_at, age }));
    }
}

impl TokenCache {
    /// What comes of a flight that was to ask for nothing, under the lock. `None` where one has joined it meanwhile who has a
    /// better reason: then it goes on.
    pub(super) fn asked_for_nothing(
        self: &Arc<Self>,
        state: &mut RefreshState,
        error: TokenError,
        now: Now,
    ) -> Option<Arc<TokenError>> {
        if error.kind == TokenErrorKind::Held {
            state.hold(state.cause, now.instant + error.retry_after.unwrap_or_default());
            state.unauthorized = false;
            if let Some(token) = state.discarded.take().filter(|token| token.expiry.is_usable(now)) {
                self.reinstate(token);
            }
            if state.why > Why::Refused {
                return None;
            }
            // It has ended meanwhile: 401s have no part any more in that there has to be another.
            if !self.snapshot.load().as_ref().is_some_and(|token| token.expiry.is_usable(now)) {
                state.why = Why::Cold;
                return None;
            }
        } else if state.why > state.asked {
            return None;
        } else if let Some(wait) = error.retry_after {
            tracing::debug!(target: "attache::token", credential = %self.name, wait = wait.as_secs(), "put off: {error}");
            state.put_off = true;
            self.schedule(state, now.instant + wait, state.generation());
        }
        Some(Arc::new(error))
    }

    /// A refused token is better than none where there is to be no other.
    fn reinstate(&self, token: Arc<AccessToken>) {
        if self.snapshot.load().is_none() {
            self.snapshot.store(Some(token));
        }
    }
}
