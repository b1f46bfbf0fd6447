//! What differs for a cache whose tokens replicas share: another one's token may be there, and a new one may have to wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::TokenCache;
use super::state::{Last, RefreshState};
use crate::token::access_token::AccessToken;
use crate::token::clock::Now;
use crate::token::delay::jitter;
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::expiry::Expiry;
use crate::token::source::FetchedToken;
use crate::token::source::TokenOrigin;
use crate::token::source::Why;

/// Over what part of a token's life the replicas spread their questions for its successor, and the least that it is.
const SPREAD: u32 = 20;
const LEAST_SPREAD: std::time::Duration = std::time::Duration::from_secs(1);

impl TokenCache {
    /// Another replica may have a newer token: looks for it, if there is one here that is in use.
    pub(crate) fn look_for_newer(self: &Arc<Self>) {
        self.look_for_newer_than(|token| token.used.load(Ordering::Relaxed) || self.refreshes_always());
    }

    /// Another replica has a newer token than the one that has just come.
    pub(crate) fn adopt_newer(self: &Arc<Self>) {
        self.look_for_newer_than(|_| true);
    }

    fn look_for_newer_than(self: &Arc<Self>, is_worth_it: impl FnOnce(&AccessToken) -> bool) {
        let mut state = self.lock();
        let now = self.clock.now();
        let token = self.snapshot.load();
        let wanted = token.as_ref().is_some_and(|token| token.expiry.is_usable(now) && is_worth_it(token));
        if wanted && state.fail_fast(now.instant).is_none() {
            drop(self.join_flight(&mut state, Why::Ahead));
        }
    }

    /// True if what there is was not obtained for all replicas, or its successor has been put off: as soon as the shared cache is
    /// back, that is asked.
    pub(crate) fn is_on_its_own(&self) -> bool {
        let state = self.lock();
        state.put_off || state.last.as_ref().is_some_and(|last| last.shared.origin == TokenOrigin::Alone)
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
        self.last = fetched
            .shared
            .clone()
            .map(|shared| Box::new(Last { shared, expiry, requested_at: fetched.requested_at, age: fetched.age }));
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
        let wait = error.retry_after.unwrap_or_default();
        if error.kind == TokenErrorKind::Held {
            state.hold(state.cause, now.instant + wait);
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
        } else if state.why > Why::Ahead {
            return None;
        } else {
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
