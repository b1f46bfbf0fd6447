//! How the client proves itself to the authorization server (RFC 6749 section 2.3): one method for each request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::ClientAuth;
use crate::secret::Secret;
use crate::token::{TokenError, TokenErrorKind};

/// The client authentication of one token request. Knows in which forms the secret went out, so that a server which
/// repeats it is not quoted.
pub(super) struct Proof<'a> {
    /// The value of `Authorization`, marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
    /// What goes into the form.
    pub(super) form: Vec<(&'static str, &'a str)>,
    sent: Vec<Zeroizing<String>>,
}

impl<'a> Proof<'a> {
    /// Presents `client_id` and the secret by the configured method.
    ///
    /// # Errors
    /// [`TokenErrorKind::Configuration`] when the method needs a secret and there is none.
    pub(super) fn new(auth: &ClientAuth, client_id: &'a str, secret: Option<&'a Secret>) -> Result<Self, TokenError> {
        let sent = secret.map(|secret| Zeroizing::new(secret.expose().to_owned())).into_iter().collect();
        let mut proof = Self { authorization: None, form: Vec::new(), sent };
        let missing = || TokenError::new(TokenErrorKind::Configuration, "there is no client secret; nothing was sent");
        match auth {
            ClientAuth::Basic(_) => proof.basic(client_id, secret.ok_or_else(missing)?)?,
            ClientAuth::Post(_) => {
                let secret = secret.ok_or_else(missing)?;
                proof.form = vec![("client_id", client_id), ("client_secret", secret.expose())];
                proof.sent.push(form_encoded(secret.expose()));
            }
            ClientAuth::None => proof.form = vec![("client_id", client_id)],
        }
        Ok(proof)
    }

    /// True if a text of the server's repeats the secret, in any of the forms in which it was sent. A secret of three
    /// characters or fewer is in too many words to be looked for.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let repeats = |sent: &Zeroizing<String>| text.contains(Zeroizing::new(sent.to_ascii_lowercase()).as_str());
        self.sent.iter().filter(|sent| sent.len() > 3).any(repeats)
    }

    /// RFC 6749 section 2.3.1: id and secret are form-encoded each for itself, so that the id's colons stay the id's.
    fn basic(&mut self, client_id: &str, secret: &Secret) -> Result<(), TokenError> {
        let encoded = form_encoded(secret.expose());
        let pair = Zeroizing::new(format!("{}:{}", form_encoded(client_id).as_str(), encoded.as_str()));
        let base64 = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        let mut value = HeaderValue::try_from(format!("Basic {}", base64.as_str())).map_err(|_never| {
            TokenError::new(TokenErrorKind::Configuration, "the client secret does not fit into a header field")
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        self.sent.extend([encoded, base64]);
        Ok(())
    }
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn form_encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(byte_serialize(text.as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;

    const ID: &str = "odd:id/+ &%";
    const SECRET: &str = "p@ss:w/ord+ =%&~";

    fn source() -> SecretSource {
        SecretSource::Literal(Secret::new(SECRET.into()))
    }

    #[test]
    fn basic_form_encodes_id_and_secret_separately() {
        let secret = Secret::new(SECRET.into());
        let proof = Proof::new(&ClientAuth::Basic(source()), ID, Some(&secret)).unwrap();
        let value = proof.authorization.unwrap();
        assert!(value.is_sensitive());
        let base64 = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap();
        assert_eq!(pair, "odd%3Aid%2F%2B+%26%25:p%40ss%3Aw%2Ford%2B+%3D%25%26%7E");
        assert!(proof.form.is_empty(), "one method for each request");
    }

    #[test]
    fn post_puts_both_into_the_form_only() {
        let secret = Secret::new(SECRET.into());
        let proof = Proof::new(&ClientAuth::Post(source()), ID, Some(&secret)).unwrap();
        assert_eq!(proof.form, [("client_id", ID), ("client_secret", SECRET)]);
        assert!(proof.authorization.is_none());
    }

    #[test]
    fn a_public_client_sends_its_id_alone() {
        let proof = Proof::new(&ClientAuth::None, ID, None).unwrap();
        assert_eq!(proof.form, [("client_id", ID)]);
        assert!(proof.authorization.is_none() && !proof.is_in("anything"));
    }

    #[test]
    fn a_repeated_secret_is_recognised_in_every_form_it_was_sent_in() {
        let secret = Secret::new(SECRET.into());
        let proof = Proof::new(&ClientAuth::Basic(source()), ID, Some(&secret)).unwrap();
        let value = proof.authorization.clone().unwrap();
        for text in [SECRET, "P@SS:W/ORD+ =%&~", "p%40ss%3Aw%2Ford%2B+%3D%25%26%7E", value.to_str().unwrap()] {
            assert!(proof.is_in(&format!("you said {text}!")), "{text}");
        }
        assert!(!proof.is_in("you said nothing"));
    }

    #[test]
    fn a_method_without_its_secret_is_a_configuration_error() {
        let error = Proof::new(&ClientAuth::Post(source()), ID, None).err().unwrap();
        assert_eq!(error.kind, TokenErrorKind::Configuration);
    }
}
