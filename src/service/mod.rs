//! The token engine as a library: two ways to ask for an access token from within a program.
//!
//! [`TokenService::acquire_token`] is the cached one: credentials, scope and cancellation are optional, and a token that
//! is still good is returned with what is left of its life. [`TokenService::client_credentials_token`] asks anew each
//! time, for an audience. Both give a value or a [`TokenError`] that says of what kind it is; neither panics.
//!
//! ```
//! use attache::service::{AcquireToken, Secret, TokenService};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let service = TokenService::new("https://login.example.com/oauth2/token")?
//!     .with_credentials("orders-batch", Secret::new(std::env::var("ORDERS_CLIENT_SECRET")?));
//!
//! let request = AcquireToken { scope: vec!["orders.read".into()], ..AcquireToken::default() };
//! match service.acquire_token(request).await {
//!     Ok(token) => println!("a {} token for another {:?}", token.token_type.as_str(), token.expires_in),
//!     Err(error) if error.kind.is_permanent() => eprintln!("mend the configuration: {error}"),
//!     Err(error) => eprintln!("try again in {:?}: {error}", error.retry_after),
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use crate::oauth::InvalidSettings;
pub use crate::secret::Secret;
pub use crate::token::{About, CachePolicy, TokenError, TokenErrorKind, TokenType};

use crate::oauth::{ClientAuth, Identity, OAuthSettings, OAuthSource, Server, identity, secrets_fingerprint};
use crate::secret::{SecretSource, Secrets};
use crate::tls::{MinVersion, client_config};
use crate::token::{Acquired, Clock, RefreshSettings, TokenCache, TokenMetrics};

/// Tokens of so many identities are kept; beyond, the one that was asked for longest ago goes.
const IDENTITIES: usize = 1024;

/// Obtains access tokens from one authorization server, and keeps those that may be kept.
///
/// Cheap to clone: clones share their tokens. Use it inside a tokio runtime; the cached tokens live with the first one.
#[derive(Clone)]
pub struct TokenService {
    token_endpoint: Url,
    credentials: Option<ClientCredentials>,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    caches: Arc<Cache<Identity, Arc<TokenCache>>>,
}

/// A client id and its secret.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// RFC 6749 section 2.2.
    pub client_id: String,
    /// RFC 6749 section 2.3.1.
    pub client_secret: Secret,
}

/// What [`TokenService::acquire_token`] is asked for. By default: the configured credentials, no scope, no cancellation,
/// and a cached token if there is one.
#[derive(Debug, Clone)]
pub struct AcquireToken {
    /// Instead of the configured ones.
    pub credentials: Option<ClientCredentials>,
    /// RFC 6749 section 3.3; empty asks for whatever the server gives.
    pub scope: Vec<String>,
    /// Ends the waiting. Others that wait for the same token go on.
    pub cancellation: Option<CancellationToken>,
    /// Whether the cache is read and written; otherwise neither.
    pub allow_cached: bool,
}

impl Default for AcquireToken {
    fn default() -> Self {
        Self { credentials: None, scope: Vec::new(), cancellation: None, allow_cached: true }
    }
}

/// An access token from [`TokenService::acquire_token`]. There is no default one: what exists was issued.
#[derive(Debug, Clone)]
pub struct AcquiredToken {
    /// The token.
    pub access_token: Secret,
    /// How it is presented.
    pub token_type: TokenType,
    /// What is left of its life; `None` where an uncached one came without a word about it.
    pub expires_in: Option<Duration>,
    /// What was granted, if the server said.
    pub scope: Option<String>,
}

/// What [`TokenService::client_credentials_token`] is asked for.
#[derive(Debug, Clone)]
pub struct ClientCredentialsRequest {
    /// RFC 6749 section 2.2.
    pub client_id: String,
    /// RFC 6749 section 2.3.1; sent in the form.
    pub client_secret: Secret,
    /// Whom the token is for.
    pub audience: String,
    /// Ends the request.
    pub cancellation: Option<CancellationToken>,
}

/// The answer of [`TokenService::client_credentials_token`].
#[derive(Debug, Clone)]
pub struct ClientCredentialsToken {
    /// The token.
    pub access_token: Secret,
    /// `Bearer` where the server is silent.
    pub token_type: TokenType,
    /// Seconds from now, if the server or the token itself says.
    pub expires_in: Option<u64>,
    /// What was granted, if the server said.
    pub scope: Option<String>,
}

impl TokenService {
    /// A service without credentials of its own, for the authorization server with this token endpoint.
    ///
    /// # Errors
    /// When the token endpoint is no `https` URL (or `http` on loopback).
    pub fn new(token_endpoint: &str) -> Result<Self, InvalidSettings> {
        let url = Server::parse(token_endpoint)?;
        Ok(Self {
            token_endpoint: url,
            credentials: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
            caches: Arc::new(Cache::new(IDENTITIES)),
        })
    }

    /// With the credentials that are used where a request brings none.
    #[must_use]
    pub fn with_credentials(mut self, client_id: impl Into<String>, client_secret: Secret) -> Self {
        self.credentials = Some(ClientCredentials { client_id: client_id.into(), client_secret });
        self
    }

    /// With trust in the certificates of a PEM file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// With another limit for a whole token request than ten seconds.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A token by the client-credentials grant and `client_secret_basic`. With `allow_cached` any number of requests for
    /// the same token make one token request between them, and a failure is remembered for its back-off.
    ///
    /// # Errors
    /// [`TokenErrorKind::Configuration`] without credentials or with blank ones: nothing is sent then.
    /// [`TokenErrorKind::Cancelled`], [`TokenErrorKind::Timeout`], [`TokenErrorKind::Permanent`] (refused),
    /// [`TokenErrorKind::InvalidResponse`] (garbled), [`TokenErrorKind::Transient`].
    pub async fn acquire_token(&self, request: AcquireToken) -> Result<AcquiredToken, TokenError> {
        let policy = if request.allow_cached { CachePolicy::ReadWrite } else { CachePolicy::Bypass };
        self.acquire_token_by(policy, request).await
    }

