//! A key that signs JWTs.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::pair::{KeyPair, P256, PublicKey};
use super::{Algorithm, KeyError, jwk, pem};
use crate::secret::Secret;

/// A private key or a shared secret, with the algorithm it signs with. Clones share the key.
#[derive(Clone)]
pub(crate) struct SigningKey(Arc<Inner>);

struct Inner {
    pair: KeyPair,
    algorithm: Algorithm,
    key_id: Option<String>,
    public: Option<PublicKey>,
}

/// What stands in a JWT's header beside `alg` (RFC 7515 section 4.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct JwtHeader<'a> {
    /// What kind of JWT it is, such as `client-authentication+jwt` or `dpop+jwt`.
    pub(crate) typ: &'a str,
    /// Sends the public key itself (`jwk`), where a `kid` would name it otherwise.
    pub(crate) embed_jwk: bool,
    /// The SHA-256 thumbprint of the key's certificate, in base64url.
    pub(crate) x5t_s256: Option<&'a str>,
}

/// The header as it is written.
#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<&'a Value>,
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    x5t_s256: Option<&'a str>,
}

impl SigningKey {
    /// Reads a private key: PEM (PKCS#8, PKCS#1, SEC1; the first key, other blocks are skipped) or one JWK (RFC 7517).
    ///
    /// Without an algorithm it is the JWK's own, else RS256, ES256, ES384 or `EdDSA` by the kind of key. A key id given
    /// here goes before the JWK's.
    ///
    /// # Errors
    /// A text without a usable private key, or an algorithm that does not fit it.
    pub(crate) fn from_text(
        text: &Secret,
        algorithm: Option<Algorithm>,
        key_id: Option<&str>,
    ) -> Result<Self, KeyError> {
        let text = text.pem();
        // A byte order mark is what some editors put before a PEM.
        let text = text.expose().trim_start_matches('\u{feff}').trim_start();
        if !text.starts_with('{') {
            return Self::new(pem::read(text)?, algorithm, key_id.map(str::to_owned));
        }
        let jwk = jwk::read(text)?;
        let algorithm = match (algorithm, jwk.algorithm) {
            (None, Some(name)) => Some(Algorithm::from_name(name).ok_or(KeyError::UnknownAlgorithm)?),
            (given, _) => given,
        };
        let key_id = key_id.map(str::to_owned).or(jwk.key_id.map(Cow::into_owned));
        Self::new(jwk.pair, algorithm, key_id)
    }

    /// A key of both sides, for HS256: the octets of a client secret (`client_secret_jwt`).
    #[must_use]
    pub(crate) fn shared_secret(secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let pair = KeyPair::Shared(Box::new(key));
        Self(Arc::new(Inner { pair, algorithm: Algorithm::HS256, key_id: None, public: None }))
    }

    /// Makes a new key for ES256, which lives as long as it is held.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(P256.signing).map_err(|_unspecified| KeyError::Generating)?;
        Self::new(KeyPair::Ec(&P256, pair), None, None)
    }

    fn new(pair: KeyPair, algorithm: Option<Algorithm>, key_id: Option<String>) -> Result<Self, KeyError> {
        let (algorithms, kind, fitting) = pair.algorithms();
        let algorithm = algorithm.or(algorithms.first().copied()).ok_or(KeyError::Unsupported)?;
        if !algorithms.contains(&algorithm) {
            return Err(KeyError::AlgorithmMismatch { algorithm, kind, fitting });
        }
        let public = pair.public();
        Ok(Self(Arc::new(Inner { pair, algorithm, key_id, public })))
    }

    #[cfg(test)]
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// By what name the verifier knows it.
    #[must_use]
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.0.key_id.as_deref()
    }

    /// The public key as JWK: the members that make it (RFC 7638 section 3.2), and no others. A shared secret has none.
    #[must_use]
    pub(crate) fn public_jwk(&self) -> Option<&Value> {
        self.0.public.as_ref().map(|public| &public.jwk)
    }

    /// The public key's SHA-256 thumbprint in base64url (RFC 7638). A shared secret has none.
    #[must_use]
    pub(crate) fn thumbprint(&self) -> Option<&str> {
        self.0.public.as_ref().map(|public| public.thumbprint.as_str())
    }

    /// Signs these claims: a JWT in the compact form (RFC 7515 section 3.1). It proves something until it expires, so it
    /// is treated as a secret.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the claims are no JSON, or the library fails.
    pub(crate) fn sign(&self, header: JwtHeader<'_>, claims: &impl Serialize) -> Result<Zeroizing<String>, KeyError> {
        let key = &*self.0;
        let header = Header {
            typ: header.typ,
            alg: key.algorithm.as_str(),
            kid: self.key_id().filter(|_| !header.embed_jwk),
            jwk: self.public_jwk().filter(|_| header.embed_jwk),
            x5t_s256: header.x5t_s256,
        };
        let failed = |_serde| KeyError::Signing;
        let header = serde_json::to_vec(&header).map_err(failed)?;
        let claims = Zeroizing::new(serde_json::to_vec(claims).map_err(failed)?);

        // Room for an RSA signature of 8192 bits too: a text that grew would leave a copy behind.
        let mut jwt = Zeroizing::new(String::with_capacity((header.len() + claims.len() + 1024) / 3 * 4 + 16));
        URL_SAFE_NO_PAD.encode_string(header, &mut jwt);
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(&*claims, &mut jwt);
        let signature = key.pair.sign(key.algorithm, jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(jwt)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &*self.0;
        f.debug_struct("SigningKey")
            .field("algorithm", &key.algorithm)
            .field("key_id", &key.key_id)
            .finish_non_exhaustive()
    }
}
