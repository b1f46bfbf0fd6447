//! One token request: whether it may be sent, what comes back, and what its answer tells besides the token.

use super::TokenCache;
use crate::token::delay::before_quick_retry;
use crate::token::error::{About, TokenError, TokenErrorKind};
use crate::token::skew::seconds_of_skew;
use crate::token::source::FetchedToken;
use crate::token::source::{Ask, Held};

impl TokenCache {
    /// One token request; after a failure that may mend itself, and without `Retry-After`, one more at once, if the budget
    /// has room for it.
    pub(super) async fn request_with_retry(&self) -> Result<FetchedToken, TokenError> {
        match self.ask(self.question()).await {
            Err(error) if may_mend_itself(error.kind) && error.retry_after.is_none() => {
                self.control.sleep(before_quick_retry()).await;
                if !self.lock().may_ask_again(self.clock.now().instant) {
                    return Err(error);
                }
                match self.ask(self.question()).await {
                    Err(withheld) if withheld.about == Some(About::Budget) => Err(error),
                    result => result,
                }
            }
            result => result,
        }
    }

    /// Why a token is asked for now, and what there is.
    fn question(&self) -> Ask {
        let now = self.clock.now();
        let mut state = self.lock();
        state.asked = state.why;
        let held = state.last.as_ref().map(|last| Held {
            shared: last.shared.clone(),
            age: now.instant.saturating_duration_since(last.requested_at) + last.age,
            lifetime: last.expiry.lifetime,
            usable_for: last.expiry.usable_for(now),
        });
        let (why, evidence, put_off) = (state.why, state.cause, state.put_off);
        Ask { why, evidence, after_unauthorized: state.unauthorized, held, put_off }
    }

    /// A single token request, whose token nobody else sees.
    pub(super) async fn request_once(&self) -> Result<FetchedToken, TokenError> {
        self.ask(Ask::apart()).await
    }

    /// A token, by one request at most; what comes with it is noted.
    async fn ask(&self, ask: Ask) -> Result<FetchedToken, TokenError> {
        let result = self.source.fetch(ask).await;
        match &result {
            Ok(fetched) => {
                self.note_server_date(fetched);
                self.note_missing_scope(fetched);
            }
            Err(error) => {
                if let Some(seconds) = error.clock_skew {
                    self.note_skew(seconds);
                }
            }
        }
        result
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
