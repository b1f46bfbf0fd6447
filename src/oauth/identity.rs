//! Which token requests are the same request, so that they share one token.

use std::collections::BTreeSet;
use std::fmt;

use super::endpoint;
use super::request::grant;
use super::response::lifetime;
use super::settings::{
    AssertionAudience, ClientAssertionType, ClientAuth, Grant, JwtBearer, OAuthSettings, SigningKeySettings,
    TokenExchange,
};
use crate::digest::Digest;
use crate::secret::{SecretError, SecretSource};
use crate::tls::IdentitySource;

/// A SHA-256 digest over everything that makes a token request what it is. Shown as its first eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity([u8; 32]);

/// The identity of the token request that `settings` and secrets of this fingerprint make.
///
/// Equal requests have equal identities: what is sent counts, and not where it was read, by whom it is trusted, or how it gets
/// there. Scope is a set (RFC 6749 section 3.3), so its order and repetitions do not count. A rotated secret is another
/// identity, and so is another key that the token is bound to (`bound_to`, its thumbprint: RFC 9449 section 6).
#[must_use]
pub(crate) fn identity(
    settings: &OAuthSettings,
    secret_fingerprint: Option<[u8; 32]>,
    bound_to: Option<&str>,
) -> Identity {
    // Every setting is named: who adds one decides here whether it counts.
    let OAuthSettings {
        server,
        client_id,
        client_auth,
        assertion_audience,
        grant,
        scope,
        audience,
        resource,
        parameters: _, // those that are sent: `grant::extra`
        headers: _,    // the same: `endpoint::extra_headers`
        timeout: _,
        ca_file: _,
        proxy: _,
        dpop: _, // by the key's thumbprint, `bound_to`
        members: _,
        token_member,
        any_token_type: _,
    } = settings;
    let scope: BTreeSet<&str> = scope.iter().flat_map(|value| value.split_whitespace()).collect();
    let mut fields = fields("attache token identity 3");
    fields.list(server.token_endpoint.iter(), |fields, url| fields.text(url.as_str()));
    // Where the endpoint is known, the issuer is for assertions alone.
    let issuer = server.issuer.as_deref().filter(|_| server.token_endpoint.is_none());
    fields.list(issuer.into_iter(), Digest::text);
    fields.text(client_id);
    fields.list(secret_fingerprint.iter(), |fields, digest| fields.bytes(digest.as_slice()));
    add_client_auth(&mut fields, client_auth);
    add_grant(&mut fields, grant, client_id);
    if signs(settings) {
        add_audience(&mut fields, assertion_audience, server.issuer.as_deref());
    }
    fields.list(bound_to.into_iter(), Digest::text);
    // Read and not sent, and yet another token.
    fields.list(token_member.iter(), |fields, member| fields.text(member));
    fields.list(scope.into_iter(), Digest::text);
    fields.list(audience.iter(), |fields, audience| fields.text(audience));
    fields.list(resource.iter().collect::<BTreeSet<_>>().into_iter(), |fields, resource| fields.text(resource));
    add_pairs(&mut fields, grant::extra(settings).map(|(name, value)| (name.as_str(), value.as_bytes())));
    add_pairs(&mut fields, endpoint::extra_headers(settings).map(|(name, value)| (name.as_str(), value.as_bytes())));
    Identity(fields.finish())
}

/// A digest over all secrets that a token request is made with, as they are now; `None` where it has none. Reads files.
///
/// # Errors
/// A secret that cannot be read.
pub(crate) fn secrets_fingerprint(settings: &OAuthSettings) -> Result<Option<[u8; 32]>, SecretError> {
    let mut found = Vec::new();
    match &settings.client_auth {
        ClientAuth::Basic { secrets, .. } | ClientAuth::Post(secrets) | ClientAuth::SecretJwt(secrets) => {
            found.push(secrets.fingerprint()?);
        }
        ClientAuth::PrivateKeyJwt(key) => found.extend(key_fingerprints(key)?),
        ClientAuth::Assertion { assertions, .. } => {
            found.push(assertions.fingerprint_by(|given| statement(given, &ABOUT))?);
        }
        ClientAuth::Tls { certificate, key } => found.push(pair_fingerprint(certificate, key)?),
        ClientAuth::None | ClientAuth::Omitted => {}
    }
    match &settings.grant {
        Grant::JwtBearer(JwtBearer::Given(given)) => {
            found.push(given.fingerprint_by(|given| statement(given, &ABOUT))?);
        }
        Grant::TokenExchange(TokenExchange { subject: Some(given), .. }) => {
            found.push(given.fingerprint_by(|given| statement(given, &ABOUT_SUBJECT))?);
        }
        Grant::JwtBearer(JwtBearer::Signed { key, .. }) => found.extend(key_fingerprints(key)?),
        Grant::ClientCredentials | Grant::TokenExchange(_) | Grant::Other(_) => {}
    }
    if found.is_empty() {
        return Ok(None);
    }
    let mut fields = fields("attache secrets");
    fields.list(found.iter(), |fields, digest| fields.bytes(digest));
    Ok(Some(fields.finish()))
}

