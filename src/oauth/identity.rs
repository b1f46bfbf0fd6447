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
#[path = "identity_tests.rs"]
mod tests;
