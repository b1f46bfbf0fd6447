//! Demonstrating proof of possession (RFC 9449): the proof that goes with a request, and the nonces that servers ask for.

mod nonces;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;

use crate::jose::{Algorithm, JwtHeader, KeyError, SigningKey, unique_id};
use crate::secret::Secret;

pub(crate) use nonces::Nonces;

/// The field a server gives a nonce in (RFC 9449 section 8.1).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// A private key that access tokens are bound to. Clones share the key.
#[derive(Clone)]
pub(crate) struct DpopKey {
    key: SigningKey,
    thumbprint: Arc<str>,
}

/// RFC 9449 section 4.2.
#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl DpopKey {
    /// Makes a new ES256 key, which lives as long as it is held.
    ///
    /// # Errors
    /// When no key can be made.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        Self::new(SigningKey::generate()?)
    }

    /// Reads a private key, as [`SigningKey::from_text`] does.
    ///
    /// # Errors
    /// A text without a usable private key, or an algorithm that does not fit it; HS256 fits none.
    pub(crate) fn from_text(text: &Secret, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        Self::new(SigningKey::from_text(text, algorithm, None)?)
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let thumbprint = key.thumbprint().ok_or(KeyError::SharedSecret)?.into();
        Ok(Self { key, thumbprint })
    }

    /// The public key's SHA-256 thumbprint in base64url (RFC 7638): what a token that is bound to it carries as
    /// `cnf.jkt`.
    #[must_use]
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// A proof for one request (RFC 9449 section 4.2), marked sensitive. `htu` is the URI the request goes to; its query
    /// and fragment are left out. With an access token the proof carries its [`access_token_hash`]; `nonce` is the last
    /// one of that server.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library fails.
    pub(crate) fn proof(
        &self,
        method: &Method,
        htu: &str,
        access_token_hash: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<HeaderValue, KeyError> {
        let claims = Claims {
            jti: &unique_id(),
            htm: method.as_str(),
            htu: without_query(htu),
            iat: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            ath: access_token_hash,
            nonce,
        };
        let header = JwtHeader { typ: "dpop+jwt", embed_jwk: true, x5t_s256: None };
        let proof = self.key.sign(header, &claims)?;
        let mut value = HeaderValue::from_str(&proof).map_err(|_never| KeyError::Signing)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

/// What binds a proof to an access token, `ath`: base64url of its SHA-256.
#[must_use]
pub(crate) fn access_token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

/// The `htu` of a request: scheme, authority and path. An empty path is `/` (RFC 3986 section 6.2.3).
#[must_use]
pub(crate) fn htu(scheme: &str, authority: &str, path: &str) -> String {
    let path = without_query(path);
    let path = if path.is_empty() { "/" } else { path };
    format!("{scheme}://{authority}{path}")
}

fn without_query(uri: &str) -> &str {
    uri.find(['?', '#']).and_then(|end| uri.get(..end)).unwrap_or(uri)
}

#[cfg(test)]
mod tests;
