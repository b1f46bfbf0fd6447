//! Which token requests are the same request, so that they share one token.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::client_auth::ClientAuth;
use super::settings::{Grant, JwtBearer, OAuthSettings};
use crate::secret::{SecretError, SecretSource};

/// A SHA-256 digest over everything that makes a token request what it is. Shown as its first eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u8; 32]);

/// The identity of the token request that `settings` and a secret of this fingerprint make.
///
/// Equal requests have equal identities: scope is a set (RFC 6749 section 3.3), so its order and repetitions do not
/// count. A rotated secret is another identity, and so is another key that the token is bound to (`bound_to`, its
/// thumbprint: RFC 9449 section 6).
#[must_use]
pub fn identity(settings: &OAuthSettings, secret_fingerprint: Option<[u8; 32]>, bound_to: Option<&str>) -> Identity {
    let scope: BTreeSet<&str> = settings.scope.iter().flat_map(|value| value.split_whitespace()).collect();
    let mut fields = Fields(Context::new(&SHA256));
    fields.text("attache token identity 2");
    fields.list(settings.server.token_endpoint.iter(), |fields, url| fields.text(url.as_str()));
    fields.list(settings.server.issuer.iter(), |fields, issuer| fields.text(issuer));
    fields.text(&settings.client_id);
    fields.list(secret_fingerprint.iter(), |fields, digest| fields.bytes(digest.as_slice()));
    // What has no secret in it, but makes another request: Debug tells all of it, and names secrets by their place.
    fields.text(&format!("{:?}", settings.client_auth));
    fields.text(&format!("{:?}", settings.grant));
    fields.text(&format!("{:?}", settings.assertion_audience));
    fields.list(bound_to.into_iter(), Fields::text);
    fields.list(scope.into_iter(), Fields::text);
    fields.list(settings.audience.iter(), |fields, audience| fields.text(audience));
    fields.list(settings.resource.iter(), |fields, resource| fields.text(resource));
    fields.list(settings.parameters.iter(), |fields, (name, value)| {
        fields.text(name);
        fields.text(value);
    });
    fields.list(settings.members.iter(), |fields, member| fields.text(member));
    fields.list(settings.headers.iter(), |fields, (name, value)| {
        fields.text(name.as_str());
        fields.bytes(value.as_bytes());
    });
    fields.finish()
}

/// A digest over all secrets that a token request is made with, as they are now; `None` where it has none. Reads files.
///
/// # Errors
/// A secret that cannot be read.
pub fn secrets_fingerprint(settings: &OAuthSettings) -> Result<Option<[u8; 32]>, SecretError> {
    let mut found = Vec::new();
    if let Some(secrets) = settings.client_auth.secrets() {
        found.push(secrets.fingerprint()?);
    }
    let mut sources: Vec<&SecretSource> = Vec::new();
    match &settings.client_auth {
        ClientAuth::Tls { certificate, key } => sources.extend([certificate, key]),
        ClientAuth::PrivateKeyJwt(key) => sources.extend(&key.certificate),
        _ => {}
    }
    match &settings.grant {
        Grant::JwtBearer(JwtBearer::Given(secrets)) => found.push(secrets.fingerprint()?),
        Grant::JwtBearer(JwtBearer::Signed { key, .. }) => {
            found.push(key.keys.fingerprint()?);
            sources.extend(&key.certificate);
        }
        Grant::ClientCredentials | Grant::TokenExchange(_) => {}
    }
    for source in sources {
        found.push(source.fingerprint()?);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields(Context::new(&SHA256));
    fields.list(found.iter(), |fields, digest| fields.bytes(digest));
    Ok(Some(fields.finish().0))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// Hashes fields with their lengths in front, so that no two sequences of fields run together into the same bytes.
struct Fields(Context);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.length(items.len());
        items.for_each(|item| each(self, item));
    }

    fn length(&mut self, length: usize) {
        self.0.update(&(length as u64).to_be_bytes());
    }

    fn finish(self) -> Identity {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Identity(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn of(change: impl FnOnce(&mut OAuthSettings)) -> Identity {
        let mut settings = settings("https://login.example.com/token");
        change(&mut settings);
        identity(&settings, Some([7; 32]), None)
    }

    #[test]
    fn scope_is_a_set() {
        let base = of(|s| s.scope = vec!["a".into(), "b".into()]);
        assert_eq!(base, of(|s| s.scope = vec!["b".into(), "a".into(), "b".into()]));
        assert_eq!(base, of(|s| s.scope = vec!["b a".into()]));
        assert_ne!(base, of(|s| s.scope = vec!["ab".into()]));
    }

    #[test]
    fn every_part_of_the_request_counts() {
        let mut seen = BTreeSet::from([of(|_| {})]);
        let mut new = |identity| assert!(seen.insert(identity), "{identity} was there already");
        new(identity(&settings("https://login.example.com/token"), Some([8; 32]), None));
        new(identity(&settings("https://login.example.com/token"), None, None));
        new(identity(&settings("https://login.example.com/token2"), Some([7; 32]), None));
        new(identity(&settings("https://login.example.com/token"), Some([7; 32]), Some("thumbprint")));
        new(of(|s| s.server.issuer = Some("https://login.example.com".into())));
        new(of(|s| {
            s.grant = Grant::TokenExchange(crate::oauth::TokenExchange {
                subject_token_type: "x".into(),
                requested_token_type: None,
            });
        }));
        new(of(|s| s.assertion_audience = crate::oauth::AssertionAudience::Issuer));
        new(of(|s| s.client_id.push('2')));
        new(of(|s| s.client_auth = ClientAuth::None));
        new(of(|s| s.audience = Some("x".into())));
        new(of(|s| s.resource = vec!["x".into()]));
        new(of(|s| s.parameters = vec![("x".into(), "y".into())]));
        new(of(|s| s.parameters = vec![("xy".into(), String::new())]));
        new(of(|s| s.headers = vec![(http::header::ACCEPT, http::HeaderValue::from_static("x"))]));
    }

    #[test]
    fn only_eight_digits_are_shown() {
        assert_eq!(format!("{}", of(|_| {})).len(), 8);
        assert_eq!(format!("{:?}", of(|_| {})).len(), "Identity()".len() + 8);
    }
}
