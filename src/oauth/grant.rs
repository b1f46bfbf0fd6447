//! The form of a token request: what is asked for (RFC 6749 section 4.4.2), with the extensions that are in use.

use std::collections::BTreeSet;

use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::OAuthSettings;
use super::client_auth::Proof;

/// RFC 6749 section 4.4.
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Form fields that belong to the client authentication, and are never taken from the extra parameters.
const CLIENT_AUTH_FIELDS: [&str; 4] = ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// The request body, `application/x-www-form-urlencoded`.
///
/// A field that the settings fill already is not sent a second time by an extra parameter: RFC 6749 section 3.2 allows
/// each once, save `resource`, which RFC 8707 section 2 lets repeat.
pub(super) fn body(settings: &OAuthSettings, proof: &Proof<'_>) -> Zeroizing<String> {
    let scope = asked_scope(settings).collect::<Vec<_>>().join(" ");
    let mut fields = vec![("grant_type", CLIENT_CREDENTIALS)];
    if !scope.is_empty() {
        fields.push(("scope", &scope));
    }
    fields.extend(settings.audience.iter().map(|audience| ("audience", audience.as_str())));
    fields.extend(settings.resource.iter().map(|resource| ("resource", resource.as_str())));
    let taken = |name: &str| {
        let ours = fields.iter().any(|(field, _)| *field == name && name != "resource");
        ours || CLIENT_AUTH_FIELDS.contains(&name)
    };
    let extra = settings.parameters.iter().filter(|(name, _)| !taken(name));
    let mut form = Serializer::new(String::new());
    form.extend_pairs(&fields).extend_pairs(extra).extend_pairs(&proof.form);
    Zeroizing::new(form.finish())
}

/// What was asked for and not granted, each once. A server that does not say has granted it all (RFC 6749 section 5.1).
pub(super) fn missing_scope(settings: &OAuthSettings, granted: Option<&str>) -> Vec<String> {
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
    use super::super::tests::settings;
    use super::super::{ClientAuth, OAuthSettings};
    use super::*;

    fn body_of(change: impl FnOnce(&mut OAuthSettings)) -> String {
        let mut settings = settings("https://login.example.com/token");
        settings.client_auth = ClientAuth::None;
        change(&mut settings);
        let proof = Proof::new(&ClientAuth::None, "me", None).unwrap();
        body(&settings, &proof).to_string()
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
