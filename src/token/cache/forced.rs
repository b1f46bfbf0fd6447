//! A new token because a person or a program asks for one.

use std::sync::Arc;
use std::time::Duration;

use super::TokenCache;
use crate::token::access_token::{AccessToken, HeaderToken};
use crate::token::budget::{Admission, Budget};
use crate::token::error::{TokenError, TokenErrorKind};
use crate::token::flight::FlightResult;
use crate::token::source::Why;

/// How often a new token may be asked for, whatever there is.
const FORCED: Budget = Budget { requests: 10, per: Duration::from_secs(60) };

impl TokenCache {
    /// Asks for a new token now, whatever there is, unless a request is in flight: then its token is the answer.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`]; [`TokenErrorKind::Transient`] where it is asked for more often than people would.
    pub(crate) async fn refresh(self: &Arc<Self>, wait: Duration) -> Result<HeaderToken, Arc<TokenError>> {
        if let Admission::Spent(left) = self.forced.admit(FORCED, self.clock.now().instant) {
            let message = format!("new tokens have been asked for as often as may be by hand, {FORCED}");
            return Err(Arc::new(TokenError::new(TokenErrorKind::Transient, message).with_retry_after(Some(left))));
        }
        self.force_token(wait).await.map(|token| token.header.clone())
    }

    pub(super) async fn force_token(self: &Arc<Self>, wait: Duration) -> FlightResult<Arc<AccessToken>> {
        let flight = {
            let mut state = self.lock();
            state.forget_failure();
            self.join_flight(&mut state, Why::Forced)
        };
        self.wait_for(flight, wait).await
    }
}
