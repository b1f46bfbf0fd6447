//! The demo's access tokens: JWTs in the profile of RFC 9068, signed with a key that lives as long as the server.

use std::io;
use std::time::SystemTime;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an access token says (RFC 9068 section 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The authorization server.
    pub iss: String,
    /// Whom the token is for: the client itself, in this grant.
    pub sub: String,
    /// RFC 8693 section 4.3.
    pub client_id: String,
    /// The API that may accept it.
    pub aud: String,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When it expires, in seconds since 1970.
    pub exp: u64,
    /// Its own name, by which it can be revoked.
    pub jti: String,
}

/// An ES256 key (RFC 7518 section 3.4).
pub(super) struct SigningKey {
    key_id: String,
    private: EncodingKey,
    public: DecodingKey,
    jwk: Value,
}

impl SigningKey {
    /// Makes a new key.
    pub(super) fn generate() -> io::Result<Self> {
        let failed = |_unspecified| io::Error::other("cannot make a signing key");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().map_err(failed)?.as_ref());
        // An uncompressed point: a 4, then x and y of 32 bytes each.
        let point = pair.public_key().as_ref();
        let coordinates = point.get(1..33).zip(point.get(33..65));
        let (x, y) = coordinates.ok_or_else(|| io::Error::other("the signing key has an unknown form"))?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let public = DecodingKey::from_ec_components(&x, &y).map_err(io::Error::other)?;
        let key_id = random_name()?;
        let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key_id, "x": x, "y": y});
        Ok(Self { key_id, private, public, jwk })
    }

    /// Signs an access token.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let header =
            Header { kid: Some(self.key_id.clone()), typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.private)
    }

    /// Reads a token that this key signed, whatever it says; `None` for any other text.
    pub(super) fn open(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::ES256);
        // Times and audience are the caller's part: each of them has an answer of its own.
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Claims>(token, &self.public, &validation).ok().map(|token| token.claims)
    }

    /// The public key (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }
}

/// 128 random bits in base64url: a `jti` or a `kid`.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_unspecified| io::Error::other("there are no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_its_own_tokens_only() {
        let (ours, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let text = || "x".to_owned();
        let claims = Claims {
            iss: text(),
            sub: text(),
            client_id: text(),
            aud: text(),
            scope: text(),
            iat: now(),
            exp: 0,
            jti: text(),
        };
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.open(&token), Some(claims));
        assert_eq!(other.open(&token), None);
        assert_eq!(ours.open("a.b.c"), None);
    }
}
