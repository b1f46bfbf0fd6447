//! What gets put on a request.
//!
//! Two kinds, by where it comes from: a token that is asked for (over [`TokenCache`]), or a secret that is there already
//! ([`Fixed`]). Both give a finished value that the request path takes by reference count.

mod authorization;
mod binding;
mod exchange;
mod fixed;
mod inject;
mod settings;
mod standing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

pub(crate) use authorization::Authorization;
use authorization::formatted;
pub(crate) use binding::Binding;
pub(crate) use fixed::Fixed;
pub(crate) use inject::{Format, Inject, Place};
pub(crate) use settings::{CredentialKind, CredentialSettings, FixedScheme, FixedSettings, TokenSettings, Unshared};

use self::inject::HeaderFormat;
use crate::jose::KeyError;
use crate::renewal::{Evidence, RefusedToken, Renewals};
use crate::secret::Secret;
use crate::token::{Acquired, CachePolicy, HeaderToken, TokenCache, TokenError, TokenErrorKind};

/// A configured credential, live. Several may share one [`TokenCache`], when their token requests are equal.
#[derive(Debug)]
pub(crate) struct Credential {
    /// The name in `[credentials.NAME]`.
    pub(crate) name: String,
    /// `/readyz` waits for it.
    pub(crate) required: bool,
    source: Source,
    unshared: Option<Unshared>,
    /// For the credential of one caller's token: callers must not be able to hold each other up.
    renewals: Renewals,
}

/// Where what is put on requests comes from.
#[derive(Debug)]
enum Source {
    Tokens {
        cache: Arc<TokenCache>,
        format: HeaderFormat,
        binding: Option<Arc<Binding>>,
        /// How long a request waits for a token: a whole token request, and its one quick retry.
        wait: Duration,
    },
    Fixed(Arc<Fixed>),
    /// For each caller another one.
    Exchange(Arc<Exchange>),
}

/// For each caller's token a credential of its own (RFC 8693).
pub(crate) type Exchange = exchange::Exchange<Credential>;

/// A whole token request, and its one quick retry.
fn own_wait(timeout: Duration) -> Duration {
    timeout * 2 + Duration::from_secs(1)
}

impl Credential {
    /// A credential on top of a token cache. `timeout` is that of one token request.
    #[must_use]
    pub(crate) fn new(name: String, required: bool, inject: Inject, cache: Arc<TokenCache>, timeout: Duration) -> Self {
        let wait = own_wait(timeout);
        Self::with(name, required, Source::Tokens { cache, format: HeaderFormat::new(inject), binding: None, wait })
    }

    /// The name under which its tokens are asked for: of credentials that share a token, the first one's.
    #[must_use]
    pub(crate) fn token_name(&self) -> &str {
        match &self.source {
            Source::Tokens { cache, .. } => cache.name(),
            Source::Fixed(_) | Source::Exchange(_) => &self.name,
        }
    }

    /// The same credential, whose tokens are bound to a key.
    #[must_use]
    pub(crate) fn bound_to(mut self, key: Option<Arc<Binding>>) -> Self {
        if let Source::Tokens { binding, .. } = &mut self.source {
            *binding = key;
        }
        self
    }

    /// The same credential, whose token another replica may be asking for: that may take so much longer.
    #[must_use]
    pub(crate) fn waiting_for_others(mut self, longer: Duration) -> Self {
        if let Source::Tokens { wait, .. } = &mut self.source {
            *wait += longer;
        }
        self
    }

    /// True if callers wait as long as with these two.
    #[must_use]
    pub(crate) fn waits_for(&self, timeout: Duration, longer: Duration) -> bool {
        matches!(&self.source, Source::Tokens { wait, .. } if *wait == own_wait(timeout) + longer)
    }

    /// The same credential, whose tokens stay in the process for this reason.
    #[must_use]
    pub(crate) const fn keeping_to_itself(mut self, why: Option<Unshared>) -> Self {
        self.unshared = why;
        self
    }

    /// Why nothing of it is shared with other replicas; `None` if its tokens are, where there is a `[cache]`.
    #[must_use]
    pub(crate) const fn unshared(&self) -> Option<Unshared> {
        self.unshared
    }

    /// The key that its tokens are bound to.
    #[must_use]
    pub(crate) fn binding(&self) -> Option<&Arc<Binding>> {
        match &self.source {
            Source::Tokens { binding, .. } => binding.as_ref(),
            Source::Exchange(exchange) => exchange.binding(),
            Source::Fixed(_) => None,
        }
    }

