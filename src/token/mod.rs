//! Access tokens over time. Knows nothing of OAuth, sockets or configuration.
//!
//! A [`TokenCache`] holds one token for one identity. The request path reads a snapshot (`cache`); everything that
//! replaces it, single flight, schedule and back-off, is in `refresh` and runs on the control runtime. What it asks is a
//! [`TokenSource`]; `request` makes one request of it, within its `budget`.

mod budget;
mod cache;
mod clock;
mod control;
mod error;
mod expiry;
mod forced;
mod metrics;
mod policy;
mod refresh;
mod repeated;
mod request;
mod settings;
mod skew;
mod source;
#[cfg(test)]
mod testing;
mod text;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use http::HeaderValue;

pub use budget::Budget;
pub(crate) use budget::Spent;
pub use cache::TokenCache;
pub(crate) use cache::TokenStatus;
pub use clock::Clock;
pub(crate) use clock::Now;
pub use error::{About, TokenError, TokenErrorKind};
pub(crate) use expiry::Expiry;
pub use metrics::TokenMetrics;
pub(crate) use policy::Acquired;
pub use policy::CachePolicy;
pub use settings::RefreshSettings;
pub(crate) use skew::{FAR_OFF, clock_skew, skew_in_words};
pub use source::{Expires, FetchDetail, FetchedToken, TokenSource, TokenType};
pub(crate) use text::{TokenFault, judge_token};

use self::control::turn;
use crate::secret::Secret;

/// One access token and its ready-made header value. Immutable but for two marks.
#[derive(Debug)]
pub(crate) struct AccessToken {
    /// Counts the tokens of one cache, from 1: a late 401 names the token it is about.
    pub(crate) generation: u64,
    /// The token itself, for [`TokenCache::acquire`]; requests take the header value.
    pub(crate) secret: Secret,
    /// What the server granted, if it said.
    pub(crate) scope: Option<String>,
    /// What was asked for and not granted, separated by spaces.
    pub(crate) missing_scope: Option<String>,
    /// How it is presented.
    pub(crate) token_type: TokenType,
    /// Its life.
    pub(crate) expiry: Expiry,
    /// When it came.
    pub(crate) fetched_at: SystemTime,
    /// What came with it.
    pub(crate) detail: FetchDetail,
    injectable: Injectable,
    used: AtomicBool,
    refresh_claimed: AtomicBool,
}

/// What a request takes from a token: a reference-counted header value, and enough to report a 401 about it.
#[derive(Debug, Clone)]
pub struct Injectable {
    /// `Bearer …`, marked sensitive: it prints as `Sensitive` and stays out of HPACK's dynamic table.
    pub(crate) value: HeaderValue,
    /// The token's generation.
    pub(crate) generation: u64,
    /// The token was itself obtained because an upstream refused its predecessor.
    pub(crate) after_unauthorized: bool,
    /// Its type says how it is presented. Otherwise only the configuration does, if it does.
    pub(crate) type_is_known: bool,
}

impl Injectable {
    /// The scheme and the token itself, for those who present it in another way. There is no second copy of the token to
    /// look after: it is what follows the scheme.
    #[must_use]
    pub(crate) fn scheme_and_token(&self) -> Option<(&str, &str)> {
        self.value.to_str().ok()?.split_once(' ')
    }
}

impl AccessToken {
    /// Makes the header value once, for every request that will carry it. `None` if the token may not enter a header.
    fn new(fetched: FetchedToken, expiry: Expiry, now: Now, generation: u64, after_unauthorized: bool) -> Option<Self> {
        judge_token(fetched.access_token.expose()).ok()?;
        let text =
            zeroize::Zeroizing::new(format!("{} {}", fetched.token_type.as_str(), fetched.access_token.expose()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        let type_is_known = fetched.token_type != TokenType::Unknown;
        Some(Self {
            generation,
            secret: fetched.access_token,
            scope: fetched.scope,
            missing_scope: (!fetched.missing_scope.is_empty()).then(|| fetched.missing_scope.join(" ")),
            token_type: fetched.token_type,
            expiry,
            fetched_at: now.wall,
            detail: fetched.detail,
            injectable: Injectable { value, generation, after_unauthorized, type_is_known },
            used: AtomicBool::new(false),
            refresh_claimed: AtomicBool::new(false),
        })
    }

    /// Marks the token as in use; an unused token is not refreshed ahead. A read comes first, so that a cache line that
    /// all workers share is written once for each token and not once for each request.
    fn mark_used(&self) {
        turn();
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// True for the one who may start this token's refresh.
    fn claim_refresh(&self) -> bool {
        turn();
        !self.refresh_claimed.load(Ordering::Relaxed) && !self.refresh_claimed.swap(true, Ordering::Relaxed)
    }
}
