//! This replica asks, for all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;

use super::asking::{Asking, LANDED, LEASE};
use crate::fleet::entry::{Entry, LONGEST_ALONE};
use crate::fleet::names::{Mark, Tag, replica_of};
use crate::fleet::protocol::{Fail, Lead, Lease, Put, PutAnswer, Reach, SharedFailure, Stored};
use crate::fleet::replica::Replica;
use crate::fleet::seal::SealError;
use crate::fleet::value::{FailureValue, LONGEST_FAILURE, Newest, NoToken, TokenValue};
use crate::store::StoreError;
use crate::token::{About, Expiry, FetchedToken, Held, TokenError, TokenErrorKind, TokenOrigin, Why, back_off};

/// The leader says that it lives.
const EACH: Duration = Duration::from_secs(1);

/// What is known of an entry besides its token is kept at least so long.
const KEEP: Duration = Duration::from_secs(3600);

impl Asking<'_> {
    pub(super) async fn lead(&self, lead: Lead) -> Result<FetchedToken, TokenError> {
        if let Some(before) = &lead.took_over_from {
            let (credential, replica) = (&self.credential.name, replica_of(before));
            tracing::info!(target: "attache::cache", %credential, "took over from {replica}, whose lease had run out");
        }
        if let Some(token) = self.under_another_key(&lead).await {
            return Ok(token);
        }
        self.requests.note(lead.used);
        if self.ask.why == Why::Apart {
            return self.requests.send(self.ask.clone()).await;
        }
        match self.send_under_lease(&lead).await {
            Ok(fetched) => Ok(self.share(fetched, &lead)),
            Err(error) => {
                self.tell_failure(&error, &lead).await;
                Err(error)
            }
        }
    }

    /// Keeps the lease while the request is under way. One that is lost is no matter: another replica may ask as well then.
    async fn send_under_lease(&self, lead: &Lead) -> Result<FetchedToken, TokenError> {
        let lease = Lease { owner: self.entry.owner.clone(), fence: lead.fence, length: LEASE };
        let (store, control) = (&self.replica.store, &self.replica.control);
        let kept = async {
            loop {
                control.sleep(EACH).await;
                if matches!(store.keep(&self.entry.tag, &lease).await, Ok(false)) {
                    return std::future::pending::<Infallible>().await;
                }
            }
        };
        let sent = std::pin::pin!(self.requests.send(self.ask.clone()));
        match select(sent, std::pin::pin!(kept)).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => match never {},
        }
    }

    /// The token is this replica's at once; the others get it in the background.
    fn share(&self, fetched: FetchedToken, lead: &Lead) -> FetchedToken {
        let now = self.clock.now();
        let expiry = Expiry::of(&fetched, now, &self.credential.settings, 0.0);
        let elapsed = now.instant.saturating_duration_since(fetched.requested_at);
        let (keys, usable) = (&self.replica.keys, expiry.usable_for(now));
        let mark = Mark::new(keys.first(), &fetched.access_token);
        let value = TokenValue {
            token: fetched.access_token.clone(),
            token_type: fetched.token_type,
            lifetime: expiry.lifetime,
            age: elapsed + fetched.age,
            expires_at: now.wall + expiry.remaining(now),
            scope: fetched.scope.clone(),
            missing_scope: fetched.missing_scope.clone(),
            detail: fetched.detail.clone(),
            by: self.replica.instance.to_string(),
        };
        let sealed = match value.seal(keys, &self.entry.tag, lead.fence) {
            _ if expiry.lifetime.is_zero() => {
                self.keep_for_itself(None, lead);
                return fetched;
            }
            // The server returns the old token until it ends. The lease goes on for a while, so that not all ask now.
            _ if usable.is_zero() => return fetched,
            Ok(sealed) => sealed,
            Err(error) => {
                self.keep_for_itself(Some(error), lead);
                return fetched;
            }
        };
        self.entry.note(Newest { generation: lead.fence, obtained_at: value.obtained_at() });
        let shared = self.standing(&mark, lead.fence, TokenOrigin::Led, &self.replica.instance);
        let after_unauthorized = self.ask.after_unauthorized;
        self.put_in_background(Put { fence: lead.fence, sealed, mark, usable, after_unauthorized, keep: self.keep() });
        FetchedToken { shared: Some(shared), ..fetched }
    }

    fn keep(&self) -> Duration {
        self.credential.settings.budget.map_or(KEEP, |budget| budget.per.max(KEEP))
    }

    /// A token that the server gives no life, or one that is too large: each replica asks for its own. All are told, since they would
    /// find it out one after the other.
    fn keep_for_itself(&self, error: Option<SealError>, lead: &Lead) {
        if let Some(error) = error {
            self.replica.metrics.too_large();
            tracing::warn!(target: "attache::cache", credential = %self.credential.name, "the token is not shared: {error}");
        }
        self.entry.stay_alone(self.clock.now().instant, LONGEST_ALONE);
        let failure = self.no_token(NoToken::NotShared, LONGEST_ALONE, Reach::EachForItself, lead);
        let fail = Fail { owner: self.entry.owner.clone(), fence: lead.fence, failure };
        let (replica, entry) = (Arc::clone(&self.replica), Arc::clone(&self.entry));
        self.in_background(async move { drop(replica.store.fail(&entry.tag, &fail).await) });
    }

    fn put_in_background(&self, put: Put) {
        let (replica, entry) = (Arc::clone(&self.replica), Arc::clone(&self.entry));
        self.in_background(put_for_all(replica, entry, put, self.credential.name.clone()));
    }

    fn in_background(&self, saying: impl Future<Output = ()> + Send + 'static) {
        self.entry.own(self.replica.control.spawn(saying));
    }

    /// What others need not ask for themselves, and when this one's affairs are its own: then the lease ends and no more.
    async fn tell_failure(&self, error: &TokenError, lead: &Lead) {
        let own = matches!(error.kind, TokenErrorKind::Configuration | TokenErrorKind::Cancelled);
        let at_once = error.retry_after.is_some() || error.about == Some(About::Rate);
        let reach = if at_once { Reach::All } else { Reach::Confirmed };
        let delay = back_off(error, lead.failures);
        let failure = (!own).then(|| self.no_token(NoToken::Failed(error.clone()), delay, reach, lead)).flatten();
        let fail = Fail { owner: self.entry.owner.clone(), fence: lead.fence, failure };
        // Without it the lease runs out by itself.
        drop(self.replica.store.fail(&self.entry.tag, &fail).await);
    }

    fn no_token(&self, why: NoToken, delay: Duration, reach: Reach, lead: &Lead) -> Option<SharedFailure> {
        let delay = delay.min(LONGEST_FAILURE);
        let (at, by) = (self.clock.now().wall, self.replica.instance.to_string());
        let sealed = FailureValue { why, at, delay, by }.seal(&self.replica.keys, &self.entry.tag, lead.fence).ok()?;
        Some(SharedFailure { sealed, delay, reach })
    }

    /// While `cache.key` is changed: what lies under another key is put under the first, and nobody is asked.
    async fn under_another_key(&self, lead: &Lead) -> Option<FetchedToken> {
        if !matches!(self.ask.why, Why::Ahead | Why::Cold) {
            return None;
        }
        let held = self.ask.held.as_ref();
        for tag in &self.entry.under_other_keys {
            let asked_at = Instant::now();
            let Ok(Some(stored)) = self.replica.store.read(tag).await else { continue };
            let Some(value) = self.open_under(tag, &stored) else { continue };
            let mark = Mark::new(self.replica.keys.first(), &value.token);
            let is_other = |held: &Held| held.shared.as_ref().is_none_or(|shared| *shared.mark != *mark.text());
            let is_newer = held.is_none_or(|held| is_other(held) && value.age(&stored) < held.age);
            let again = TokenValue { age: value.age(&stored), ..value.clone() };
            if let Ok(sealed) = again.seal(&self.replica.keys, &self.entry.tag, lead.fence)
                && is_newer
            {
                let after_unauthorized = stored.renewals > 0;
                let (fence, usable) = (lead.fence, stored.left);
                self.entry.note(Newest { generation: fence, obtained_at: value.obtained_at() });
                self.put_in_background(Put { fence, sealed, mark, usable, after_unauthorized, keep: self.keep() });
                return Some(self.adopted(value, &stored, fence, asked_at));
            }
        }
        None
    }

    fn open_under(&self, tag: &Tag, stored: &Stored) -> Option<TokenValue> {
        TokenValue::open(&self.replica.keys, tag, stored, self.clock.now().wall, None).ok()
    }
}

