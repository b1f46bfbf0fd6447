//! The form of a token request: what is asked for (RFC 6749 section 4.4.2), with the extensions that are in use.

use std::collections::BTreeSet;
use std::time::SystemTime;

use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::super::response::lifetime;
use super::super::settings::{Grant, JwtBearer, OAuthSettings};
use super::assertion::{self, Assertion, Audience};
use super::client_auth::ClientAuthentication;
use crate::secret::Secret;
use crate::token::{TokenError, TokenErrorKind};

/// Form fields that belong to the client authentication, and are never taken from the extra parameters.
const CLIENT_AUTH_FIELDS: [&str; 4] = ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// The fields of the grant itself, besides `grant_type`.
pub(crate) type GrantFields = Vec<(&'static str, Zeroizing<String>)>;

/// When a caller's own token ends, by its `exp` if it is a JWT; its signature is for the authorization server to judge.
pub(crate) fn subject_ends(subject: &Secret) -> Option<SystemTime> {
    lifetime::jwt_end(subject.expose())
}

/// What the grant is made of in this request: the caller's token or the configured one (`given`) in a token exchange, the assertion
/// of `jwt_bearer` or the key that signs it (`given` too).
///
/// # Errors
/// [`TokenErrorKind::Configuration`] where something is missing or cannot be used.
pub(crate) fn fields(
    settings: &OAuthSettings,
    subject: Option<&Secret>,
    given: Option<&Secret>,
    audience: &Audience<'_>,
) -> Result<GrantFields, TokenError> {
    let own = |text: &str| Zeroizing::new(text.to_owned());
    let missing = |what: &str| {
        TokenError::new(TokenErrorKind::Configuration, format!("there is no {what} for this grant; nothing was sent"))
    };
    Ok(match &settings.grant {
        Grant::ClientCredentials | Grant::Other(_) => Vec::new(),
        Grant::TokenExchange(exchange) => {
            let subject = match exchange.subject {
                Some(_) => given.ok_or_else(|| missing("subject_token"))?.expose().trim(),
                None => subject.ok_or_else(|| missing("token of a caller's"))?.expose(),
            };
            let mut fields =
                vec![("subject_token", own(subject)), ("subject_token_type", own(&exchange.subject_token_type))];
            fields.extend(exchange.requested_token_type.iter().map(|wanted| ("requested_token_type", own(wanted))));
            fields
        }
        Grant::JwtBearer(JwtBearer::Given(_)) => {
            vec![("assertion", own(given.ok_or_else(|| missing("assertion"))?.expose().trim()))]
        }
        Grant::JwtBearer(JwtBearer::Signed { key, subject, claims, scope_claim }) => {
            let scope = asked_scope(settings).collect::<Vec<_>>().join(" ");
            let mut claims: Vec<(&str, &str)> = claims.iter().map(|(name, value)| (&**name, &**value)).collect();
            if *scope_claim {
                claims.push(("scope", &scope));
            }
            let subject = subject.as_deref().unwrap_or(&settings.client_id);
            let statement = Assertion::of_grant(&settings.client_id, subject, claims);
            let key_text = given.ok_or_else(|| missing("private_key"))?;
            vec![("assertion", assertion::signed(key, key_text, audience, &statement)?)]
        }
    })
}

/// True if the scope goes into the assertion instead of the form.
const fn scope_is_a_claim(grant: &Grant) -> bool {
    matches!(grant, Grant::JwtBearer(JwtBearer::Signed { scope_claim: true, .. }))
}

/// The request body, `application/x-www-form-urlencoded`.
///
/// A field that the settings fill already is not sent a second time by an extra parameter: RFC 6749 section 3.2 allows
/// each once, save `resource`, which RFC 8707 section 2 lets repeat.
pub(crate) fn body(settings: &OAuthSettings, grant: &GrantFields, client: &ClientAuthentication) -> Zeroizing<String> {
    let scope = asked_scope(settings).collect::<Vec<_>>().join(" ");
    let mut fields = vec![("grant_type", settings.grant.grant_type())];
    fields.extend(grant.iter().map(|(name, value)| (*name, value.as_str())));
    if !scope.is_empty() && !scope_is_a_claim(&settings.grant) {
        fields.push(("scope", &scope));
    }
    fields.extend(settings.audience.iter().map(|audience| ("audience", audience.as_str())));
    fields.extend(settings.resource.iter().map(|resource| ("resource", resource.as_str())));
    let extra = extra(settings);
    let mut form = Serializer::new(String::new());
    form.extend_pairs(&fields)
        .extend_pairs(extra)
        .extend_pairs(client.form.iter().map(|(name, value)| (*name, value.as_str())));
    Zeroizing::new(form.finish())
}

/// The extra parameters that are sent: not those of a field that is there already.
pub(crate) fn extra(settings: &OAuthSettings) -> impl Iterator<Item = &(String, String)> {
    let is_set = |name: &str| match name {
        "grant_type" => true,
        "scope" => asked_scope(settings).next().is_some() && !scope_is_a_claim(&settings.grant),
        "audience" => settings.audience.is_some(),
        "assertion" => matches!(settings.grant, Grant::JwtBearer(_)),
        "subject_token" | "subject_token_type" => matches!(settings.grant, Grant::TokenExchange(_)),
        "requested_token_type" => {
            matches!(&settings.grant, Grant::TokenExchange(exchange) if exchange.requested_token_type.is_some())
        }
        name => CLIENT_AUTH_FIELDS.contains(&name),
    };
    settings.parameters.iter().filter(move |(name, _)| !is_set(name))
}

/// What was asked for and not granted, each once. A server that does not say has granted it all (RFC 6749 section 5.1).
pub(crate) fn missing_scope(settings: &OAuthSettings, granted: Option<&str>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    let granted: BTreeSet<&str> = granted.split_whitespace().collect();
    let missing: BTreeSet<&str> = asked_scope(settings).filter(|scope| !granted.contains(scope)).collect();
    missing.into_iter().map(str::to_owned).collect()
}

fn asked_scope(settings: &OAuthSettings) -> impl Iterator<Item = &str> {
    settings.scope.iter().flat_map(|value| value.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::{literal, secrets, settings};
    use crate::oauth::{AssertionAudience, ClientAuth, SigningKeySettings, TokenExchange};

    fn body_of(change: impl FnOnce(&mut OAuthSettings)) -> String {
        let mut settings = settings("https://login.example.com/token");
        settings.client_auth = ClientAuth::None;
        change(&mut settings);
        let audience = audience();
        let client = ClientAuthentication::new(&ClientAuth::None, "me", None, &audience).unwrap();
        let fields = fields(&settings, Some(&literal("sub")), Some(&literal("aaa.bbb.ccc")), &audience).unwrap();
        body(&settings, &fields, &client).to_string()
    }

    fn audience() -> Audience<'static> {
        Audience { issuer: None, token_endpoint: "https://login.example.com/token", wanted: &AssertionAudience::Unsaid }
    }

    #[test]
    fn a_token_exchange_names_the_subject_and_its_type() {
        let body = body_of(|s| {
            s.grant = Grant::TokenExchange(TokenExchange {
                subject: None,
                subject_token_type: "urn:x:access_token".into(),
                requested_token_type: Some("urn:x:jwt".into()),
            });
            s.scope = vec!["a".into()];
        });
        assert_eq!(
            body,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=sub\
             &subject_token_type=urn%3Ax%3Aaccess_token&requested_token_type=urn%3Ax%3Ajwt&scope=a&client_id=me"
        );
    }

    #[test]
    fn a_subject_of_ones_own_goes_before_the_callers() {
        let body = body_of(|s| {
            s.grant = Grant::TokenExchange(TokenExchange {
                subject: Some(secrets("x")),
                subject_token_type: "urn:x:jwt".into(),
                requested_token_type: None,
            });
        });
        assert_eq!(
            body,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=aaa.bbb.ccc\
             &subject_token_type=urn%3Ax%3Ajwt&client_id=me"
        );
    }

    #[test]
    fn a_given_assertion_is_the_grant() {
        let body = body_of(|s| s.grant = Grant::JwtBearer(JwtBearer::Given(secrets("x"))));
        let expected =
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=aaa.bbb.ccc&client_id=me";
        assert_eq!(body, expected);
    }

    #[test]
    fn a_grant_without_what_it_needs_is_a_configuration_error() {
        let mut settings = settings("https://login.example.com/token");
        settings.grant = Grant::JwtBearer(JwtBearer::Signed {
            key: SigningKeySettings { keys: secrets("x"), key_id: None, algorithm: None, certificate: None },
            subject: None,
            claims: Vec::new(),
            scope_claim: true,
        });
        for key in [None, Some(literal("sentinel, which is no key"))] {
            let error = fields(&settings, None, key.as_ref(), &audience()).unwrap_err();
            assert_eq!(error.kind, TokenErrorKind::Configuration);
            assert!(error.message.ends_with("nothing was sent") && !error.message.contains("sentinel"), "{error}");
        }
    }

    #[test]
    fn a_grant_of_the_servers_own_is_its_name_and_parameters() {
        let body = body_of(|s| {
            s.grant = Grant::Other("account_credentials".into());
            s.parameters = vec![("account_id".into(), "x y".into())];
        });
        assert_eq!(body, "grant_type=account_credentials&account_id=x+y&client_id=me");
    }

    #[test]
    fn nothing_is_sent_that_was_not_configured() {
        assert_eq!(body_of(|_| {}), "grant_type=client_credentials&client_id=me");
    }

    #[test]
    fn scopes_are_joined_by_spaces_and_resources_repeated() {
        let body = body_of(|s| {
            s.scope = vec!["orders.read".into(), "orders.write other".into()];
            s.audience = Some("https://orders.example.com".into());
            s.resource = vec!["https://a.example/".into(), "https://b.example/".into()];
            s.parameters = vec![("tenant".into(), "a&b".into())];
        });
        assert_eq!(
            body,
            "grant_type=client_credentials&scope=orders.read+orders.write+other\
             &audience=https%3A%2F%2Forders.example.com\
             &resource=https%3A%2F%2Fa.example%2F&resource=https%3A%2F%2Fb.example%2F&tenant=a%26b&client_id=me"
        );
    }

    #[test]
    fn an_extra_parameter_never_doubles_a_field() {
        let body = body_of(|s| {
            s.scope = vec!["a".into()];
            s.parameters = ["grant_type", "client_id", "client_secret", "scope", "audience"]
                .map(|name| (name.to_owned(), "x".to_owned()))
                .into();
        });
        assert_eq!(body, "grant_type=client_credentials&scope=a&audience=x&client_id=me");
    }

    #[test]
    fn what_is_missing_is_what_was_asked_for_and_not_granted() {
        let mut settings = settings("https://login.example.com/token");
        settings.scope = vec!["b a".into(), "c".into(), "a".into()];
        assert_eq!(missing_scope(&settings, Some("c more b")), ["a"]);
        assert_eq!(missing_scope(&settings, Some("x")), ["a", "b", "c"]);
        assert_eq!(missing_scope(&settings, Some("a b c d")), [""; 0]);
        assert_eq!(missing_scope(&settings, None), [""; 0], "a silent server has granted it all");
        settings.scope.clear();
        assert_eq!(missing_scope(&settings, Some("x")), [""; 0]);
    }
}
