//! How a token is obtained: grant × client authentication × token endpoint.
//!
//! [`OAuthSource`] implements [`TokenSource`]; it makes a token request whenever it is asked for one and remembers
//! nothing but what it learnt of the server: its metadata, its nonces, and which of several secrets it takes. Holding,
//! sharing and refreshing tokens is `token`'s part.

mod answer;
mod coding;
mod connection;
mod endpoint;
mod endpoint_url;
mod failure;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod identity;
mod metadata;
mod redact;
mod request;
mod response;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use crate::dpop::{DpopKey, Nonces};
use crate::secret::{Secret, SecretError, SecretSource};
use crate::tls::ClientTls;
use crate::token::{About, Ask, Expires, FetchedToken, Fetching, TokenError, TokenErrorKind, TokenSource};

pub(crate) use endpoint_url::{EndpointUrl, UnfitUrl};
pub(crate) use identity::{Identity, assertions_fingerprint, identity, secrets_fingerprint};
pub use settings::InvalidSettings;
pub(crate) use settings::{
    AssertionAudience, ClientAssertionType, ClientAuth, DpopSettings, Grant, JwtBearer, OAuthSettings, Server,
    SigningKeySettings, TokenExchange,
};

use endpoint::Endpoint;
use metadata::Discovery;
use request::{TokenRequest, grant};

/// Threads that one source may have at a time. More than one, because callers' tokens are exchanged side by side.
const READING: usize = 4;

/// Callers' tokens that are exchanged at a time.
const EXCHANGES: usize = 32;

/// Obtains access tokens for one set of [`OAuthSettings`].
pub(crate) struct OAuthSource {
    settings: Arc<OAuthSettings>,
    endpoint: Endpoint,
    discovery: Option<Discovery>,
    dpop: Option<DpopKey>,
    nonces: Nonces,
    /// Threads that read and sign for this source: a secret that hangs must not take those of others.
    reading: Arc<Semaphore>,
    /// Exchanges of callers' tokens under way.
    exchanging: Semaphore,
    /// The place in the list of secrets of the one that the server took last.
    working: AtomicUsize,
    /// Host and port of the token endpoint, or of the issuer that names it.
    asked: Option<(String, u16)>,
}

/// A token source for one caller's token: the subject of a token exchange (RFC 8693).
#[derive(Debug)]
pub(crate) struct SubjectSource {
    source: Arc<OAuthSource>,
    subject: Secret,
    /// When the subject's own token ends, if it says so.
    ends: Option<SystemTime>,
}

impl OAuthSource {
    /// Makes the source ready; nothing is sent yet. `tls` decides whom the token endpoint's certificate may come from, and
    /// which certificate is shown there; tokens are bound to `dpop`, if there is one (RFC 9449).
    ///
    /// # Errors
    /// When the token endpoint has no host, holds user information, or is plain `http` to another machine (RFC 6749
    /// section 3.2 requires TLS), or when the HTTP client cannot be built.
    pub(crate) fn new(
        settings: impl Into<Arc<OAuthSettings>>,
        tls: impl Into<ClientTls>,
        dpop: Option<DpopKey>,
    ) -> Result<Self, InvalidSettings> {
        let settings = settings.into();
        let endpoint = Endpoint::new(&settings, tls.into()).map_err(InvalidSettings)?;
        let discovery = match (&settings.server.token_endpoint, &settings.server.issuer) {
            (Some(url), _) => EndpointUrl::configured("token_endpoint", url).map(|_checked| None),
            (None, Some(issuer)) => Discovery::new(issuer).map(Some),
            (None, None) => Err("there is neither a token_endpoint nor an issuer".to_owned()),
        };
        let discovery = discovery.map_err(InvalidSettings)?;
        let asked = settings.server.authority();
        let (nonces, reading) = (Nonces::default(), Arc::new(Semaphore::new(READING)));
        let (exchanging, working) = (Semaphore::new(EXCHANGES), AtomicUsize::new(0));
        Ok(Self { settings, endpoint, discovery, dpop, nonces, reading, exchanging, working, asked })
    }

    /// The key that tokens are bound to.
    #[must_use]
    pub(crate) const fn dpop_key(&self) -> Option<&DpopKey> {
        self.dpop.as_ref()
    }