/// Twice if need be. Where a newer one is there, it is this replica's as well; where the store is away, the others have got one of
/// their own, and all look for the newest when it is back. Nothing is held meanwhile: a change of the configuration
/// ends the replica and its connection.
async fn put_for_all(replica: Arc<Replica>, entry: Arc<Entry>, put: Put, credential: String) {
    let next = replica.next_connection();
    let mut answer = replica.store.put(&entry.tag, &put).await;
    if answer.is_err() {
        answer = replica.store.put(&entry.tag, &put).await;
    }
    let next = match answer {
        Ok(PutAnswer::Older(stored)) if stored.generation > put.fence => None,
        // Who has another one of the same number meets this replica at the next refresh.
        Ok(PutAnswer::Put | PutAnswer::Older(_)) => return,
        Err(error) => {
            tracing::debug!(target: "attache::cache", credential, "the token was not put into the shared cache: {error}");
            match error {
                StoreError::Away | StoreError::Timeout | StoreError::Broken => Some(next),
                // The connection stays as it is, and another one brings nothing.
                StoreError::Refused(_) | StoreError::Unexpected => return,
            }
        }
    };
    let (control, fence, weak) = (replica.control.clone(), put.fence, Arc::downgrade(&entry));
    drop((replica, entry, put));
    if let Some(next) = next
        && next.made().await.is_none()
    {
        return;
    }
    control.sleep(LANDED).await;
    // Unless it has found a newer one meanwhile.
    if let Some(entry) = weak.upgrade()
        && entry.newest().is_some_and(|newest| newest.generation == fence)
        && let Some(cache) = entry.cache.upgrade()
    {
        cache.adopt_newer();
    }
}
