//! What others have obtained, or have failed to.

use std::time::Duration;

use tokio::time::Instant;

use super::asking::Asking;
use crate::fleet::names::Mark;
use crate::fleet::protocol::Stored;
use crate::fleet::seal::OpenError;
use crate::fleet::value::{FailureValue, Newest, NoToken, SKEW, TokenValue};
use crate::token::{Expires, FetchedToken, Shared, TokenOrigin, jitter};

impl Asking<'_> {
    /// The token of the store. Its life counts from when it was asked for there: a slow answer never extends it.
    pub(super) fn adopt(&self, stored: &Stored, asked_at: Instant) -> Result<FetchedToken, OpenError> {
        let (keys, newest) = (&self.replica.keys, self.entry.newest());
        let value = TokenValue::open(keys, &self.entry.tag, stored, self.clock.now().wall, newest)?;
        self.entry.note(Newest { generation: stored.generation, obtained_at: value.obtained_at() });
        Ok(self.adopted(value, stored, stored.generation, asked_at))
    }

    pub(super) fn adopted(
        &self,
        value: TokenValue,
        stored: &Stored,
        generation: u64,
        asked_at: Instant,
    ) -> FetchedToken {
        let mark = Mark::new(self.replica.keys.first(), &value.token);
        let shared = self.standing(&mark, generation, TokenOrigin::Adopted, &value.by);
        FetchedToken {
            not_after: value.expires_at.checked_add(SKEW),
            age: value.age(stored),
            // Who asked first because of a 401 has begun a series, which replicas that come to it go on with.
            shared: Some(Shared { after_unauthorized: stored.renewals > 0, ..shared }),
            token_type: value.token_type,
            scope: value.scope,
            missing_scope: value.missing_scope,
            detail: value.detail,
            ..FetchedToken::bearer(value.token, Expires::In(value.lifetime), asked_at)
        }
    }

    /// What another replica was told instead of a token. They do not all ask again at one moment.
    pub(super) fn told_failure(&self, sealed: &[u8], fence: u64, left: Duration) -> Result<NoToken, OpenError> {
        let (keys, now) = (&self.replica.keys, self.clock.now());
        let told = FailureValue::open(keys, &self.entry.tag, fence, sealed, now.wall)?;
        let left = told.left(left, now.wall);
        let error = match told.why {
            NoToken::Failed(error) => error,
            NoToken::NotShared => {
                self.entry.stay_alone(now.instant, left);
                return Ok(NoToken::NotShared);
            }
        };
        tracing::debug!(target: "attache::cache", credential = %self.credential.name, by = told.by, "another replica has no token: {error}");
        let apart = (left / 10).max(Duration::from_millis(200)).mul_f64(jitter());
        Ok(NoToken::Failed(error.with_retry_after(Some(left + apart))))
    }

    /// Counts what cannot be used; says it once.
    pub(super) fn reject(&self, rejected: OpenError) {
        self.replica.metrics.rejected(rejected);
        if self.entry.tells(rejected) {
            let (credential, tag) = (&self.credential.name, &self.entry.tag);
            tracing::warn!(target: "attache::cache", %credential, entry = %tag, "a value of the shared cache is not used: {rejected}");
        }
    }
}
