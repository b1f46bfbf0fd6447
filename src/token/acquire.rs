//! A token for a program that asks for one itself, instead of for a request that carries it.

use std::sync::Arc;
use std::time::Duration;

use super::{Expires, FetchedToken, Injectable, Now, TokenCache, TokenError, TokenErrorKind, TokenType};
use crate::secret::Secret;

/// What the cache has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CachePolicy {
    /// Read, and written by whoever finds nothing.
    ReadWrite,
    /// Neither read nor written: a token request of one's own.
    Bypass,
    /// Not read, but written.
    ForceRefresh,
}

/// An access token, as it was asked for.
#[derive(Debug, Clone)]
pub struct Acquired {
    /// The token.
    pub access_token: Secret,
    /// How it is presented.
    pub token_type: TokenType,
    /// What is left of its life; `None` where nobody said and no cache had to decide.
    pub expires_in: Option<Duration>,
    /// What was granted, if the server said.
    pub scope: Option<String>,
}

impl TokenCache {
    /// A token, by this policy, within `wait`.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`].
    pub async fn acquire(self: &Arc<Self>, policy: CachePolicy, wait: Duration) -> Result<Acquired, Arc<TokenError>> {
        let injectable = match policy {
            CachePolicy::ReadWrite => self.obtain(wait).await?,
            CachePolicy::ForceRefresh => self.force_refresh(wait).await?,
            CachePolicy::Bypass => return self.bypass(wait).await,
        };
        self.taken_apart(&injectable).map_err(Arc::new)
    }

    async fn bypass(self: &Arc<Self>, wait: Duration) -> Result<Acquired, Arc<TokenError>> {
        let late = || Arc::new(TokenError::new(TokenErrorKind::Timeout, "the token request has not been answered yet"));
        let fetched = tokio::time::timeout(wait, self.request_token()).await.map_err(|_elapsed| late())?;
        let fetched = fetched.map_err(Arc::new)?;
        let expires_in = said(fetched.expires, self.clock.now());
        let FetchedToken { access_token, token_type, scope, .. } = fetched;
        Ok(Acquired { access_token, token_type, expires_in, scope })
    }

    /// The header value is the one copy of a token that is kept, so it is read back from there.
    fn taken_apart(&self, injectable: &Injectable) -> Result<Acquired, TokenError> {
        let unreadable = || TokenError::new(TokenErrorKind::InvalidResponse, "the access token is no text");
        let text = injectable.value.to_str().map_err(|_invalid| unreadable())?;
        let (scheme, token) = text.split_once(' ').ok_or_else(unreadable)?;
        let token_type = if scheme == TokenType::DPoP.as_str() { TokenType::DPoP } else { TokenType::Bearer };
        let held = self.snapshot.load_full().filter(|held| held.generation == injectable.generation);
        // One that is not held any more was given no life by its server, or has been refused meanwhile.
        let expires_in = held.as_ref().map_or(Duration::ZERO, |held| held.expiry.remaining(self.clock.now()));
        let scope = held.and_then(|held| held.scope.clone());
        Ok(Acquired { access_token: Secret::new(token.to_owned()), token_type, expires_in: Some(expires_in), scope })
    }
}

/// In the server's words: without a cache there is nobody who would have to be careful.
fn said(expires: Expires, now: Now) -> Option<Duration> {
    match expires {
        Expires::In(lifetime) => Some(lifetime),
        Expires::At(at) => Some(at.duration_since(now.wall).unwrap_or_default()),
        Expires::Unsaid => None,
    }
}
