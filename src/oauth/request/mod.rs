//! One token request, ready to be sent: everything that is secret in it, read and signed.

pub(super) mod assertion;
pub(super) mod client_auth;
pub(super) mod grant;

use std::sync::Arc;

use http::{HeaderValue, Method};
use url::Url;

use self::assertion::Audience;
use self::client_auth::ClientAuthentication;
use self::grant::GrantFields;
use super::settings::{Grant, JwtBearer, OAuthSettings, TokenExchange};
use crate::dpop::DpopKey;
use crate::secret::Secret;
use crate::token::{TokenError, TokenErrorKind};

/// What goes out, besides what the settings say in clear.
pub(crate) struct TokenRequest {
    pub(crate) client: ClientAuthentication,
    pub(crate) grant: GrantFields,
    /// `DPoP` (RFC 9449 section 5).
    pub(crate) dpop: Option<HeaderValue>,
}

impl TokenRequest {
    /// Reads keys and signs; may block.
    ///
    /// # Errors
    /// [`TokenErrorKind::Configuration`] when something cannot be read, or is no such key.
    pub(crate) fn new(
        settings: &OAuthSettings,
        url: &Url,
        subject: Option<&Secret>,
        secret: Option<&Secret>,
        dpop: Option<&(DpopKey, Option<Arc<str>>)>,
    ) -> Result<Self, TokenError> {
        let issuer = settings.server.issuer.as_deref();
        let audience = Audience { issuer, token_endpoint: url.as_str(), wanted: &settings.assertion_audience };
        let mut client = ClientAuthentication::new(&settings.client_auth, &settings.client_id, secret, &audience)?;
        let assertion = grant_secret(&settings.grant)?;
        let grant = grant::fields(settings, subject, assertion.as_ref(), &audience)?;
        client.withhold(subject);
        client.withhold(assertion.as_ref());
        let dpop = dpop.map(|(key, nonce)| key.proof(&Method::POST, url.as_str(), None, nonce.as_deref())).transpose();
        let dpop = dpop.map_err(|error| {
            TokenError::new(TokenErrorKind::Configuration, format!("no DPoP proof can be made: {error}"))
        })?;
        Ok(Self { client, grant, dpop })
    }
}

/// The given assertion of `jwt_bearer` or the key that signs one; the given subject of `token_exchange`.
fn grant_secret(grant: &Grant) -> Result<Option<Secret>, TokenError> {
    let (sources, what) = match grant {
        Grant::JwtBearer(JwtBearer::Given(sources)) => (sources, "assertion"),
        Grant::JwtBearer(JwtBearer::Signed { key, .. }) => (&key.keys, "private_key"),
        Grant::TokenExchange(TokenExchange { subject: Some(sources), .. }) => (sources, "subject_token"),
        Grant::ClientCredentials | Grant::TokenExchange(_) | Grant::Other(_) => return Ok(None),
    };
    let unreadable = |error| TokenError::new(TokenErrorKind::Configuration, format!("{what} cannot be read: {error}"));
    sources.first_readable().map(Some).map_err(unreadable)
}
