//! Tokens of one's own for each caller's token (RFC 8693): bounded, and never one caller's for another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::{Binding, Credential, Inject};
use crate::secret::Secret;
use crate::token::{TokenCache, TokenStatus};

/// So many subjects are kept; beyond, one that has not been seen for long goes, with its token.
const SUBJECTS: usize = 10_000;

/// Makes the cache for one subject.
type Make = Box<dyn Fn(Secret) -> Arc<TokenCache> + Send + Sync>;

/// The credentials that one exchange has become, by the digest of each subject's token. The digest and not the token: a
/// key is compared, listed and moved about, and must be worth nothing.
pub struct Exchange {
    name: String,
    inject: Inject,
    binding: Option<Arc<Binding>>,
    timeout: Duration,
    make: Make,
    subjects: Cache<[u8; 32], Arc<Credential>>,
}

impl Exchange {
    /// An exchange that knows no subject yet. `timeout` is that of one token request.
    #[must_use]
    pub fn new(
        name: String,
        inject: Inject,
        binding: Option<Arc<Binding>>,
        timeout: Duration,
        make: impl Fn(Secret) -> Arc<TokenCache> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (make, subjects) = (Box::new(make), Cache::new(SUBJECTS));
        Arc::new(Self { name, inject, binding, timeout, make, subjects })
    }

    /// The credential of the caller whose token this is. Two callers with the same token are the same caller.
    #[must_use]
    pub fn of(&self, subject: &str) -> Arc<Credential> {
        let subject = Secret::new(subject.to_owned());
        let digest = subject.fingerprint();
        let made = self.subjects.get_or_insert_with(&digest, || {
            let cache = (self.make)(subject);
            let made = Credential::new(self.name.clone(), false, self.inject.clone(), cache, self.timeout);
            Ok::<_, std::convert::Infallible>(Arc::new(made.bound_to(self.binding.clone()).of_a_caller()))
        });
        match made {
            Ok(credential) => credential,
            Err(never) => match never {},
        }
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

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("name", &self.name)
            .field("subjects", &self.subjects.len())
            .finish_non_exhaustive()
    }
}