/// A digest over the assertions that another program writes, to the letter. A new one is no new identity, but it may mend what the
/// old one failed of. `None` where there are none, or where they cannot be read now.
#[must_use]
pub(crate) fn assertions_fingerprint(settings: &OAuthSettings) -> Option<[u8; 32]> {
    let client = match &settings.client_auth {
        ClientAuth::Assertion { assertions, .. } => Some(assertions),
        _ => None,
    };
    let grant = match &settings.grant {
        Grant::JwtBearer(JwtBearer::Given(given))
        | Grant::TokenExchange(TokenExchange { subject: Some(given), .. }) => Some(given),
        _ => None,
    };
    let found: Vec<[u8; 32]> =
        [client, grant].into_iter().flatten().filter_map(|assertions| assertions.fingerprint().ok()).collect();
    let mut fields = fields("attache assertions");
    fields.list(found.iter(), |fields, digest| fields.bytes(digest));
    (!found.is_empty()).then(|| fields.finish())
}

fn key_fingerprints(key: &SigningKeySettings) -> Result<Vec<[u8; 32]>, SecretError> {
    let certificate = key.certificate.iter().map(SecretSource::fingerprint);
    std::iter::once(key.keys.fingerprint()).chain(certificate).collect()
}

/// The certificate and key themselves, wherever they stand; the texts of a pair that cannot be used.
fn pair_fingerprint(certificate: &SecretSource, key: &SecretSource) -> Result<[u8; 32], SecretError> {
    let source = IdentitySource { certificate: certificate.clone(), key: key.clone() };
    if let Ok(identity) = source.read() {
        return Ok(identity.fingerprint());
    }
    let mut fields = fields("attache pair");
    fields.bytes(&certificate.fingerprint()?);
    fields.bytes(&key.fingerprint()?);
    Ok(fields.finish())
}

/// Whose an assertion is and whom it is for.
const ABOUT: [&str; 3] = ["iss", "sub", "aud"];

/// The same of a subject, and what else says how much it may: the token that comes of an exchange has no more than its subject.
const ABOUT_SUBJECT: [&str; 11] =
    ["iss", "sub", "aud", "azp", "client_id", "act", "may_act", "scope", "scp", "tid", "authorization_details"];

/// Of an assertion that another program writes, and writes anew every few minutes: these claims of it. One that is no JWT or says of
/// nobody whose it is counts to the letter, and one that a program prints by the program.
fn statement(source: &SecretSource, about: &[&str]) -> Result<[u8; 32], SecretError> {
    if source.is_command() {
        return source.fingerprint();
    }
    let assertion = source.read()?;
    let claims = lifetime::claims(assertion.expose().trim()).filter(|claims| claims.get("sub").is_some());
    let Some(claims) = claims else { return Ok(assertion.fingerprint()) };
    let mut fields = fields("attache assertion");
    for name in about {
        fields.text(&claims.get(*name).map_or_else(String::new, ToString::to_string));
    }
    Ok(fields.finish())
}

/// attache signs an assertion itself, whose audience is then a part of what is sent.
const fn signs(settings: &OAuthSettings) -> bool {
    let client = matches!(settings.client_auth, ClientAuth::SecretJwt(_) | ClientAuth::PrivateKeyJwt(_));
    client || matches!(settings.grant, Grant::JwtBearer(JwtBearer::Signed { .. }))
}

