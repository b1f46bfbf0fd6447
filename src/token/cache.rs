//! One identity's token: read, waited for, discarded.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

use super::refresh::{Flight, Landing, RefreshState};
use super::{AccessToken, Clock, Injectable, RefreshSettings, TokenError, TokenErrorKind, TokenMetrics, TokenSource};

/// Holds one access token, shared by all requests with the same identity.
///
/// Reading is one snapshot load. Whoever finds no usable token joins the one token request in flight, which runs in a task
/// of its own on the control runtime: a caller that goes away takes nothing with it.
pub struct TokenCache {
    pub(super) name: String,
    pub(super) snapshot: ArcSwapOption<AccessToken>,
    pub(super) refresh: Mutex<RefreshState>,
    pub(super) source: Box<dyn TokenSource>,
    pub(super) settings: RefreshSettings,
    /// Refreshed even while nobody uses the token.
    pub(super) always: AtomicBool,
    pub(super) clock: Clock,
    pub(super) control: Handle,
    pub(super) metrics: TokenMetrics,
}

/// What the status page and `/readyz` say about a credential.
#[derive(Debug, Clone)]
pub struct TokenStatus {
    /// `empty`, `ready`, `refreshing` or `failed`.
    pub state: &'static str,
    /// The newest token's number; 0 before the first.
    pub generation: u64,
    /// What is left of the current token; `None` without one.
    pub expires_in: Option<Duration>,
    /// The current token's lifetime from its beginning.
    pub lifetime: Option<Duration>,
    /// What the server granted.
    pub scope: Option<String>,
    /// The newest failure, while it is remembered.
    pub last_error: Option<Arc<TokenError>>,
    /// There is something that may be put on a request now.
    pub usable: bool,
}

impl TokenCache {
    /// An empty cache. `name` labels its logs and metrics; token requests run on `control`.
    #[must_use]
    pub fn new(
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        control: Handle,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            snapshot: ArcSwapOption::empty(),
            refresh: Mutex::default(),
            source,
            always: AtomicBool::new(settings.always),
            settings,
            clock,
            control,
            metrics,
        })
    }

    /// The current token, if it may be put on a request now. The request path: one snapshot load, two clock readings, one
    /// reference count.
    #[must_use]
    pub fn usable(self: &Arc<Self>) -> Option<Injectable> {
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let token = snapshot.as_deref()?;
        if !token.expiry.is_usable(now) {
            return None;
        }
        token.mark_used();
        if token.expiry.refresh_at.is_some_and(|at| now.instant >= at) && token.claim_refresh() {
            self.refresh_ahead();
        }
        Some(token.injectable.clone())
    }

    /// The current token, or the one that the token request in flight brings.
    ///
    /// # Errors
    /// The request's failure, shared by all who waited; a remembered failure at once; [`TokenErrorKind::Timeout`] after
    /// `wait`. Dropping the future cancels the waiting and nothing else.
    pub async fn obtain(self: &Arc<Self>, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
        match self.usable() {
            Some(token) => Ok(token),
            None => self.join(None, wait).await,
        }
    }

    /// A token newer than the one an upstream refused. That one is discarded, unless it has been replaced already: a late
    /// 401 never costs a newer token.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`].
    pub async fn renew(self: &Arc<Self>, refused: u64, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
        self.join(Some(refused), wait).await
    }

    /// Asks for a new token now, whatever there is, unless a request is in flight: then its token is the answer.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`].
    pub async fn force_refresh(self: &Arc<Self>, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
        let flight = {
            let mut state = self.lock();
            state.forget_failure();
            self.join_flight(&mut state)
        };
        land(flight, wait).await
    }

    /// Forgets a failure that only the configuration could mend, because it has been mended: the next request asks at once.
    /// True if there was one.
    pub fn forget_misconfiguration(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let forgets = state.failure().is_some_and(|error| error.kind == TokenErrorKind::Configuration);
        if forgets {
            state.forget_failure();
            if self.is_kept_fresh() {
                drop(self.join_flight(&mut state));
            }
        }
        forgets
    }

    /// Whether to refresh even while nobody uses the token: what all credentials that share the cache come to.
    pub fn keep_fresh(&self, always: bool) {
        self.always.store(always, Ordering::Relaxed);
    }

    /// As it was said last.
    pub fn is_kept_fresh(&self) -> bool {
        self.always.load(Ordering::Relaxed)
    }

    /// Starts a request for the first token without waiting for it.
    pub fn prime(self: &Arc<Self>) {
        if self.usable().is_none() {
            let mut state = self.lock();
            drop(self.join_flight(&mut state));
        }
    }

    /// A reading for people and scripts.
    #[must_use]
    pub fn status(&self) -> TokenStatus {
        let now = self.clock.now();
        let token = self.snapshot.load_full().filter(|token| token.expiry.is_usable(now));
        let state = self.lock();
        let word = match (&token, state.in_flight(), state.failure()) {
            (_, true, _) => "refreshing",
            (Some(_), false, _) => "ready",
            (None, false, Some(_)) => "failed",
            (None, false, None) => "empty",
        };
        TokenStatus {
            state: word,
            usable: token.is_some(),
            generation: state.generation(),
            expires_in: token.as_ref().map(|token| token.expiry.remaining(now)),
            lifetime: token.as_ref().map(|token| token.expiry.lifetime),
            scope: token.and_then(|token| token.scope.clone()),
            last_error: state.failure(),
        }
    }

    async fn join(self: &Arc<Self>, refused: Option<u64>, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
        let flight = {
            let mut state = self.lock();
            if let Some(generation) = refused {
                self.discard(generation);
            }
            // Somebody may have landed a token between the read without the lock and this line.
            if let Some(token) = self.usable() {
                return Ok(token);
            }
            if let Some(error) = state.fail_fast(self.clock.now()) {
                return Err(error);
            }
            if refused.is_some() {
                state.note_unauthorized();
            }
            self.join_flight(&mut state)
        };
        land(flight, wait).await
    }

    /// Compare and swap on the generation; called under the lock, so that no landing comes between.
    fn discard(&self, generation: u64) {
        if self.snapshot.load().as_ref().is_some_and(|token| token.generation == generation) {
            tracing::debug!(target: "attache::token", credential = %self.name, generation, "token discarded");
            self.snapshot.store(None);
        }
    }

    /// A poisoned lock means that a thread panicked between two plain assignments; the state is still whole.
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, RefreshState> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn land(mut flight: Flight, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
    let landed = tokio::time::timeout(wait, flight.wait_for(Option::is_some)).await;
    let landing: Option<Landing> = match landed {
        Ok(Ok(landing)) => landing.clone(),
        // The sender is gone without a result: the control runtime is ending.
        Ok(Err(_)) => None,
        Err(_) => {
            let message = "the token request has not been answered yet";
            return Err(Arc::new(TokenError::new(TokenErrorKind::Timeout, message)));
        }
    };
    landing.unwrap_or_else(|| {
        Err(Arc::new(TokenError::new(TokenErrorKind::Cancelled, "the token request was ended by the shutdown")))
    })
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("name", &self.name).finish_non_exhaustive()
    }
}
