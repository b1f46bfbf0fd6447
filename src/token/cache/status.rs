//! What people and scripts are told about a cache.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::TokenCache;
use crate::token::error::TokenError;
use crate::token::journal::TokenEvent;
use crate::token::source::Shared;

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
    /// Its standing among replicas.
    pub(crate) shared: Option<Shared>,
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

impl TokenStatus {
    /// False while the last try failed and there is nothing that could be used. Nothing speaks against one that has not been asked for.
    #[must_use]
    pub(crate) const fn is_up(&self) -> bool {
        self.usable || self.last_error.is_none()
    }
}

impl TokenCache {
    /// What happened to its tokens in the last hour, the oldest first.
    #[must_use]
    pub(crate) fn events(&self) -> Vec<TokenEvent> {
        let now = self.clock.now().wall;
        self.lock().journal.events(now)
    }

    /// A reading for people and scripts.
    #[must_use]
    pub(crate) fn status(&self) -> TokenStatus {
        let now = self.clock.now();
        let token = self.snapshot.load_full().filter(|token| token.expiry.is_usable(now));
        let state = self.lock();
        let word = match (&token, state.flights.is_under_way(), state.flights.failure()) {
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
            shared: token.as_ref().and_then(|token| token.shared.clone()),
            fetched_at: token.map(|token| token.fetched_at),
            last_refresh_at: state.last_refresh().map(|last| last.at),
            last_refresh_took: state.last_refresh().map(|last| last.took),
            clock_skew: state.skew.seconds(),
            last_error: state.flights.failure().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenErrorKind;
    use crate::token::testing::{Engine, Step, WAIT};

    async fn sleep_for(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn permanent() -> TokenError {
        TokenError::new(TokenErrorKind::Permanent, "scripted")
    }

    /// What `attache_credential_up` says, and an alert stands on: no gap while a back-off runs, ends, or the next try is under way.
    #[tokio::test(start_paused = true)]
    async fn a_credential_that_is_refused_is_down_for_as_long_as_it_is() {
        // The fourth try comes well.
        let engine = Engine::new(|asked| if asked < 4 { Step::SlowFail(7, permanent()) } else { Step::Token(3600) });
        let asking = Arc::clone(&engine.cache);
        assert!(engine.cache.status().is_up(), "nobody has asked yet");
        let job = tokio::spawn(async move {
            while asking.obtain(WAIT).await.is_err() {
                sleep_for(15).await;
            }
        });
        sleep_for(8).await;
        while !job.is_finished() {
            let status = engine.cache.status();
            assert!(!status.is_up() || status.usable, "{status:?}");
            sleep_for(1).await;
        }
        assert!(engine.asked() >= 4 && engine.cache.status().is_up());
        // A job that asks once and goes: what it has found out stays true.
        let engine = Engine::new(|_| Step::Fail(permanent()));
        engine.obtain().await.unwrap_err();
        sleep_for(3600).await;
        assert_eq!((engine.asked(), engine.cache.status().is_up()), (1, false));
    }
}
