//! One access token, and what requests take from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use http::HeaderValue;

use super::clock::Now;
use super::control::yield_point;
use super::expiry::Expiry;
use super::source::Shared;
use super::source::{FetchDetail, FetchedToken, TokenType};
use super::text::judge_token;
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
    /// Its standing among replicas.
    pub(crate) shared: Option<Shared>,
    pub(super) header: HeaderToken,
    pub(super) used: AtomicBool,
    refresh_claimed: AtomicBool,
}

/// What a request takes from a token: a reference-counted header value, and enough to report a 401 about it.
#[derive(Debug, Clone)]
pub struct HeaderToken {
    /// `Bearer …`, marked sensitive: it prints as `Sensitive` and stays out of HPACK's dynamic table.
    pub(crate) value: HeaderValue,
    /// The token's generation.
    pub(crate) generation: u64,
    /// The token was itself obtained because an upstream refused its predecessor.
    pub(crate) after_unauthorized: bool,
    /// Its type says how it is presented. Otherwise only the configuration does, if it does.
    pub(crate) type_is_known: bool,
}

impl HeaderToken {
    /// The scheme and the token itself, for those who present it in another way. There is no second copy of the token to
    /// look after: it is what follows the scheme.
    #[must_use]
    pub(crate) fn scheme_and_token(&self) -> Option<(&str, &str)> {
        self.value.to_str().ok()?.split_once(' ')
    }
}

impl AccessToken {
    /// Makes the header value once, for every request that will carry it. `None` if the token may not enter a header.
    pub(super) fn new(
        fetched: FetchedToken,
        expiry: Expiry,
        now: Now,
        generation: u64,
        after_unauthorized: bool,
    ) -> Option<Self> {
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
            shared: fetched.shared,
            header: HeaderToken { value, generation, after_unauthorized, type_is_known },
            used: AtomicBool::new(false),
            refresh_claimed: AtomicBool::new(false),
        })
    }

    /// Marks the token as in use; an unused token is not refreshed ahead. A read comes first, so that a cache line that
    /// all workers share is written once for each token and not once for each request.
    pub(super) fn mark_used(&self) {
        yield_point();
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// True for the one who may start this token's refresh.
    pub(super) fn claim_refresh(&self) -> bool {
        yield_point();
        !self.refresh_claimed.load(Ordering::Relaxed) && !self.refresh_claimed.swap(true, Ordering::Relaxed)
    }
}