impl Identity {
    /// For who makes a name of it.
    #[must_use]
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
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

/// `of` keeps digests of different things apart.
fn fields(of: &str) -> Digest {
    let mut fields = Digest::new();
    fields.text(of);
    fields
}

/// The method, and what of it is sent besides the secret.
fn add_client_auth(to: &mut Digest, client_auth: &ClientAuth) {
    match client_auth {
        ClientAuth::Basic { raw, .. } => to.text(if *raw { "basic raw" } else { "basic" }),
        ClientAuth::Post(_) => to.text("post"),
        ClientAuth::SecretJwt(_) => to.text("secret jwt"),
        ClientAuth::PrivateKeyJwt(key) => {
            to.text("private key jwt");
            add_key(to, key);
        }
        ClientAuth::Assertion { assertion_type, .. } => {
            to.text(assertion_type.map_or("assertion", ClientAssertionType::as_str));
        }
        ClientAuth::Tls { .. } => to.text("tls"),
        ClientAuth::None => to.text("none"),
        ClientAuth::Omitted => to.text("omitted"),
    }
}

fn add_grant(to: &mut Digest, grant: &Grant, client_id: &str) {
    to.text(grant.grant_type());
    match grant {
        Grant::ClientCredentials | Grant::Other(_) => {}
        // The subject itself is among the secrets.
        Grant::TokenExchange(TokenExchange { subject, subject_token_type, requested_token_type }) => {
            to.flag(subject.is_some());
            to.text(subject_token_type);
            to.list(requested_token_type.iter(), |to, wanted| to.text(wanted));
        }
        Grant::JwtBearer(JwtBearer::Given(_)) => to.text("given"),
        Grant::JwtBearer(JwtBearer::Signed { key, subject, claims, scope_claim }) => {
            to.text("signed");
            add_key(to, key);
            to.text(subject.as_deref().unwrap_or(client_id));
            add_pairs(to, claims.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
            to.text(if *scope_claim { "scope is a claim" } else { "scope is a field" });
        }
    }
}

/// How the key is named and used; itself it is among the secrets.
fn add_key(to: &mut Digest, key: &SigningKeySettings) {
    let SigningKeySettings { keys: _, key_id, algorithm, certificate } = key;
    to.list(key_id.iter(), |to, key_id| to.text(key_id));
    to.list(algorithm.iter(), |to, algorithm| to.text(algorithm.as_str()));
    to.flag(certificate.is_some());
}

fn add_audience(to: &mut Digest, wanted: &AssertionAudience, issuer: Option<&str>) {
    match (wanted, issuer) {
        (AssertionAudience::Unsaid | AssertionAudience::Issuer, Some(issuer)) => {
            to.text("issuer");
            to.text(issuer);
        }
        (AssertionAudience::Text(text), _) => {
            to.text("text");
            to.text(text);
        }
        _ => to.text("token endpoint"),
    }
}

/// Names and values, in whatever order they were written.
fn add_pairs<'p>(to: &mut Digest, pairs: impl Iterator<Item = (&'p str, &'p [u8])>) {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by_key(|(name, _)| *name);
    to.list(pairs.into_iter(), |to, (name, value)| {
        to.text(name);
        to.bytes(value);
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secrets, settings};
    use super::*;
    use crate::secret::{Secret, Secrets};

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
        new(of(|s| s.grant = exchange("x", None)));
        new(of(|s| s.grant = exchange("y", None)));
        new(of(|s| s.grant = exchange("x", Some("y"))));
        new(of(|s| s.grant = Grant::Other("account_credentials".into())));
        new(of(|s| s.client_id.push('2')));
        new(of(|s| s.client_auth = ClientAuth::None));
        new(of(|s| s.client_auth = ClientAuth::Post(secrets("s3cret"))));
        new(of(|s| s.client_auth = ClientAuth::SecretJwt(secrets("s3cret"))));
        new(of(|s| s.token_member = Some("id_token".into())));
        new(of(|s| s.audience = Some("x".into())));
        new(of(|s| s.resource = vec!["x".into()]));
        new(of(|s| s.parameters = vec![("x".into(), "y".into())]));
        new(of(|s| s.parameters = vec![("xy".into(), String::new())]));
        new(of(|s| s.headers = vec![(http::header::ACCEPT, http::HeaderValue::from_static("x"))]));
        let key = |key_id: Option<&str>| SigningKeySettings {
            keys: secrets("x"),
            key_id: key_id.map(str::to_owned),
            algorithm: None,
            certificate: None,
        };
        for key_id in [None, Some("k")] {
            new(of(|s| s.client_auth = ClientAuth::PrivateKeyJwt(key(key_id))));
            new(of(|s| {
                s.grant = Grant::JwtBearer(JwtBearer::Signed {
                    key: key(key_id),
                    subject: None,
                    claims: Vec::new(),
                    scope_claim: false,
                });
            }));
        }
        for audience in [AssertionAudience::TokenEndpoint, AssertionAudience::Text("x".into())] {
            let signed = of(|s| {
                s.client_auth = ClientAuth::SecretJwt(secrets("s3cret"));
                s.server.issuer = Some("https://login.example.com".into());
                s.assertion_audience = audience;
            });
            assert!(signed != of(|s| s.client_auth = ClientAuth::Post(secrets("s3cret"))));
        }
    }

    #[test]
    fn every_part_of_a_signed_grant_counts() {
        let signed = |change: fn(&mut SigningKeySettings), subject: Option<&str>, claim: &str, scope_claim: bool| {
            let mut key = SigningKeySettings { keys: secrets("x"), key_id: None, algorithm: None, certificate: None };
            change(&mut key);
            let claims = vec![("name".to_owned(), claim.to_owned())];
            let subject = subject.map(str::to_owned);
            of(|s| s.grant = Grant::JwtBearer(JwtBearer::Signed { key, subject, claims, scope_claim }))
        };
        let identities = [
            signed(|_| {}, None, "x", false),
            signed(|_| {}, Some("subject"), "x", false),
            signed(|_| {}, None, "y", false),
            signed(|_| {}, None, "x", true),
            signed(|key| key.key_id = Some("k".into()), None, "x", false),
            signed(|key| key.algorithm = Some(crate::jose::Algorithm::PS256), None, "x", false),
            signed(|key| key.certificate = Some(SecretSource::Env("x".into())), None, "x", false),
            of(|s| s.grant = Grant::JwtBearer(JwtBearer::Given(secrets("x")))),
        ];
        assert_eq!(identities.into_iter().collect::<BTreeSet<_>>().len(), identities.len());
    }

    #[test]
    fn every_way_of_client_authentication_counts() {
        let one = || secrets("x");
        let place = || SecretSource::Env("x".into());
        let key = SigningKeySettings { keys: one(), key_id: None, algorithm: None, certificate: None };
        let ways = [
            ClientAuth::Basic { secrets: one(), raw: false },
            ClientAuth::Basic { secrets: one(), raw: true },
            ClientAuth::Post(one()),
            ClientAuth::SecretJwt(one()),
            ClientAuth::PrivateKeyJwt(key),
            ClientAuth::Assertion { assertions: one(), assertion_type: None },
            ClientAuth::Tls { certificate: place(), key: place() },
            ClientAuth::None,
            ClientAuth::Omitted,
        ];
        let count = ways.len();
        let identities: BTreeSet<Identity> = ways.into_iter().map(|way| of(|s| s.client_auth = way)).collect();
        assert_eq!(identities.len(), count);
        let issuer = |issuer: &str| {
            of(|s| s.server = crate::oauth::Server { token_endpoint: None, issuer: Some(issuer.to_owned()) })
        };
        assert_ne!(issuer("https://login.example.com"), issuer("https://login.example.com/"));
    }

    /// Another digest would cost every program that is updated a token for each credential, and tells of a field that was lost.
    #[test]
    fn an_identity_stays_what_it_is() {
        let known = of(|s| {
            s.scope = vec!["b a".into()];
            s.audience = Some("https://api.example.com".into());
            s.resource = vec!["https://r.example.com".into()];
            s.parameters = vec![("tenant".into(), "x".into())];
        });
        let digits: String = known.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "79f06c14db6f8c7883752fcfc9a7067b81a2bc34ac3aa069a65478130e40ca37");
    }

