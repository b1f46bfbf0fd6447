//! How a token is obtained: grant × client authentication × token endpoint. The only user of `reqwest`.
//!
//! [`OAuthSource`] implements [`TokenSource`]; it makes a token request whenever it is asked for one and remembers
//! nothing. Holding, sharing and refreshing tokens is `token`'s part.

mod client_auth;
mod endpoint;
mod failure;
mod grant;
mod identity;
mod lifetime;
mod members;
mod refusal;
mod response;
mod settings;
mod wording;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::secret::{Secret, SecretError, SecretSource};
use crate::token::{FetchedToken, TokenError, TokenErrorKind, TokenSource};

pub use identity::{Identity, identity};
pub use settings::{ClientAuth, OAuthSettings};

use client_auth::Proof;
use endpoint::Endpoint;

/// Obtains access tokens for one set of [`OAuthSettings`].
pub struct OAuthSource {
    settings: OAuthSettings,
    endpoint: Endpoint,
}

/// Settings that no token request can be made from; a sentence that says which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSettings(String);

impl OAuthSource {
    /// Makes the source ready; nothing is sent yet. `tls` decides whom the token endpoint's certificate may come from.
    ///
    /// # Errors
    /// When the token endpoint has no host, holds user information, or is plain `http` to another machine (RFC 6749
    /// section 3.2 requires TLS), or when the HTTP client cannot be built.
    pub fn new(settings: OAuthSettings, tls: rustls::ClientConfig) -> Result<Self, InvalidSettings> {
        let endpoint = Endpoint::new(&settings, tls).map_err(InvalidSettings)?;
        Ok(Self { settings, endpoint })
    }

    /// What tells this source's tokens from others, with the secret as it is at this moment.
    ///
    /// # Errors
    /// [`TokenErrorKind::Configuration`] when the secret cannot be read.
    pub async fn identity(&self) -> Result<Identity, TokenError> {
        let secret = self.secret().await?;
        Ok(identity(&self.settings, secret.as_ref().map(Secret::fingerprint)))
    }

    async fn request(&self) -> Result<FetchedToken, TokenError> {
        if self.settings.client_id.trim().is_empty() {
            return Err(TokenError::new(TokenErrorKind::Configuration, "client_id is blank; nothing was sent"));
        }
        let secret = self.secret().await?;
        let proof = Proof::new(&self.settings.client_auth, &self.settings.client_id, secret.as_ref())?;
        let answer = self.endpoint.post(&self.settings, &proof).await?;
        let mut token = response::parse(&answer, &proof)?;
        token.missing_scope = grant::missing_scope(&self.settings, token.scope.as_deref());
        Ok(token)
    }

    /// Reads the secret anew for each token request, so that a rotated one takes effect without a reload.
    async fn secret(&self) -> Result<Option<Secret>, TokenError> {
        let Some(source) = self.settings.client_auth.secret() else { return Ok(None) };
        read(source).await.map(Some).map_err(|error| {
            TokenError::new(TokenErrorKind::Configuration, format!("the client secret cannot be read: {error}"))
        })
    }
}

impl TokenSource for OAuthSource {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<FetchedToken, TokenError>> + Send + '_>> {
        // One deadline over everything, so that a hanging file system counts as well as a hanging server. When it
        // strikes, the request is dropped and its connection closed.
        Box::pin(async {
            match tokio::time::timeout(self.settings.timeout, self.request()).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(self.endpoint.timed_out(self.settings.timeout)),
            }
        })
    }
}

impl fmt::Debug for OAuthSource {
    /// The endpoint's host only: settings hold header values and parameters that may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OAuthSource").field(&self.endpoint).finish()
    }
}

async fn read(source: &SecretSource) -> Result<Secret, SecretError> {
    let SecretSource::File(path) = source else { return source.read() };
    let (source, path) = (source.clone(), path.display().to_string());
    tokio::task::spawn_blocking(move || source.read()).await.unwrap_or_else(|_stopped| {
        Err(SecretError::Unreadable { path, reason: "the program is shutting down".to_owned() })
    })
}

#[cfg(test)]
mod tests;
