//! Without the store: as if there were none, but later where that is possible.

use std::sync::Weak;
use std::time::Duration;

use super::asking::{Asking, LANDED};
use crate::fleet::names::Mark;
use crate::store::StoreError;
use crate::token::{FetchedToken, TokenCache, TokenError, TokenErrorKind, TokenOrigin, Why, jitter};

/// In the last moments of a token's life its successor is not put off any more: the least, and as a part of its life.
const LAST_MOMENTS: Duration = Duration::from_secs(15);
const LAST_PART: u32 = 50;

impl Asking<'_> {
    /// The store has not answered. A refresh has time: all replicas would ask at once now, and the store may be back before most of
    /// them have to.
    pub(super) async fn without_store(&self, error: &StoreError) -> Result<FetchedToken, TokenError> {
        tracing::debug!(target: "attache::cache", credential = %self.credential.name, "the shared cache is not asked: {error}");
        match self.later() {
            Some(wait) => {
                let message = "the shared cache is away, and the token is good for a while";
                Err(TokenError::new(TokenErrorKind::PutOff, message).with_retry_after(Some(wait)))
            }
            None => self.alone().await,
        }
    }

    /// A token of this replica's own, unless it was only to be looked what others have. It has its part of the fleet's budget.
    pub(super) async fn alone(&self) -> Result<FetchedToken, TokenError> {
        if self.ask.why < Why::Ahead {
            return Err(nothing_newer());
        }
        self.requests.admit_one_of(self.replica.replicas())?;
        let made = self.replica.connections();
        let fetched = self.requests.send(self.ask.clone()).await?;
        self.replica.went_alone();
        if self.replica.connections() != made && !self.entry.is_alone(self.clock.now().instant) {
            // The store has come back while this was under way, too early to be noticed by who looks at what has landed.
            let (cache, at) = (Weak::clone(&self.entry.cache), self.clock.now().instant + LANDED);
            let rejoin = move || drop(cache.upgrade().inspect(TokenCache::rejoin));
            self.entry.own(self.replica.control.spawn_at(at, rejoin));
        }
        let mark = Mark::new(self.replica.keys.first(), &fetched.access_token);
        let shared = self.standing(&mark, 0, TokenOrigin::Alone, &self.replica.instance);
        Ok(FetchedToken { shared: Some(shared), ..fetched })
    }

    /// How long a refresh may be put off, by chance; `None` if it may not, or has been already.
    fn later(&self) -> Option<Duration> {
        let held = self.ask.held.as_ref().filter(|_| self.ask.why == Why::Ahead && !self.ask.put_off)?;
        let last = LAST_MOMENTS.max(held.lifetime / LAST_PART);
        let left = held.lifetime.checked_sub(held.age + last)?;
        let wait = left.min(held.usable_for).mul_f64(jitter());
        (!wait.is_zero()).then_some(wait)
    }
}

/// There is nothing to be done.
pub(super) fn nothing_newer() -> TokenError {
    TokenError::new(TokenErrorKind::PutOff, "the other replicas have no newer token")
}