    #[test]
    fn what_is_not_sent_does_not_count() {
        let base = of(|_| {});
        assert_eq!(base, of(|s| s.timeout = std::time::Duration::from_secs(1)));
        assert_eq!(base, of(|s| s.ca_file = Some("ca.pem".into())));
        assert_eq!(base, of(|s| s.members = vec!["instance_url".into()]));
        assert_eq!(base, of(|s| s.any_token_type = true));
        assert_eq!(base, of(|s| s.assertion_audience = AssertionAudience::Text("x".into())), "nothing is signed");
        assert_eq!(base, of(|s| s.server.issuer = Some("https://login.example.com".into())), "the endpoint is known");
        assert_eq!(
            base,
            of(|s| s.parameters = vec![("client_id".into(), "another".into())]),
            "a field that is sent anyway"
        );
        assert_eq!(base, of(|s| s.headers = vec![(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("1"))]));
        let two = |first: &str, second: &str| {
            of(|s| s.parameters = [first, second].map(|name| (name.to_owned(), "x".to_owned())).into())
        };
        assert_eq!(two("a", "b"), two("b", "a"));
    }

    /// A JWT with these claims, whose signature nobody looks at.
    fn jwt(claims: &str) -> SecretSource {
        use base64::Engine as _;

        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        SecretSource::Literal(Secret::new(format!("e30.{payload}.c2ln")))
    }

