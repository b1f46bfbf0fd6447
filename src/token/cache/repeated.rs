//! Servers that return the token they have until it ends. Asking them earlier brings nothing: its end is waited for, with a
//! least distance between requests.

use std::time::Duration;

use tokio::time::Instant;

use super::TokenCache;
use super::state::{Handed, RefreshState};
use crate::token::clock::Now;
use crate::token::error::TokenError;
use crate::token::expiry::Expiry;
use crate::token::requests::still_alive;
use crate::token::source::{Expires, FetchedToken};

/// Between a token that was returned again and the next token request.
const DISTANCE: Duration = Duration::from_secs(1);

/// Where the end of a token is further away than this, nobody is made to wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// So often a token that is about to end may be returned to one flight.
const TRIES: u32 = 3;

/// Ends that are this near to each other are the same end: `expires_in` has whole seconds, and answers take time.
const ROUNDING: Duration = Duration::from_secs(2);

impl RefreshState {
    /// True if it is the token that was returned last.
    pub(super) fn is_repeated(&self, fetched: &FetchedToken) -> bool {
        self.handed.as_ref().is_some_and(|handed| handed.fingerprint == fetched.access_token.fingerprint())
    }

    /// Remembers what was returned. If it is the same token as before, with the same end, `expiry` is not refreshed ahead any
    /// more.
    pub(super) fn take_in(&mut self, fetched: &FetchedToken, expiry: &mut Expiry, now: Now) {
        let repeated = self.is_repeated(fetched);
        let ends = fetched.expires != Expires::Unsaid;
        let same_end = |handed: &Handed| expiry.expires_at <= handed.expires_at + ROUNDING;
        let last = repeated && ends && self.handed.as_ref().is_some_and(same_end);
        if last {
            *expiry = expiry.without_refresh_ahead();
        }
        self.handed = Some(Handed {
            fingerprint: fetched.access_token.fingerprint(),
            expires_at: expiry.expires_at,
            lived: expiry.is_usable(now),
            next_after: last.then(|| expiry.expires_at.max(now.instant + DISTANCE)),
        });
    }

    /// True for a token that was good when it was returned before.
    pub(super) fn is_at_its_end(&self, fetched: &FetchedToken) -> bool {
        self.is_repeated(fetched) && self.handed.as_ref().is_some_and(|handed| handed.lived)
    }

    fn wait_before_asking(&self, now: Instant) -> Option<Duration> {
        let until = self.handed.as_ref()?.next_after?;
        until.checked_duration_since(now).filter(|left| !left.is_zero() && *left <= PATIENCE)
    }
}

impl TokenCache {
    /// What one flight does: a token request, and where it brings the old token again at its very end, another one after that.
    pub(super) async fn request_token(&self) -> Result<FetchedToken, TokenError> {
        let wait = self.lock().wait_before_asking(self.clock.now().instant);
        if let Some(wait) = wait {
            self.control.sleep(wait).await;
        }
        let mut tries = 1;
        loop {
            let fetched = self.request_with_retry().await?;
            let now = self.clock.now();
            let expiry = Expiry::of(&fetched, now, &self.settings, 0.0);
            if expiry.is_usable(now) || !self.lock().is_at_its_end(&fetched) {
                return Ok(fetched);
            }
            let left = expiry.expires_at.saturating_duration_since(now.instant).clamp(DISTANCE, PATIENCE);
            tries += 1;
            if tries > TRIES || !self.lock().may_ask_again(now.instant) {
                return still_alive(fetched, &self.settings, &self.clock);
            }
            tracing::debug!(target: "attache::token", credential = %self.name, "the server returned the old token again; its end is waited for");
            self.control.sleep(left).await;
        }
    }
}

#[cfg(test)]
#[path = "repeated_tests.rs"]
mod tests;
