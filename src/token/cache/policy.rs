//! Tokens for those who use the library: how the cache takes part, and the token itself with the time that is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::TokenCache;
use crate::secret::Secret;
use crate::token::access_token::AccessToken;
use crate::token::clock::Now;
use crate::token::control::Task;
use crate::token::error::TokenError;
use crate::token::source::{Expires, FetchedToken, TokenType};

/// How the cache takes part when a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePolicy {
    /// The current token, or the one that the token request in flight brings.
    #[default]
    ReadWrite,
    /// One token request of its own, whose token nobody else sees: the cache is neither read nor written, and a remembered
    /// failure does not stand in its way. It counts in the metrics and in the budget.
    Bypass,
    /// A new token, for all who use the cache from then on. A request in flight is joined.
    ForceRefresh,
}

/// A token, and what is left of it at this moment.
#[derive(Debug)]
pub(crate) struct Acquired {
    /// For the wire; nowhere else.
    pub(crate) access_token: Secret,
    /// How it is presented.
    pub(crate) token_type: TokenType,
    /// What is left **now** of the life that the server gave, or that `default_lifetime` stands in for. `None` only for
    /// [`CachePolicy::Bypass`], where the server said nothing.
    pub(crate) expires_in: Option<Duration>,
    /// What the server granted, if it said.
    pub(crate) scope: Option<String>,
    /// The token's number in its cache; 0 where it is in none.
    #[cfg(test)]
    pub(crate) generation: u64,
}

impl TokenCache {
    /// A token under this policy.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`]. With [`CachePolicy::Bypass`] the failure of its own request, which is not remembered. Dropping
    /// the future, or the end of `wait`, ends that request; a shared one goes on.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        policy: CachePolicy,
        wait: Duration,
    ) -> Result<Acquired, Arc<TokenError>> {
        let token = match policy {
            CachePolicy::ReadWrite => self.obtain_token(wait).await?,
            CachePolicy::ForceRefresh => self.force_token(wait).await?,
            CachePolicy::Bypass => {
                let fetched = self.fetch_apart(wait).await?;
                return Ok(Acquired::apart(fetched, self.clock.now()));
            }
        };
        Ok(Acquired::cached(&token, self.clock.now()))
    }

    /// On the control runtime, where the connections to the authorization server live.
    async fn fetch_apart(self: &Arc<Self>, wait: Duration) -> Result<FetchedToken, Arc<TokenError>> {
        let (answer, waiting) = oneshot::channel();
        let cache = Arc::clone(self);
        let task = self.control.spawn(async move { drop(answer.send(cache.request_once().await)) });
        let _owner = AbortOnDrop(task);
        match self.control.timeout(wait, waiting).await {
            Ok(Ok(fetched)) => fetched.map_err(Arc::new),
            Ok(Err(_gone)) => Err(Arc::new(TokenError::shut_down())),
            Err(_elapsed) => Err(Arc::new(TokenError::unanswered())),
        }
    }
}

impl Acquired {
    fn cached(token: &AccessToken, now: Now) -> Self {
        Self {
            access_token: token.secret.clone(),
            token_type: token.token_type,
            expires_in: Some(token.expiry.remaining(now)),
            scope: token.scope.clone(),
            #[cfg(test)]
            generation: token.generation,
        }
    }

    /// In the server's words: without a cache there is nobody who would have to be careful.
    fn apart(fetched: FetchedToken, now: Now) -> Self {
        let expires_in = match fetched.expires {
            Expires::In(lifetime) => Some(lifetime),
            Expires::At(at) => Some(at.duration_since(now.wall).unwrap_or_default()),
            Expires::Unsaid => None,
        };
        Self {
            access_token: fetched.access_token,
            token_type: fetched.token_type,
            expires_in,
            scope: fetched.scope,
            #[cfg(test)]
            generation: 0,
        }
    }
}

/// A task that nobody else waits for.
struct AbortOnDrop(Task);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