    #[test]
    fn an_assertion_that_is_written_anew_is_the_same_one() {
        let of = |assertion: SecretSource| {
            let mut settings = settings("https://login.example.com/token");
            let as_client = {
                settings.client_auth =
                    ClientAuth::Assertion { assertions: Secrets::one(assertion.clone()), assertion_type: None };
                secrets_fingerprint(&settings).unwrap().unwrap()
            };
            let letters = assertions_fingerprint(&settings).unwrap();
            settings.client_auth = ClientAuth::Omitted;
            settings.grant = Grant::JwtBearer(JwtBearer::Given(Secrets::one(assertion)));
            assert_eq!(as_client, secrets_fingerprint(&settings).unwrap().unwrap());
            (as_client, letters)
        };
        let first = of(jwt(r#"{"iss":"k8s","sub":"pod","aud":["a"],"exp":1}"#));
        let second = of(jwt(r#"{"iss":"k8s","sub":"pod","aud":["a"],"exp":2,"jti":"x"}"#));
        assert!(first.0 == second.0 && first.1 != second.1, "but it is told that there is a new one");
        for other in [
            r#"{"iss":"k9s","sub":"pod","aud":["a"]}"#,
            r#"{"iss":"k8s","sub":"other","aud":["a"]}"#,
            r#"{"iss":"k8s","sub":"pod","aud":["b"]}"#,
        ] {
            assert_ne!(first.0, of(jwt(other)).0, "{other}");
        }
        let opaque = |text: &str| of(SecretSource::Literal(Secret::new(text.into()))).0;
        assert_ne!(opaque("a"), opaque("b"), "what is no JWT counts to the letter");
        let nobodys = |exp: u64| of(jwt(&format!(r#"{{"iss":"k8s","aud":["a"],"exp":{exp}}}"#))).0;
        assert_ne!(nobodys(1), nobodys(2), "so does what says of nobody whose it is");
    }

    #[test]
    fn a_subject_that_may_less_is_another_one() {
        let of = |claims: &str| {
            let mut settings = settings("https://login.example.com/token");
            let Grant::TokenExchange(exchange) = exchange("x", None) else { panic!("another grant") };
            let subject = Some(Secrets::one(jwt(claims)));
            settings.grant = Grant::TokenExchange(TokenExchange { subject, ..exchange });
            secrets_fingerprint(&settings).unwrap().unwrap()
        };
        let first =
            of(r#"{"iss":"i","sub":"s","aud":"a","scope":"all","exp":1,"jti":"x","kubernetes.io":{"warnafter":1}}"#);
        assert_eq!(
            first,
            of(r#"{"iss":"i","sub":"s","aud":"a","scope":"all","exp":2,"jti":"y","kubernetes.io":{"warnafter":2}}"#)
        );
        for other in [
            r#"{"iss":"i","sub":"s","aud":"a","scope":"some"}"#,
            r#"{"iss":"i","sub":"s","aud":"a","scope":"all","act":{"sub":"agent"}}"#,
            r#"{"iss":"i","sub":"s","aud":"a","scope":"all","tid":"t"}"#,
        ] {
            assert_ne!(first, of(other), "{other}");
        }
    }

    #[test]
    fn a_secret_from_two_places_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let of = |source: SecretSource| {
            let mut settings = settings("https://login.example.com/token");
            settings.client_auth = ClientAuth::Post(Secrets::one(source));
            identity(&settings, secrets_fingerprint(&settings).unwrap(), None)
        };
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            SecretSource::File(folder.path().join(name))
        };
        let literal = of(SecretSource::Literal(Secret::new("s3cret".into())));
        assert_eq!(literal, of(file("one", "s3cret\n")));
        assert_eq!(literal, of(file("two", "\u{feff}s3cret\r\n")));
        assert_ne!(literal, of(file("three", "s3cret2")));
    }

    fn exchange(subject: &str, requested: Option<&str>) -> Grant {
        Grant::TokenExchange(TokenExchange {
            subject: None,
            subject_token_type: subject.into(),
            requested_token_type: requested.map(str::to_owned),
        })
    }

    #[test]
    fn only_eight_digits_are_shown() {
        assert_eq!(format!("{}", of(|_| {})).len(), 8);
        assert_eq!(format!("{:?}", of(|_| {})).len(), "Identity()".len() + 8);
    }
}