    /// One token request, for this subject if the grant is a token exchange, within the configured time.
    async fn fetch_for(&self, subject: Option<&Secret>) -> Result<FetchedToken, TokenError> {
        // One deadline over everything, so that a hanging file system counts as well as a hanging server. When it
        // strikes, the request is dropped and its connection closed.
        let limit = self.settings.timeout;
        match tokio::time::timeout(limit, self.request(subject)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(self.endpoint.timed_out(limit)),
        }
    }

    async fn request(&self, subject: Option<&Secret>) -> Result<FetchedToken, TokenError> {
        if self.settings.client_id.trim().is_empty() && !matches!(self.settings.client_auth, ClientAuth::Omitted) {
            return Err(TokenError::new(TokenErrorKind::Configuration, "client_id is blank; nothing was sent"));
        }
        let target = self.target().await?;
        let secrets: &[SecretSource] = self.settings.client_auth.secrets().map_or(&[], |secrets| secrets.sources());
        if secrets.len() < 2 {
            let secret = self.read_first(secrets).await?;
            return self.attempt(&target, subject, secret).await;
        }
        self.request_with_one_of(&target, subject, secrets).await
    }

    /// Several secrets: the one that worked last goes first, and where the server takes none of it, the next one.
    async fn request_with_one_of(
        &self,
        target: &EndpointUrl,
        subject: Option<&Secret>,
        secrets: &[SecretSource],
    ) -> Result<FetchedToken, TokenError> {
        let first = self.working.load(Ordering::Relaxed);
        let mut failure = None;
        for step in 0..secrets.len() {
            let at = (first + step) % secrets.len();
            let Some(source) = secrets.get(at) else { continue };
            let refused = match self.read(source).await {
                Ok(secret) => match self.attempt(target, subject, Some(secret)).await {
                    Ok(mut token) => {
                        self.note_working(at, secrets.len(), source);
                        token.detail.proven_by = Some(format!("{source} ({} of {})", at + 1, secrets.len()));
                        return Ok(token);
                    }
                    Err(error) if error.about == Some(About::Client) => error,
                    Err(error) => return Err(error),
                },
                Err(error) => unreadable(&error),
            };
            // What the server says goes before what could not even be read.
            if failure.as_ref().is_none_or(|kept: &TokenError| kept.kind == TokenErrorKind::Configuration) {
                failure = Some(refused);
            }
        }
        Err(failure.unwrap_or_else(|| TokenError::new(TokenErrorKind::Configuration, "there is no client secret")))
    }

    fn note_working(&self, at: usize, of: usize, source: &SecretSource) {
        if self.working.swap(at, Ordering::Relaxed) != at {
            let (host, number) = (self.endpoint.host(), at + 1);
            tracing::warn!(target: "attache::token", endpoint = host, "the authorization server refuses the secret that it took before; {source} ({number} of {of}) works");
        }
    }

    async fn read_first(&self, secrets: &[SecretSource]) -> Result<Option<Secret>, TokenError> {
        match secrets.first() {
            None => Ok(None),
            Some(source) => self.read(source).await.map(Some).map_err(|error| unreadable(&error)),
        }
    }

    /// Reads a secret anew for each token request, so that a rotated one takes effect without a reload.
    async fn read(&self, source: &SecretSource) -> Result<Secret, SecretError> {
        let again = source.clone();
        match self.blocking(move || again.read()).await {
            Ok(read) => read,
            Err(stopped) => Err(SecretError::Unreadable { path: source.to_string(), reason: stopped.message }),
        }
    }