    /// The proof that goes with an authorization of its, for one request (RFC 9449 section 7.1); `None` where tokens are
    /// not bound. `origin` is scheme and authority of where the request goes.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub(crate) fn proof(
        &self,
        authorization: &Authorization,
        method: &Method,
        origin: (&str, &str),
        path: &str,
    ) -> Option<Result<HeaderValue, KeyError>> {
        self.binding().map(|binding| binding.proof(&authorization.finished, method, origin, path))
    }

    /// Takes in the nonce of an upstream's response. True if there is a new one, which the next proof will have.
    pub(crate) fn learn_nonce(&self, origin: (&str, &str), headers: &HeaderMap) -> bool {
        self.binding().is_some_and(|binding| binding.learn(origin, headers))
    }

    /// A credential that is a secret itself.
    #[must_use]
    pub(crate) fn fixed(name: String, required: bool, fixed: Arc<Fixed>) -> Self {
        Self::with(name, required, Source::Fixed(fixed))
    }

    /// A credential that is another one for each caller.
    #[must_use]
    pub(crate) fn exchange(name: String, required: bool, exchange: Arc<Exchange>) -> Self {
        Self::with(name, required, Source::Exchange(exchange))
    }

    fn with(name: String, required: bool, source: Source) -> Self {
        let unshared = match &source {
            Source::Tokens { .. } => None,
            Source::Fixed(_) => Some(Unshared::Fixed),
            Source::Exchange(_) => Some(Unshared::Exchanged),
        };
        Self { name, required, source, unshared, renewals: Renewals::default() }
    }

    fn of_a_caller(mut self) -> Self {
        self.renewals = Renewals::of_a_caller();
        self
    }

    /// What upstreams did with the tokens of this one caller, where tokens are exchanged.
    #[must_use]
    pub(crate) const fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// Notes that a renewal on this evidence has helped.
    pub(crate) fn renewal_helped(&self, evidence: Evidence) {
        if let Source::Tokens { cache, .. } = &self.source {
            cache.renewal_helped(evidence);
        }
    }

    /// Notes that an upstream has taken this token for the first time.
    pub(crate) fn accepted(&self, generation: u64) {
        if let Source::Tokens { cache, .. } = &self.source {
            cache.accepted(generation);
        }
    }

    /// What becomes of each caller's own token, if that is what it is made of.
    #[must_use]
    pub(crate) const fn exchanges(&self) -> Option<&Arc<Exchange>> {
        match &self.source {
            Source::Exchange(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// True if this is where its tokens are.
    #[must_use]
    pub(crate) fn is_backed_by(&self, tokens: &Arc<TokenCache>) -> bool {
        matches!(&self.source, Source::Tokens { cache, .. } if Arc::ptr_eq(cache, tokens))
    }

    /// True if this is the secret that it is.
    #[must_use]
    pub(crate) fn is_fixed(&self, secret: &Arc<Fixed>) -> bool {
        matches!(&self.source, Source::Fixed(fixed) if Arc::ptr_eq(fixed, secret))
    }

    /// True if it puts its tokens where this says.
    #[must_use]
    pub(crate) fn injects(&self, inject: &Inject) -> bool {
        matches!(&self.source, Source::Tokens { format, .. } if format.inject == *inject)
    }

    /// What part of a request it is put on.
    #[must_use]
    pub(crate) fn place(&self) -> &Place {
        match &self.source {
            Source::Tokens { format, .. } => &format.inject.place,
            Source::Fixed(fixed) => fixed.place(),
            Source::Exchange(exchange) => &exchange.inject().place,
        }
    }

    /// True if it goes into `Authorization`, where it meets what the caller has there.
    #[must_use]
    pub(crate) fn is_in_authorization(&self) -> bool {
        matches!(self.place(), Place::Field(name) if *name == AUTHORIZATION)
    }

    /// True if a challenge of this scheme (RFC 9110 section 11.1) is about what it puts on requests.
    #[must_use]
    pub(crate) fn answers(&self, scheme: &str) -> bool {
        match &self.source {
            Source::Tokens { format, .. } => {
                let own = format.inject.scheme();
                ["Bearer", "DPoP"].into_iter().chain(own).any(|known| known.eq_ignore_ascii_case(scheme))
            }
            Source::Exchange(_) => false,
            Source::Fixed(fixed) => fixed.answers(scheme),
        }
    }

    /// The authorization, if a usable token is at hand: the request path.
    #[must_use]
    pub(crate) fn ready(&self) -> Option<Authorization> {
        match &self.source {
            Source::Tokens { cache, format, .. } => format.format(cache.usable()?),
            Source::Fixed(fixed) => fixed.usable(),
            Source::Exchange(_) => None,
        }
        .map(|finished| self.authorization(finished))
    }

    /// The authorization, waiting for the token request if need be.
    ///
    /// # Errors
    /// Why there is no token.
    pub(crate) async fn obtain(&self) -> Result<Authorization, Arc<TokenError>> {
        let finished = match &self.source {
            Source::Tokens { cache, format, wait, .. } => formatted(format, cache.obtain(*wait).await?)?,
            Source::Fixed(fixed) => fixed.obtain().await?,
            Source::Exchange(_) => return Err(no_subject()),
        };
        Ok(self.authorization(finished))
    }

    /// An authorization with a newer token than the one that was refused. `None` where there is none: for a token, because
    /// `warrant` says so (see [`TokenCache::renew`]); for a fixed credential, whose renewal costs nobody anything, because its
    /// secret is still the one that was sent.
    ///
    /// # Errors
    /// Why there is no newer token.
    pub(crate) async fn renew(
        &self,
        refused: &Authorization,
        warrant: impl FnOnce(RefusedToken) -> Option<Evidence>,
    ) -> Result<Option<Authorization>, Arc<TokenError>> {
        let finished = match &self.source {
            Source::Tokens { cache, format, wait, .. } => {
                let newer = cache.renew(&refused.finished, *wait, warrant).await?;
                newer.map(|newer| formatted(format, newer)).transpose()?
            }
            Source::Fixed(fixed) => fixed.renew(refused.generation()).await?,
            Source::Exchange(_) => return Err(no_subject()),
        };
        Ok(finished.map(|finished| self.authorization(finished)))
    }

    /// Has a refused token replaced for the requests to come.
    pub(crate) fn renew_for_later(
        &self,
        refused: &Authorization,
        warrant: impl FnOnce(RefusedToken) -> Option<Evidence>,
    ) {
        if let Source::Tokens { cache, .. } = &self.source {
            cache.renew_for_later(&refused.finished, warrant);
        }
    }

    /// A new token, whatever there is; for a fixed credential, what its secret is now.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn refresh(&self) -> Result<(), Arc<TokenError>> {
        match &self.source {
            Source::Tokens { cache, wait, .. } => cache.refresh(*wait).await.map(|_| ()),
            Source::Fixed(fixed) => fixed.read_again().await.map(|_| ()),
            Source::Exchange(_) => Err(no_subject()),
        }
    }

    /// A member of the response that the current token came with, if it was asked for.
    #[must_use]
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        match &self.source {
            Source::Tokens { cache, .. } => cache.member(name),
            Source::Fixed(_) | Source::Exchange(_) => None,
        }
    }

    /// A token, to be handed to a program instead of put on its requests.
    ///
    /// # Errors
    /// Why there is none; a fixed credential and an exchange have none to hand out.
    pub(crate) async fn acquire(&self) -> Result<Acquired, Arc<TokenError>> {
        match &self.source {
            Source::Tokens { cache, wait, .. } => cache.acquire(CachePolicy::ReadWrite, *wait).await,
            Source::Fixed(_) | Source::Exchange(_) => {
                let message = "this credential has no token that could be given to a client";
                Err(Arc::new(TokenError::new(TokenErrorKind::Configuration, message)))
            }
        }
    }

    /// Asks for the first token in the background.
    pub(crate) fn prime(&self) {
        match &self.source {
            Source::Tokens { cache, .. } => cache.prime(),
            Source::Fixed(fixed) => fixed.prime(),
            Source::Exchange(_) => {}
        }
    }

    fn authorization(&self, finished: HeaderToken) -> Authorization {
        let field = match self.place() {
            Place::Field(name) => Some(name.clone()),
            Place::Query(_) => None,
        };
        Authorization { field, finished }
    }
}

impl Exchange {
    /// `make` makes the cache for one subject, and says when its own token ends; `timeout` is that of one token request.
    #[must_use]
    pub(crate) fn new(
        name: String,
        inject: Inject,
        binding: Option<Arc<Binding>>,
        timeout: Duration,
        make: impl Fn(Secret) -> (Arc<TokenCache>, Option<SystemTime>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (of, place, key) = (name.clone(), inject.clone(), binding.clone());
        Self::with(name, inject, binding, move |subject| {
            let (cache, ends) = make(subject);
            let credential = Credential::new(of.clone(), false, place.clone(), cache, timeout);
            (Arc::new(credential.bound_to(key.clone()).of_a_caller()), ends)
        })
    }
}

fn no_subject() -> Arc<TokenError> {
    let message = "tokens are exchanged for those of callers here: there is none without a request";
    Arc::new(TokenError::new(TokenErrorKind::Configuration, message))
}
