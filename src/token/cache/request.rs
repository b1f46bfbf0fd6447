//! One token request: whether it may be sent, what comes back, and what its answer tells besides the token.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::TokenCache;
use crate::token::budget::Admission;
use crate::token::delay::{before_quick_retry, whole_seconds};
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::expiry::Expiry;
use crate::token::skew::{FAR_OFF, clock_skew, seconds_of_skew, skew_in_words};
use crate::token::source::{Expires, FetchedToken};

/// What a server's `Retry-After` may ask for: none, or a time long past, would have us ask in a loop, and a server that
/// asks for more patience than an hour is asked again anyway.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl TokenCache {
    /// One token request; after a failure that may mend itself, and without `Retry-After`, one more at once, if the budget
    /// has room for it.
    pub(super) async fn request_with_retry(&self) -> Result<FetchedToken, TokenError> {
        self.admit()?;
        match self.send_request().await {
            Err(error) if may_mend_itself(error.kind) && error.retry_after.is_none() => {
                self.control.sleep(before_quick_retry()).await;
                if self.lock().may_ask_again(self.clock.now().instant) && self.admit().is_ok() {
                    self.send_request().await
                } else {
                    Err(error)
                }
            }
            result => result,
        }
    }

    /// A single token request, within the budget.
    pub(super) async fn request_once(&self) -> Result<FetchedToken, TokenError> {
        self.admit()?;
        self.send_request().await.and_then(|fetched| self.still_alive(fetched))
    }

    /// Counts a request that is about to be sent, or says when there will be room for it.
    fn admit(&self) -> Result<(), TokenError> {
        let Some(budget) = self.settings.budget else { return Ok(()) };
        let admission = self.spent.admit(budget, self.clock.now().instant);
        match admission {
            Admission::Granted { tell: None } => Ok(()),
            Admission::Granted { tell: Some(used) } => {
                let budget = budget.to_string();
                tracing::warn!(target: "attache::token", credential = %self.name, used, budget, "four fifths of the token budget are used; no token request is sent when all of it is");
                Ok(())
            }
            Admission::Spent(wait) => {
                self.metrics.withheld(&self.name);
                let message = format!(
                    "the token budget of {budget} is spent, so no token request was sent; the next one may be in {} s (raise `budget` if that is too long)",
                    whole_seconds(wait)
                );
                Err(TokenError::new(TokenErrorKind::Transient, message).with_retry_after(Some(wait)))
            }
        }
    }

    async fn send_request(&self) -> Result<FetchedToken, TokenError> {
        let start = Instant::now();
        // A panic in a source must not leave a flight that never lands; `fetch` itself is called inside for that reason.
        let fetch = AssertUnwindSafe(async { self.source.fetch().await });
        let result = fetch.catch_unwind().await.unwrap_or_else(|_| {
            Err(TokenError::new(TokenErrorKind::Transient, "the token request ended in an internal error"))
        });
        if let Err(TokenError { clock_skew: Some(seconds), .. }) = &result {
            self.note_skew(*seconds);
        }
        let result = result.and_then(|fetched| {
            self.note_server_date(&fetched);
            self.note_missing_scope(&fetched);
            if self.lock().is_at_its_end(&fetched) { Ok(fetched) } else { self.still_alive(fetched) }
        });
        self.metrics.record(&self.name, start.elapsed(), result.as_ref().err());
        result.map_err(|mut error| {
            error.retry_after = error.retry_after.map(|asked| asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER));
            error
        })
    }

    /// Refuses a token whose time is over when it comes. Only one that its own server gives no life (`expires_in` of zero
    /// or less) goes to those who wait for it.
    pub(super) fn still_alive(&self, fetched: FetchedToken) -> Result<FetchedToken, TokenError> {
        let now = self.clock.now();
        let expiry = Expiry::of(&fetched, now, &self.settings, 0.0);
        match fetched.expires {
            _ if expiry.is_usable(now) => Ok(fetched),
            Expires::In(Duration::ZERO) => Ok(fetched),
            Expires::At(at) if at <= now.wall => {
                let skew = fetched.server_date.map(|date| clock_skew(date, fetched.requested_at));
                let clocks = match skew {
                    Some(seconds) if seconds.unsigned_abs() >= FAR_OFF => skew_in_words(seconds),
                    _ => "the clocks of this machine and of the authorization server may differ".to_owned(),
                };
                let message = format!("the access token that came has expired already, by its own exp; {clocks}");
                Err(TokenError { clock_skew: skew, ..TokenError::new(TokenErrorKind::InvalidResponse, message) })
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

    /// Tells how far the clocks are apart, before anything is made of the token: one that has expired already may be why.
    fn note_server_date(&self, fetched: &FetchedToken) {
        let Some(date) = fetched.server_date else { return };
        let now = self.clock.now();
        let elapsed = now.instant.saturating_duration_since(fetched.requested_at);
        self.note_skew(seconds_of_skew(date, now.wall - elapsed, now.wall));
    }

    fn note_skew(&self, seconds: i64) {
        self.metrics.clock_skew(&self.name, seconds);
        if self.lock().skew.note(seconds) {
            tracing::warn!(target: "attache::token", credential = %self.name, clock_skew = seconds, "the clock of the authorization server differs from this machine's; let both be set by a time server (NTP)");
        }
    }

    /// Says once that the token can do less than it was asked for: the upstream's 403 would not say so.
    fn note_missing_scope(&self, fetched: &FetchedToken) {
        if fetched.missing_scope.is_empty() {
            return;
        }
        self.metrics.scope_narrowed(&self.name);
        if !std::mem::replace(&mut self.lock().scope_told, true) {
            let missing = fetched.missing_scope.join(" ");
            tracing::warn!(target: "attache::token", credential = %self.name, missing, "the authorization server granted less scope than was asked for");
        }
    }
}

/// Overload, transport, and nonsense such as the HTML page of a load balancer. A timeout took long enough already.
const fn may_mend_itself(kind: TokenErrorKind) -> bool {
    matches!(kind, TokenErrorKind::Transient | TokenErrorKind::InvalidResponse)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