    /// Runs what may block in a thread that may. Who stops waiting leaves the thread to end by itself; until then it counts.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, TokenError> {
        let stopped = || TokenError::new(TokenErrorKind::Cancelled, "the program is shutting down");
        let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(|_closed| stopped())?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_stopped| stopped())
    }

    /// Where the token request goes: as configured, or as the issuer's metadata says.
    async fn target(&self) -> Result<EndpointUrl, TokenError> {
        let invalid = |error| TokenError::new(TokenErrorKind::Configuration, error);
        let Some(discovery) = &self.discovery else {
            let url = self.settings.server.token_endpoint.as_ref();
            let url = url.ok_or_else(|| invalid("there is no token_endpoint".to_owned()))?;
            return EndpointUrl::configured("token_endpoint", url).map_err(invalid);
        };
        let metadata = discovery.metadata(&self.endpoint).await?;
        let alias = metadata
            .mtls_token_endpoint
            .as_ref()
            .filter(|_| matches!(self.settings.client_auth, ClientAuth::Tls { .. }));
        EndpointUrl::configured("token_endpoint", alias.unwrap_or(&metadata.token_endpoint)).map_err(invalid)
    }

    /// One request with one secret; a second one where the server wants its nonce in the proof (RFC 9449 section 8), which
    /// costs it nothing and leads to no back-off.
    async fn attempt(
        &self,
        target: &EndpointUrl,
        subject: Option<&Secret>,
        secret: Option<Secret>,
    ) -> Result<FetchedToken, TokenError> {
        let first = self.send(target, subject, secret.clone()).await?;
        if first.wants_nonce {
            return self.send(target, subject, secret).await?.outcome;
        }
        first.outcome
    }

    async fn send(
        &self,
        target: &EndpointUrl,
        subject: Option<&Secret>,
        secret: Option<Secret>,
    ) -> Result<Sent, TokenError> {
        let request = self.prepare(target, subject.cloned(), secret).await?;
        let answer = self.endpoint.post(target, &self.settings, &request).await?;
        let new_nonce = self.dpop.is_some() && self.nonces.learn(&origin(target), &answer.headers);
        let parsed = response::parse(&answer, &request.client.redactor, &self.settings);
        let wants_nonce =
            new_nonce && parsed.as_ref().is_err_and(|error| error.code.as_deref() == Some("use_dpop_nonce"));
        Ok(Sent { outcome: parsed, wants_nonce })
    }

    /// Reads what the request needs besides the client's secret, and signs. In a thread where that may take its time:
    /// files can be on a network, and RSA is slow.
    async fn prepare(
        &self,
        target: &EndpointUrl,
        subject: Option<Secret>,
        secret: Option<Secret>,
    ) -> Result<TokenRequest, TokenError> {
        let (settings, url) = (Arc::clone(&self.settings), target.url.clone());
        let dpop = self.dpop.clone().map(|key| (key, self.nonces.get(&origin(target))));
        self.blocking(move || TokenRequest::new(&settings, &url, subject.as_ref(), secret.as_ref(), dpop.as_ref()))
            .await?
    }
}

/// What came of one request.
struct Sent {
    outcome: Result<FetchedToken, TokenError>,
    wants_nonce: bool,
}

impl TokenSource for OAuthSource {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(self.fetch_for(None))
    }

    fn server(&self) -> Option<(&str, u16)> {
        self.asked.as_ref().map(|(host, port)| (host.as_str(), *port))
    }
}

impl SubjectSource {
    /// Exchanges this token of a caller's.
    #[must_use]
    pub(crate) fn new(source: Arc<OAuthSource>, subject: Secret) -> Self {
        let ends = grant::subject_ends(&subject);
        Self { source, subject, ends }
    }

    /// When the caller's token ends by its own word: what it was exchanged for is of no use then, nor is the token itself.
    #[must_use]
    pub(crate) const fn ends(&self) -> Option<SystemTime> {
        self.ends
    }

    async fn exchange(&self) -> Result<FetchedToken, TokenError> {
        let limit = self.source.settings.timeout;
        // Every bearer token, good or made up, has a request sent: so only so many at once.
        let turn = tokio::time::timeout(limit, self.source.exchanging.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let message = format!("{EXCHANGES} tokens are being exchanged already, as many as may be at once");
            return Err(TokenError::new(TokenErrorKind::Transient, message));
        };
        let fetched = self.source.fetch_for(Some(&self.subject)).await?;
        Ok(match self.ends {
            // The server has taken it a moment ago, by its own clock: good for those who wait, and no longer.
            Some(end) if end <= SystemTime::now() => FetchedToken { expires: Expires::In(Duration::ZERO), ..fetched },
            not_after => FetchedToken { not_after, ..fetched },
        })
    }
}

impl TokenSource for SubjectSource {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(self.exchange())
    }

    fn server(&self) -> Option<(&str, u16)> {
        self.source.server()
    }
}

impl fmt::Debug for OAuthSource {
    /// The endpoint's host only: settings hold header values and parameters that may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OAuthSource").field(&self.endpoint).finish()
    }
}

/// Nonces belong to a server, not to a path of it.
fn origin(target: &EndpointUrl) -> String {
    target.url.origin().ascii_serialization()
}

fn unreadable(error: &SecretError) -> TokenError {
    TokenError::new(TokenErrorKind::Configuration, format!("the client secret cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
