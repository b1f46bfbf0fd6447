//! How the client proves itself to the authorization server (RFC 6749 section 2.3): one method for each request.

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::http_auth::{self, form_encoded};
use crate::jose::SigningKey;
use crate::secret::Secret;
use crate::token::{TokenError, TokenErrorKind};

use super::super::redact::Redactor;
use super::super::response::lifetime;
use super::super::settings::{ClientAssertionType, ClientAuth};
use super::assertion::{self, Assertion};

/// The client authentication of one token request.
#[derive(Default)]
pub(crate) struct ClientAuthentication {
    /// The value of `Authorization`, marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
    /// What goes into the form.
    pub(crate) form: Vec<(&'static str, Zeroizing<String>)>,
    /// Knows in which forms the secret went out.
    pub(crate) redactor: Redactor,
}

impl ClientAuthentication {
    /// Presents `client_id` and the secret by the configured method. An assertion is a new one each time: servers accept
    /// each `jti` once (RFC 7523 section 3).
    ///
    /// # Errors
    /// [`TokenErrorKind::Configuration`] when the method needs a secret and there is none, or one that it cannot use.
    pub(crate) fn new(
        auth: &ClientAuth,
        client_id: &str,
        secret: Option<&Secret>,
        audience: &assertion::Audience<'_>,
    ) -> Result<Self, TokenError> {
        let mut client = Self::default();
        client.withhold(secret);
        let missing = || TokenError::new(TokenErrorKind::Configuration, "there is no client secret; nothing was sent");
        match auth {
            ClientAuth::Basic { raw, .. } => client.basic(client_id, secret.ok_or_else(missing)?, *raw)?,
            ClientAuth::Post(_) => {
                let secret = secret.ok_or_else(missing)?;
                client.put("client_id", client_id);
                client.put("client_secret", secret.expose());
                client.redactor.withhold(&form_encoded(secret.expose()));
            }
            ClientAuth::SecretJwt(_) => {
                let key = SigningKey::shared_secret(secret.ok_or_else(missing)?);
                let signed = Assertion::of_client(client_id).sign(&key, audience, None)?;
                client.assertion(client_id, ClientAssertionType::JwtBearer, &signed);
            }
            ClientAuth::PrivateKeyJwt(settings) => {
                let signed = assertion::signed(
                    settings,
                    secret.ok_or_else(missing)?,
                    audience,
                    &Assertion::of_client(client_id),
                )?;
                client.assertion(client_id, ClientAssertionType::JwtBearer, &signed);
            }
            ClientAuth::Assertion { assertion_type, .. } => {
                let assertion = secret.ok_or_else(missing)?.expose().trim();
                client.assertion(client_id, assertion_type.unwrap_or_else(|| type_of(assertion)), assertion);
            }
            ClientAuth::Tls { .. } | ClientAuth::None => client.put("client_id", client_id),
            ClientAuth::Omitted => {}
        }
        Ok(client)
    }

    /// Another secret that must not be quoted from an answer, such as a subject token.
    pub(crate) fn withhold(&mut self, secret: Option<&Secret>) {
        if let Some(secret) = secret {
            self.redactor.withhold(secret.expose().trim());
        }
    }

    /// RFC 6749 section 2.3.1: id and secret are form-encoded each for itself, so that the id's colons stay the id's.
    fn basic(&mut self, client_id: &str, secret: &Secret, raw: bool) -> Result<(), TokenError> {
        let value = basic_credentials(client_id, secret, raw);
        let mut field = HeaderValue::try_from(format!("Basic {}", value.as_str())).map_err(|_never| {
            TokenError::new(TokenErrorKind::Configuration, "the client secret does not fit into a header field")
        })?;
        field.set_sensitive(true);
        self.authorization = Some(field);
        self.redactor.withhold(&form_encoded(secret.expose()));
        self.redactor.withhold(&value);
        Ok(())
    }

    /// RFC 7521 section 4.2. `client_id` goes along: it is optional there, and some servers insist.
    fn assertion(&mut self, client_id: &str, assertion_type: ClientAssertionType, assertion: &str) {
        self.put("client_id", client_id);
        self.put("client_assertion_type", assertion_type.as_str());
        self.put("client_assertion", assertion);
        self.redactor.withhold(assertion);
    }

    fn put(&mut self, name: &'static str, value: &str) {
        self.form.push((name, Zeroizing::new(value.to_owned())));
    }
}

/// A JWT whose subject is a SPIFFE ID is a JWT-SVID.
fn type_of(assertion: &str) -> ClientAssertionType {
    let claims = lifetime::claims(assertion);
    let subject = claims.as_ref().and_then(|claims| claims.get("sub")?.as_str());
    match subject {
        Some(subject) if subject.starts_with("spiffe://") => ClientAssertionType::JwtSpiffe,
        _ => ClientAssertionType::JwtBearer,
    }
}

/// What follows `Basic `: the pair in base64, each part form-encoded unless `raw`.
pub(crate) fn basic_credentials(client_id: &str, secret: &Secret, raw: bool) -> Zeroizing<String> {
    if raw {
        return http_auth::basic_credentials(client_id, secret.expose());
    }
    http_auth::basic_credentials(&form_encoded(client_id), &form_encoded(secret.expose()))
}

#[cfg(test)]
#[path = "client_auth_tests.rs"]
mod tests;