    /// As [`TokenService::acquire_token`], with any cache policy; `allow_cached` is not looked at.
    ///
    /// # Errors
    /// As [`TokenService::acquire_token`].
    pub async fn acquire_token_by(
        &self,
        policy: CachePolicy,
        request: AcquireToken,
    ) -> Result<AcquiredToken, TokenError> {
        let credentials = request.credentials.or_else(|| self.credentials.clone());
        let credentials = credentials.ok_or_else(|| configuration("there are no credentials; nothing was sent"))?;
        credentials.check()?;
        let secrets = Secrets::one(SecretSource::Literal(credentials.client_secret));
        let auth = ClientAuth::Basic { secrets, raw: false };
        let mut settings = self.settings(credentials.client_id, auth);
        settings.scope = request.scope.into_iter().filter(|scope| !scope.trim().is_empty()).collect();
        let wait = self.timeout * 2 + Duration::from_secs(1);
        let asked = async {
            let cache = self.cache(settings)?;
            cache.acquire(policy, wait).await.map_err(|shared| TokenError::clone(&shared))
        };
        let token = until_cancelled(request.cancellation, asked).await?;
        Ok(AcquiredToken::from(token))
    }

    /// A token for an audience, by `client_secret_post`, never from the cache and never kept.
    ///
    /// # Errors
    /// As [`TokenService::acquire_token`]; blank arguments are a [`TokenErrorKind::Configuration`] and send nothing.
    pub async fn client_credentials_token(
        &self,
        request: ClientCredentialsRequest,
    ) -> Result<ClientCredentialsToken, TokenError> {
        let ClientCredentialsRequest { client_id, client_secret, audience, cancellation } = request;
        let credentials = ClientCredentials { client_id, client_secret };
        credentials.check()?;
        if audience.trim().is_empty() {
            return Err(configuration("audience is blank; nothing was sent"));
        }
        let auth = ClientAuth::Post(Secrets::one(SecretSource::Literal(credentials.client_secret)));
        let mut settings = self.settings(credentials.client_id, auth);
        settings.audience = Some(audience);
        let wait = self.timeout * 2 + Duration::from_secs(1);
        let asked = async {
            // A cache of its own, which is gone with the request.
            let cache = Self::new_cache(settings)?;
            cache.acquire(CachePolicy::Bypass, wait).await.map_err(|shared| TokenError::clone(&shared))
        };
        let token = until_cancelled(cancellation, asked).await?;
        Ok(ClientCredentialsToken {
            access_token: token.access_token,
            token_type: token.token_type,
            expires_in: token.expires_in.map(|left| left.as_secs()),
            scope: token.scope,
        })
    }

    fn settings(&self, client_id: String, auth: ClientAuth) -> OAuthSettings {
        let mut settings = OAuthSettings::new(Server::at(self.token_endpoint.clone()), client_id, auth);
        settings.timeout = self.timeout;
        settings.ca_file.clone_from(&self.ca_file);
        settings
    }

    fn cache(&self, settings: OAuthSettings) -> Result<Arc<TokenCache>, TokenError> {
        let secret = secrets_fingerprint(&settings).map_err(|error| configuration(&error.to_string()))?;
        let identity = identity(&settings, secret, None);
        self.caches.get_or_insert_with(&identity, || Self::new_cache(settings))
    }

    fn new_cache(settings: OAuthSettings) -> Result<Arc<TokenCache>, TokenError> {
        let control =
            Handle::try_current().map_err(|_outside| configuration("there is no tokio runtime to wait in"))?;
        let tls = client_config(settings.ca_file.as_deref(), &[b"h2", b"http/1.1"], None, MinVersion::default());
        let tls = tls.map_err(|error| configuration(&error.to_string()))?;
        let name = settings.client_id.clone();
        let source = OAuthSource::new(settings, tls, None).map_err(|error| configuration(&error.to_string()))?;
        let (refresh, clock, metrics) = (RefreshSettings::default(), Clock::system(), TokenMetrics::default());
        Ok(TokenCache::new(&name, Box::new(source), refresh, clock, control, metrics))
    }
}

impl ClientCredentials {
    fn check(&self) -> Result<(), TokenError> {
        if self.client_id.trim().is_empty() {
            return Err(configuration("client_id is blank; nothing was sent"));
        }
        if self.client_secret.is_blank() {
            return Err(configuration("the client secret is blank; nothing was sent"));
        }
        Ok(())
    }
}

impl From<Acquired> for AcquiredToken {
    fn from(token: Acquired) -> Self {
        let Acquired { access_token, token_type, expires_in, scope, .. } = token;
        Self { access_token, token_type, expires_in, scope }
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService")
            .field("token_endpoint", &self.token_endpoint.host_str())
            .field("client_id", &self.credentials.as_ref().map(|credentials| &credentials.client_id))
            .finish_non_exhaustive()
    }
}

/// A caller that cancelled before asking has asked for nothing: that is looked at first.
async fn until_cancelled<T>(
    cancellation: Option<CancellationToken>,
    asked: impl Future<Output = Result<T, TokenError>>,
) -> Result<T, TokenError> {
    let Some(cancellation) = cancellation else { return asked.await };
    tokio::select! {
        biased;
        () = cancellation.cancelled() => {
            Err(TokenError::new(TokenErrorKind::Cancelled, "the caller no longer wants the token"))
        }
        outcome = asked => outcome,
    }
}

fn configuration(message: &str) -> TokenError {
    TokenError::new(TokenErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests;
