//! Tokens of one's own for each caller's token (RFC 8693): bounded, and never one caller's for another.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;

use super::binding::Binding;
use super::inject::Inject;
use crate::secret::Secret;
use crate::token::TokenStatus;

/// So many subjects are kept; beyond, one that has not been seen for long goes, with its token.
const SUBJECTS: usize = 10_000;

/// Makes the credential of one subject, and says when the subject's own token ends.
type Make<C> = Box<dyn Fn(Secret) -> (Arc<C>, Option<SystemTime>) + Send + Sync>;

/// How long a subject is kept after its token has ended: so long it is told what the server said of it, without asking again.
const AFTERWARDS: Duration = Duration::from_secs(60);

struct Subject<C> {
    credential: Arc<C>,
    ends: Option<SystemTime>,
}

/// The credentials that one exchange has become, by the digest of each subject's token. The digest and not the token: a
/// key is compared, listed and moved about, and must be worth nothing.
pub(crate) struct Exchange<C> {
    name: String,
    inject: Inject,
    binding: Option<Arc<Binding>>,
    make: Make<C>,
    subjects: Cache<[u8; 32], Subject<C>>,
}

impl<C> Exchange<C> {
    /// An exchange that knows no subject yet.
    pub(super) fn with(
        name: String,
        inject: Inject,
        binding: Option<Arc<Binding>>,
        make: impl Fn(Secret) -> (Arc<C>, Option<SystemTime>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (make, subjects) = (Box::new(make), Cache::new(SUBJECTS));
        Arc::new(Self { name, inject, binding, make, subjects })
    }

    /// The credential of the caller whose token this is. Two callers with the same token are the same caller.
    #[must_use]
    pub(crate) fn of(&self, subject: &str) -> Arc<C> {
        let subject = Secret::new(subject.to_owned());
        let digest = subject.fingerprint();
        let made = self.subjects.get_or_insert_with(&digest, || {
            let (credential, ends) = (self.make)(subject);
            Ok::<_, std::convert::Infallible>(Subject { credential, ends })
        });
        match made {
            Ok(subject) => subject.credential,
            Err(never) => match never {},
        }
    }

    /// Forgets the subjects whose own tokens have ended, and what those were exchanged for.
    pub(crate) fn forget_ended(&self, now: SystemTime) {
        self.subjects.retain(|_, subject| subject.ends.is_none_or(|ends| now < ends + AFTERWARDS));
    }

    pub(super) const fn inject(&self) -> &Inject {
        &self.inject
    }

    pub(super) const fn binding(&self) -> Option<&Arc<Binding>> {
        self.binding.as_ref()
    }

    /// There is a state for each subject and none for all; the number of subjects stands in for the generation.
    pub(super) fn status(&self) -> TokenStatus {
        let subjects = self.subjects.len();
        TokenStatus {
            state: if subjects == 0 { "empty" } else { "ready" },
            generation: subjects as u64,
            usable: true,
            ..TokenStatus::default()
        }
    }
}

impl<C> Clone for Subject<C> {
    fn clone(&self) -> Self {
        Self { credential: Arc::clone(&self.credential), ends: self.ends }
    }
}

impl<C> fmt::Debug for Exchange<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("name", &self.name)
            .field("subjects", &self.subjects.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{
        Ask, Clock, Fetching, RefreshSettings, TokenCache, TokenError, TokenErrorKind, TokenMetrics, TokenSource,
    };

    struct Never;

    impl TokenSource for Never {
        fn fetch(&self, _ask: Ask) -> Fetching<'_> {
            Box::pin(async { Err(TokenError::new(TokenErrorKind::Permanent, "never")) })
        }
    }

    #[tokio::test]
    async fn a_subject_is_forgotten_when_its_own_token_has_ended() {
        let now = SystemTime::now();
        let control = tokio::runtime::Handle::current();
        let make = move |subject: Secret| {
            let ends = (subject == Secret::new("ends".into())).then_some(now);
            let (settings, clock) = (RefreshSettings::default(), Clock::system());
            let cache =
                TokenCache::new("test", Box::new(Never), settings, clock, control.clone(), TokenMetrics::default());
            (cache, ends)
        };
        let exchange = Exchange::new("x".into(), Inject::default(), None, Duration::from_secs(1), make);
        let (ends, stays) = (exchange.of("ends"), exchange.of("stays"));
        exchange.forget_ended(now + Duration::from_secs(59));
        assert!(Arc::ptr_eq(&ends, &exchange.of("ends")), "for a while it is known what the server said");
        exchange.forget_ended(now + AFTERWARDS);
        assert_eq!(exchange.subjects.len(), 1);
        assert!(Arc::ptr_eq(&stays, &exchange.of("stays")) && !Arc::ptr_eq(&ends, &exchange.of("ends")));
    }
}
