//! JWTs that attache signs: a client's assertion about itself (RFC 7523 section 2.2), or the authorization of the
//! `jwt_bearer` grant (section 2.1).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::super::settings::{AssertionAudience, SigningKeySettings};
use crate::jose::{JwtHeader, KeyError, SigningKey, unique_id};
use crate::secret::Secret;
use crate::tls::certificate_thumbprint;
use crate::token::{TokenError, TokenErrorKind};

/// A client assertion is used at once, so it need not live long (RFC 7523 section 3 leaves it to the client).
const CLIENT_LIFETIME: u64 = 60;

/// Google refuses more than an hour and Salesforce more than three minutes; five are enough for every clock.
const GRANT_LIFETIME: u64 = 180;

/// An assertion says that it was made a little earlier: a server whose clock is a few seconds behind takes one from the future
/// for a mistake.
const BACKDATED: u64 = 5;

/// Whom an assertion may be meant for, and whom it is to be meant for.
pub(crate) struct Audience<'a> {
    pub(crate) issuer: Option<&'a str>,
    pub(crate) token_endpoint: &'a str,
    pub(crate) wanted: &'a AssertionAudience,
}

impl Audience<'_> {
    /// `aud`, and whether it is the issuer. Only ever the configured issuer: what a metadata document says of itself
    /// would let one server collect assertions that are meant for another (RFC 10070).
    fn value(&self) -> (&str, bool) {
        match (self.wanted, self.issuer) {
            (AssertionAudience::Unsaid | AssertionAudience::Issuer, Some(issuer)) => (issuer, true),
            (AssertionAudience::Text(text), _) => (text, false),
            _ => (self.token_endpoint, false),
        }
    }
}

/// What an assertion says.
pub(crate) struct Assertion<'a> {
    issuer: &'a str,
    subject: &'a str,
    claims: Vec<(&'a str, &'a str)>,
    about_client: bool,
}

impl<'a> Assertion<'a> {
    /// The client's about itself: it is issuer and subject.
    pub(crate) const fn of_client(client_id: &'a str) -> Self {
        Self { issuer: client_id, subject: client_id, claims: Vec::new(), about_client: true }
    }

    /// The authorization of the `jwt_bearer` grant.
    pub(crate) const fn of_grant(client_id: &'a str, subject: &'a str, claims: Vec<(&'a str, &'a str)>) -> Self {
        Self { issuer: client_id, subject, claims, about_client: false }
    }

    /// Signs it, with a `jti` that no other has.
    pub(crate) fn sign(
        &self,
        key: &SigningKey,
        audience: &Audience<'_>,
        x5t_s256: Option<&str>,
    ) -> Result<Zeroizing<String>, TokenError> {
        let (aud, is_issuer) = audience.value();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let issued_at = now.saturating_sub(BACKDATED);
        let lifetime = if self.about_client { CLIENT_LIFETIME } else { GRANT_LIFETIME };
        let mut claims = Map::new();
        for (name, value) in &self.claims {
            claims.insert((*name).to_owned(), Value::from(*value));
        }
        for (name, value) in [("iss", self.issuer), ("sub", self.subject), ("aud", aud)] {
            claims.insert(name.to_owned(), Value::from(value));
        }
        claims.insert("jti".to_owned(), Value::from(unique_id()));
        claims.insert("iat".to_owned(), Value::from(issued_at));
        claims.insert("exp".to_owned(), Value::from(issued_at + lifetime));
        // RFC 10070: the type says what it is for, and goes with the issuer as the only audience.
        let typ = if is_issuer && self.about_client { "client-authentication+jwt" } else { "JWT" };
        key.sign(JwtHeader { typ, embed_jwk: false, x5t_s256 }, &Value::Object(claims))
            .map_err(|error| unusable(&error))
    }
}

/// Signs with a configured key, whose text is `secret`.
pub(crate) fn signed(
    settings: &SigningKeySettings,
    secret: &Secret,
    audience: &Audience<'_>,
    assertion: &Assertion<'_>,
) -> Result<Zeroizing<String>, TokenError> {
    let key = SigningKey::from_text(secret, settings.algorithm, settings.key_id.as_deref());
    let key = key.map_err(|error| unusable(&error))?;
    let thumbprint = match &settings.certificate {
        None => None,
        Some(source) => {
            let certificate = source.read().map_err(|error| configuration(&format!("the certificate: {error}")))?;
            Some(certificate_thumbprint(&certificate).map_err(|error| configuration(&error.to_string()))?)
        }
    };
    assertion.sign(&key, audience, thumbprint.as_deref())
}

fn unusable(error: &KeyError) -> TokenError {
    configuration(&format!("private_key cannot be used: {error}"))
}

fn configuration(message: &str) -> TokenError {
    TokenError::new(TokenErrorKind::Configuration, format!("{message}; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn signed_for(wanted: &AssertionAudience, issuer: Option<&str>) -> (Value, Value) {
        let audience = Audience { issuer, token_endpoint: "https://login.test/token", wanted };
        let key = SigningKey::generate().unwrap();
        let jwt = Assertion::of_client("me").sign(&key, &audience, None).unwrap();
        let part = |at: usize| {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(at).unwrap()).unwrap()).unwrap()
        };
        (part(0), part(1))
    }

    #[test]
    fn the_audience_is_the_issuer_where_one_is_configured() {
        let issuer = Some("https://login.test");
        let (header, claims) = signed_for(&AssertionAudience::Unsaid, issuer);
        assert_eq!(
            (&claims["aud"], &header["typ"]),
            (&"https://login.test".into(), &"client-authentication+jwt".into())
        );
        let (header, claims) = signed_for(&AssertionAudience::TokenEndpoint, issuer);
        assert_eq!((&claims["aud"], &header["typ"]), (&"https://login.test/token".into(), &"JWT".into()));
        let (_, claims) = signed_for(&AssertionAudience::Unsaid, None);
        assert_eq!(claims["aud"], "https://login.test/token");
        let (_, claims) = signed_for(&AssertionAudience::Text("x".into()), issuer);
        assert_eq!(claims["aud"], "x");
    }

    #[test]
    fn a_client_speaks_of_itself_and_for_a_minute() {
        let (_, claims) = signed_for(&AssertionAudience::Unsaid, None);
        assert_eq!((&claims["iss"], &claims["sub"]), (&"me".into(), &"me".into()));
        let iat = claims["iat"].as_u64().unwrap();
        assert_eq!(claims["exp"].as_u64().unwrap() - iat, 60);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(
            (4..60).contains(&(now - iat)),
            "issued a few seconds ago, also by a clock that is behind: {iat}, {now}"
        );
    }

    #[test]
    fn further_claims_never_replace_our_own() {
        let audience = Audience { issuer: None, token_endpoint: "https://t.test", wanted: &AssertionAudience::Unsaid };
        let assertion = Assertion::of_grant("me", "you", vec![("scope", "a b"), ("sub", "other"), ("exp", "0")]);
        let jwt = assertion.sign(&SigningKey::generate().unwrap(), &audience, None).unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap();
        assert_eq!((&claims["sub"], &claims["scope"]), (&"you".into(), &"a b".into()));
        assert!(claims["exp"].is_u64());
    }
}
