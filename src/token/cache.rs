//! One identity's token: read, waited for, discarded.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

use super::control::{self, Control, turn};
use super::refresh::{Flight, Landing, RefreshState};
use super::{
    AccessToken, Clock, Injectable, RefreshSettings, Spent, TokenError, TokenErrorKind, TokenMetrics, TokenSource,
};
use crate::renewal::{Evidence, Standing};

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
    /// The newest token that an upstream has taken.
    accepted: AtomicU64,
    waiters: AtomicUsize,
    /// What `budget` has been spent on.
    pub(super) spent: Spent,
    /// Refreshes that were forced lately.
    pub(super) forced: Spent,
    pub(super) clock: Clock,
    pub(super) control: Control,
    pub(super) metrics: TokenMetrics,
}

/// What becomes of a refused token.
enum Renewal {
    /// It has been replaced already.
    Newer(Injectable),
    /// A token request is under way.
    Under(Flight),
    /// It stays.
    Unwarranted,
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

/// What the status page and `/readyz` say about a credential.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenStatus {
    /// `empty`, `ready`, `refreshing` or `failed`.
    pub(crate) state: &'static str,
    /// The newest token's number; 0 before the first.
    pub(crate) generation: u64,
    /// What is left of the current token; `None` without one.
    pub(crate) expires_in: Option<Duration>,
    /// The current token's lifetime from its beginning.
    pub(crate) lifetime: Option<Duration>,
    /// What the server granted.
    pub(crate) scope: Option<String>,
    /// What was asked for and is not in the current token's scope, separated by spaces.
    pub(crate) missing_scope: Option<String>,
    /// Which of several secrets the server took for the current token.
    pub(crate) secret: Option<String>,
    /// When the current token came.
    pub(crate) fetched_at: Option<SystemTime>,
    /// When the newest token request for the cache ended, well or not.
    pub(crate) last_refresh_at: Option<SystemTime>,
    /// How long that took, with its quick retry.
    pub(crate) last_refresh_took: Option<Duration>,
    /// Seconds by which the server's clock is ahead of this machine's, by its newest answer; negative: behind.
    pub(crate) clock_skew: Option<i64>,
    /// The newest failure, while it is remembered.
    pub(crate) last_error: Option<Arc<TokenError>>,
    /// Who waits for a token request now.
    pub(crate) waiters: usize,
    /// There is something that may be put on a request now.
    pub(crate) usable: bool,
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
        let spent = Spent::default();
        Self::sharing_budget(spent, name, source, settings, clock, control, metrics)
    }

    /// The same, with a budget that it shares with others.
    #[must_use]
    pub(crate) fn sharing_budget(
        spent: Spent,
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        control: Handle,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        Self::under(Control::Runtime(control), spent, name, source, settings, clock, metrics)
    }

    pub(super) fn under(
        control: Control,
        spent: Spent,
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            snapshot: ArcSwapOption::empty(),
            refresh: Mutex::default(),
            source,
            always: AtomicBool::new(settings.always),
            accepted: AtomicU64::new(0),
            waiters: AtomicUsize::new(0),
            spent,
            forced: Spent::default(),
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
        self.read(|token| token.injectable.clone())
    }

    fn read<T>(self: &Arc<Self>, take: impl FnOnce(&Arc<AccessToken>) -> T) -> Option<T> {
        turn();
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
    pub async fn obtain(self: &Arc<Self>, wait: Duration) -> Result<Injectable, Arc<TokenError>> {
        self.obtain_token(wait).await.map(|token| token.injectable.clone())
    }

    pub(super) async fn obtain_token(self: &Arc<Self>, wait: Duration) -> Landing {
        match self.read(Arc::clone) {
            Some(token) => Ok(token),
            None => self.join(wait).await,
        }
    }

    /// Notes that an upstream has taken this token.
    pub(crate) fn accepted(&self, generation: u64) {
        self.accepted.fetch_max(generation, Ordering::Relaxed);
    }

    /// Notes that a renewal on this evidence has helped.
    pub(crate) fn renewal_helped(&self, evidence: Evidence) {
        self.lock().renewal_helped(evidence);
    }

    /// A token newer than the one an upstream refused. Where there is none yet and none on its way, `warrant` is asked, under
    /// the lock, whether the refusal is worth a token request; `None` if it is not. On strong evidence the refused token is
    /// discarded at once; otherwise one that an upstream has taken stays in use until there is another. A late 401 never costs a newer token.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`].
    pub(crate) async fn renew(
        self: &Arc<Self>,
        refused: &Injectable,
        wait: Duration,
        warrant: impl FnOnce(Standing) -> Option<Evidence>,
    ) -> Result<Option<Injectable>, Arc<TokenError>> {
        match self.begin_renewal(refused, warrant, |evidence| evidence == Evidence::Strong)? {
            Renewal::Newer(newer) => Ok(Some(newer)),
            Renewal::Under(flight) => self.land_with(flight, wait).await.map(|token| Some(token.injectable.clone())),
            Renewal::Unwarranted => Ok(None),
        }
    }

    /// The same for a refusal that came too late for another try: nobody waits for the new token, and the refused one is
    /// discarded on less evidence, since the next request could not be tried again either.
    pub(crate) fn renew_for_later(
        self: &Arc<Self>,
        refused: &Injectable,
        warrant: impl FnOnce(Standing) -> Option<Evidence>,
    ) {
        let discards = |evidence| matches!(evidence, Evidence::Strong | Evidence::Inherited);
        // Whatever comes of it is for the requests to come; a remembered failure is theirs to meet.
        drop(self.begin_renewal(refused, warrant, discards));
    }

    fn begin_renewal(
        self: &Arc<Self>,
        refused: &Injectable,
        warrant: impl FnOnce(Standing) -> Option<Evidence>,
        discards: impl FnOnce(Evidence) -> bool,
    ) -> Result<Renewal, Arc<TokenError>> {
        let mut state = self.lock();
        if let Some(newer) = self.newer_than(refused.generation) {
            return Ok(Renewal::Newer(newer));
        }
        if !state.in_flight() {
            let now = self.clock.now();
            if let Some(error) = state.fail_fast(now) {
                return Err(error);
            }
            let untried = self.accepted.load(Ordering::Relaxed) < refused.generation;
            let (generation, fresh) = (refused.generation, untried && refused.after_unauthorized);
            let standing = Standing { generation, fresh, room: state.room(now.instant) };
            let Some(evidence) = warrant(standing) else { return Ok(Renewal::Unwarranted) };
            // One that nobody has taken is nobody's loss.
            if untried || discards(evidence) {
                self.discard(refused.generation);
            }
            state.begin_renewal(evidence, now.instant);
        }
        Ok(Renewal::Under(self.join_flight(&mut state)))
    }

    /// Forgets a failure that only the configuration could mend, because it has been mended: the next request asks at once.
    /// True if there was one.
    pub(crate) fn forget_misconfiguration(self: &Arc<Self>) -> bool {
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

    /// Forgets whatever failure there is: something has changed by which the next request may do better.
    pub(crate) fn forget_failure(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.failure().is_some() {
            state.forget_failure();
            if self.is_kept_fresh() {
                drop(self.join_flight(&mut state));
            }
        }
    }

    /// Whether to refresh even while nobody uses the token: what all credentials that share the cache come to.
    pub(crate) fn keep_fresh(&self, always: bool) {
        self.always.store(always, Ordering::Relaxed);
    }

    /// As it was said last.
    pub(crate) fn is_kept_fresh(&self) -> bool {
        self.always.load(Ordering::Relaxed)
    }

    /// Starts a request for the first token without waiting for it.
    pub(crate) fn prime(self: &Arc<Self>) {
        if self.usable().is_none() {
            let mut state = self.lock();
            drop(self.join_flight(&mut state));
        }
    }

    /// A member of the response that the current token came with.
    #[must_use]
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        let snapshot = self.snapshot.load();
        let members = &snapshot.as_deref()?.detail.members;
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// A reading for people and scripts.
    #[must_use]
    pub(crate) fn status(&self) -> TokenStatus {
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
            waiters: self.waiters.load(Ordering::Relaxed),
            generation: state.generation(),
            expires_in: token.as_ref().map(|token| token.expiry.remaining(now)),
            lifetime: token.as_ref().map(|token| token.expiry.lifetime),
            scope: token.as_ref().and_then(|token| token.scope.clone()),
            missing_scope: token.as_ref().and_then(|token| token.missing_scope.clone()),
            secret: token.as_ref().and_then(|token| token.detail.proven_by.clone()),
            fetched_at: token.map(|token| token.fetched_at),
            last_refresh_at: state.last_refresh().map(|last| last.at),
            last_refresh_took: state.last_refresh().map(|last| last.took),
            clock_skew: state.skew.seconds(),
            last_error: state.failure(),
        }
    }

    async fn join(self: &Arc<Self>, wait: Duration) -> Landing {
        let flight = {
            let mut state = self.lock();
            // Somebody may have landed a token between the read without the lock and this line.
            if let Some(token) = self.read(Arc::clone) {
                return Ok(token);
            }
            if let Some(error) = state.fail_fast(self.clock.now()) {
                return Err(error);
            }
            self.join_flight(&mut state)
        };
        self.land_with(flight, wait).await
    }

    fn newer_than(self: &Arc<Self>, generation: u64) -> Option<Injectable> {
        self.read(|token| (token.generation > generation).then(|| token.injectable.clone()))?
    }

    /// Compare and swap on the generation; called under the lock, so that no landing comes between.
    fn discard(&self, generation: u64) {
        turn();
        if self.snapshot.load().as_ref().is_some_and(|token| token.generation == generation) {
            tracing::debug!(target: "attache::token", credential = %self.name, generation, "token discarded");
            turn();
            self.snapshot.store(None);
        }
    }

    pub(super) async fn land_with(&self, mut flight: Flight, wait: Duration) -> Landing {
        let _waiting = Waiting::begin(&self.waiters);
        match self.control.timeout(wait, flight.wait_for(Option::is_some)).await {
            // The sender is gone without a result: the control runtime is ending.
            Ok(landed) => landed
                .ok()
                .and_then(|landing| landing.clone())
                .unwrap_or_else(|| Err(Arc::new(TokenError::shut_down()))),
            Err(_elapsed) => Err(Arc::new(TokenError::unanswered())),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, RefreshState> {
        control::lock(&self.refresh)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("name", &self.name).finish_non_exhaustive()
    }
}
