//! Replacing a token that an upstream refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::TokenCache;
use super::state::RefreshState;
use crate::renewal::{Evidence, RefusedToken};
use crate::token::access_token::{AccessToken, HeaderToken};
use crate::token::control::yield_point;
use crate::token::error::TokenError;
use crate::token::flight::Flight;
use crate::token::source::Why;

impl TokenCache {
    /// Notes that an upstream has taken this token.
    pub(crate) fn accepted(&self, generation: u64) {
        if self.accepted.fetch_max(generation, Ordering::Relaxed) < generation
            && let Some(token) = self.snapshot.load().as_ref()
            && token.generation == generation
            && let Some(shared) = token.shared.as_ref().filter(|shared| shared.after_unauthorized)
        {
            self.source.accepted(shared);
        }
    }

    /// Notes that a renewal on this evidence has helped.
    pub(crate) fn renewal_helped(&self, evidence: Evidence) {
        self.lock().renewal_helped(evidence);
    }

    /// A token newer than the one an upstream refused. Where there is none yet and none on its way, `warrant` is asked, under
    /// the lock, whether the refusal is worth a token request; `None` if it is not. On strong evidence the refused token is
    /// discarded at once; otherwise one that an upstream has taken stays in use until there is another. A late 401 never costs a newer token.
    ///
    /// # Errors
    /// As [`TokenCache::obtain`].
    pub(crate) async fn renew(
        self: &Arc<Self>,
        refused: &HeaderToken,
        wait: Duration,
        warrant: impl FnOnce(RefusedToken) -> Option<Evidence>,
    ) -> Result<Option<HeaderToken>, Arc<TokenError>> {
        match self.begin_renewal(refused, warrant, |evidence| evidence == Evidence::Strong)? {
            Renewal::Newer(newer) => Ok(Some(newer)),
            Renewal::Under(flight) => self.wait_for(flight, wait).await.map(|token| Some(token.header.clone())),
            Renewal::Unwarranted => Ok(None),
        }
    }

    /// The same for a refusal that came too late for another try: nobody waits for the new token, and the refused one is
    /// discarded on less evidence, since the next request could not be tried again either.
    pub(crate) fn renew_for_later(
        self: &Arc<Self>,
        refused: &HeaderToken,
        warrant: impl FnOnce(RefusedToken) -> Option<Evidence>,
    ) {
        let discards = |evidence| matches!(evidence, Evidence::Strong | Evidence::Inherited);
        // Whatever comes of it is for the requests to come; a remembered failure is theirs to meet.
        drop(self.begin_renewal(refused, warrant, discards));
    }

    fn begin_renewal(
        self: &Arc<Self>,
        refused: &HeaderToken,
        warrant: impl FnOnce(RefusedToken) -> Option<Evidence>,
        discards: impl FnOnce(Evidence) -> bool,
    ) -> Result<Renewal, Arc<TokenError>> {
        let mut state = self.lock();
        // A late 401 about an older one tells nothing new.
        if refused.generation == state.generation {
            state.journal.note_refusal(self.clock.now().wall, refused.generation);
        }
        if let Some(newer) = self.newer_than(refused.generation) {
            return Ok(Renewal::Newer(newer));
        }
        if !state.flights.is_under_way() {
            let now = self.clock.now();
            if let Some(error) = state.fail_fast(now.instant) {
                return Err(error);
            }
            let untried = self.accepted.load(Ordering::Relaxed) < refused.generation;
            let (generation, fresh) = (refused.generation, untried && refused.after_unauthorized);
            let standing = RefusedToken { generation, fresh, allowance: state.allowance(now.instant) };
            let Some(evidence) = warrant(standing) else { return Ok(Renewal::Unwarranted) };
            // One that no upstream has taken is no loss.
            if untried || discards(evidence) {
                self.discard(&mut state, refused.generation);
            }
            state.begin_renewal(evidence, now.instant);
        }
        Ok(Renewal::Under(self.join_flight(&mut state, Why::Refused)))
    }

    fn newer_than(self: &Arc<Self>, generation: u64) -> Option<HeaderToken> {
        self.read(|token| (token.generation > generation).then(|| token.header.clone()))?
    }

    /// Compare and swap on the generation; called under the lock, so that no landing comes between.
    fn discard(&self, state: &mut RefreshState, generation: u64) {
        yield_point();
        let token = self.snapshot.load_full();
        if token.as_ref().is_some_and(|token| token.generation == generation) {
            tracing::debug!(target: "attache::token", credential = %self.name, generation, "token discarded");
            yield_point();
            self.snapshot.store(None);
            state.discarded = token.filter(|token| token.shared.is_some());
        }
    }
}

/// What is done about a refused token.
enum Renewal {
    /// It has been replaced already.
    Newer(HeaderToken),
    /// A token request is under way.
    Under(Flight<Arc<AccessToken>>),
    /// It stays.
    Unwarranted,
}
