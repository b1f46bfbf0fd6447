//! What requests call: the token that there is, or the one that is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::TokenCache;
use crate::token::access_token::{AccessToken, HeaderToken};
use crate::token::control::yield_point;
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::flight::{Flight, FlightResult};
use crate::token::source::Why;

impl TokenCache {
    /// The current token, if it may be put on a request now. The request path: one snapshot load, two clock readings, one
    /// reference count.
    #[must_use]
    pub fn usable(self: &Arc<Self>) -> Option<HeaderToken> {
        self.read(|token| token.header.clone())
    }

    pub(super) fn read<T>(self: &Arc<Self>, take: impl FnOnce(&Arc<AccessToken>) -> T) -> Option<T> {
        yield_point();
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let token = snapshot.as_ref()?;
        if !token.expiry.is_usable(now) {
            return None;
        }
        token.mark_used();
        if token.expiry.refresh_at.is_some_and(|at| now.instant >= at) && token.claim_refresh() {
            self.refresh_ahead(token.generation);
        }
        Some(take(token))
    }

    /// The current token, or the one that the token request in flight brings.
    ///
    /// # Errors
    /// The request's failure, shared by all who waited; a remembered failure at once; [`TokenErrorKind::Timeout`] after
    /// `wait`. Dropping the future cancels the waiting and nothing else.
    pub async fn obtain(self: &Arc<Self>, wait: Duration) -> Result<HeaderToken, Arc<TokenError>> {
        self.obtain_token(wait).await.map(|token| token.header.clone())
    }

    pub(super) async fn obtain_token(self: &Arc<Self>, wait: Duration) -> FlightResult<Arc<AccessToken>> {
        match self.read(Arc::clone) {
            Some(token) => Ok(token),
            None => self.join(wait).await,
        }
    }

    async fn join(self: &Arc<Self>, wait: Duration) -> FlightResult<Arc<AccessToken>> {
        let flight = {
            let mut state = self.lock();
            // A flight may have brought a token between the read without the lock and this line.
            if let Some(token) = self.read(Arc::clone) {
                return Ok(token);
            }
            if let Some(error) = state.fail_fast(self.clock.now().instant) {
                return Err(error);
            }
            self.join_flight(&mut state, Why::Cold)
        };
        match self.wait_for(flight, wait).await {
            // Its reason was a 401, and the refused token is back.
            Err(error) if error.kind == TokenErrorKind::Held => self.read(Arc::clone).ok_or(error),
            result => result,
        }
    }

    pub(super) async fn wait_for(
        &self,
        flight: Flight<Arc<AccessToken>>,
        wait: Duration,
    ) -> FlightResult<Arc<AccessToken>> {
        let _waiting = Waiting::begin(&self.waiters);
        match self.control.timeout(wait, flight.result()).await {
            Ok(result) => result.unwrap_or_else(|| Err(Arc::new(TokenError::shut_down()))),
            Err(_elapsed) => Err(Arc::new(TokenError::unanswered())),
        }
    }

    /// Starts a request for the first token without waiting for it.
    pub(crate) fn prime(self: &Arc<Self>) {
        if self.usable().is_none() {
            let mut state = self.lock();
            drop(self.join_flight(&mut state, Why::Cold));
        }
    }

    /// Whether to refresh even while nobody uses the token: what all credentials that share the cache come to.
    pub(crate) fn refresh_always(&self, always: bool) {
        self.always.store(always, Ordering::Relaxed);
    }

    /// As it was said last.
    pub(crate) fn refreshes_always(&self) -> bool {
        self.always.load(Ordering::Relaxed)
    }

    /// True while a failure is remembered.
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().flights.failure().is_some()
    }

    /// Forgets a failure that only the configuration could mend, because it has been mended: the next request asks at once.
    /// True if there was one.
    pub(crate) fn forget_misconfiguration(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let forgets = state.flights.failure().is_some_and(|error| error.kind == TokenErrorKind::Configuration);
        if forgets {
            state.forget_failure();
            if self.refreshes_always() {
                drop(self.join_flight(&mut state, Why::Cold));
            }
        }
        forgets
    }

    /// Forgets whatever failure there is: something has changed by which the next request may do better.
    pub(crate) fn forget_failure(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.forget_failure() && self.refreshes_always() {
            drop(self.join_flight(&mut state, Why::Cold));
        }
    }

    /// A member of the response that the current token came with.
    #[must_use]
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        let snapshot = self.snapshot.load();
        let members = &snapshot.as_deref()?.detail.members;
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Counts one who waits, also one who gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
