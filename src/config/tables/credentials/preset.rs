//! `preset = "…"`: what a provider needs, so that nobody has to find it out. Whatever the file says itself goes first.

use std::time::Duration;

use url::Url;

use crate::config::syntax::file::environment;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::Value;
use crate::config::tables::credentials::client_auth::{ACCESS_TOKEN, Defaults};
use crate::oauth::EndpointUrl;
use crate::secret::{SecretSource, Secrets};

/// A provider whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Microsoft Entra ID, v2.0 endpoint.
    Entra,
    /// Google's workload identity federation: another platform's token for one of Google's (RFC 8693).
    GoogleFederation,
    /// Auth0.
    Auth0,
    /// Okta, a custom authorization server or the organization's own.
    Okta,
    Keycloak,
    /// Amazon Cognito user pools.
    Cognito,
    /// Google service accounts (RFC 7523).
    Google,
    /// Salesforce, client-credentials flow.
    Salesforce,
    /// PayPal.
    Paypal,
}

/// The words of `preset`.
pub(crate) const PROVIDERS: [(&str, Provider); 9] = [
    ("entra", Provider::Entra),
    ("auth0", Provider::Auth0),
    ("okta", Provider::Okta),
    ("keycloak", Provider::Keycloak),
    ("cognito", Provider::Cognito),
    ("google", Provider::Google),
    ("google_federation", Provider::GoogleFederation),
    ("salesforce", Provider::Salesforce),
    ("paypal", Provider::Paypal),
];

/// What a preset fills in.
#[derive(Debug, Default)]
pub(crate) struct Preset {
    pub(crate) token_endpoint: Option<Url>,
    /// The audience of assertions, where that is not the token endpoint.
    pub(crate) issuer: Option<String>,
    pub(crate) defaults: Defaults,
    /// Where the provider does not say how long its tokens live.
    pub(crate) default_lifetime: Option<Duration>,
    /// Keys without which the provider gives no useful token, and what to write.
    pub(crate) needs: &'static [(&'static str, &'static str)],
    /// Every scope has to end like this.
    pub(crate) scope_ends_with: Option<&'static str>,
    /// The audience has to begin like this.
    pub(crate) audience_begins_with: Option<&'static str>,
    /// What the platform says of the client, by its environment.
    pub(crate) client_id: Option<String>,
}

/// Reads `preset` and its own keys. `None` after a problem, or if the key is not there.
pub(crate) fn preset(table: &mut TableReader<'_>) -> Option<Preset> {
    let provider = table.get("preset")?.choice(&PROVIDERS, &[])?;
    match provider {
        Provider::Entra => entra(table),
        Provider::GoogleFederation => google_federation(),
        Provider::Auth0 => auth0(table),
        Provider::Okta => okta(table),
        Provider::Keycloak => keycloak(table),
        Provider::Cognito => {
            let base = domain(table, "your-app.auth.eu-west-1.amazoncognito.com")?;
            endpoint(&base, "/oauth2/token", Preset::default())
        }
        Provider::Google => {
            // The assertion carries the scope, and there is no other proof of the client.
            let defaults = Defaults { grant: Some("jwt_bearer"), scope_claim: true, ..Defaults::default() };
            // An id_token is for an audience, and has no scope.
            let needs: &[_] = if table.has("token_member") {
                &[(
                    "assertion_claims",
                    "write assertion_claims = { target_audience = \"…\" }: whom the id_token is for",
                )]
            } else {
                &[("scope", "write scope = \"https://www.googleapis.com/auth/…\", as the API's documentation says")]
            };
            endpoint("https://oauth2.googleapis.com", "/token", Preset { defaults, needs, ..Preset::default() })
        }
        Provider::Salesforce => {
            let base = domain(table, "your-company.my.salesforce.com")?;
            // No expires_in ever comes: a session lives for 15 minutes at least, by the setting that an administrator has.
            let default_lifetime = Some(Duration::from_secs(15 * 60));
            endpoint(
                &base,
                "/services/oauth2/token",
                Preset { defaults: post(), default_lifetime, ..Preset::default() },
            )
        }
        Provider::Paypal => {
            let live = ("live", "https://api-m.paypal.com");
            let given = table
                .get("environment")
                .map(|value| value.choice(&[live, ("sandbox", "https://api-m.sandbox.paypal.com")], &[]));
            endpoint(given.unwrap_or(Some(live.1))?, "/v1/oauth2/token", Preset::default())
        }
    }
}

/// What the file does not say, the environment of a workload in Azure may: AKS sets these four variables.
fn entra(table: &mut TableReader<'_>) -> Option<Preset> {
    let assertion = written("AZURE_FEDERATED_TOKEN_FILE").map(|path| Secrets::one(SecretSource::File(path.into())));
    let preset = Preset {
        defaults: Defaults { assertion, ..post() },
        needs: &[("scope", "write scope = \"api://…/.default\": the API's application ID URI and \"/.default\"")],
        scope_ends_with: Some("/.default"),
        client_id: written("AZURE_CLIENT_ID"),
        ..Preset::default()
    };
    let tenant = match written("AZURE_TENANT_ID").filter(|tenant| is_path_word(tenant)) {
        // Its own endpoint, or one that is looked up, goes before the provider's.
        _ if !table.has("tenant") && (table.has("token_endpoint") || table.has("issuer")) => return Some(preset),
        Some(tenant) if !table.has("tenant") => tenant,
        _ => word(
            table,
            "tenant",
            "write tenant = \"…\", the directory's id or one of its domains, or set AZURE_TENANT_ID",
        )?,
    };
    // Clouds of their own have another host: "login.microsoftonline.us".
    let base = match (table.get("domain"), written("AZURE_AUTHORITY_HOST")) {
        (Some(value), _) => base_url(&value)?,
        (None, Some(host)) => {
            let base = as_base_url(&host);
            if base.is_none() {
                table.missing(
                    "domain",
                    "write domain = \"…\", the provider's host name: AZURE_AUTHORITY_HOST is no https URL",
                );
            }
            base?
        }
        (None, None) => "https://login.microsoftonline.com".into(),
    };
    endpoint(&base, &format!("/{tenant}/oauth2/v2.0/token"), preset)
}

/// A variable that is set and empty says nothing.
fn written(variable: &str) -> Option<String> {
    environment(variable).filter(|value| !value.is_empty())
}

fn google_federation() -> Option<Preset> {
    let defaults =
        Defaults { grant: Some("token_exchange"), requested_token_type: Some(ACCESS_TOKEN), ..Defaults::default() };
    let needs = &[
        (
            "audience",
            "write audience = \"//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER\"",
        ),
        ("subject_token", "write subject_token = { file = \"…\" }: the token that the platform gives to the workload"),
        ("scope", "write scope = \"https://www.googleapis.com/auth/cloud-platform\", or a narrower one"),
    ];
    let audience_begins_with = Some("//iam.googleapis.com/");
    let preset = Preset { defaults, needs, audience_begins_with, ..Preset::default() };
    endpoint("https://sts.googleapis.com", "/v1/token", preset)
}

fn auth0(table: &mut TableReader<'_>) -> Option<Preset> {
    let base = domain(table, "your-tenant.eu.auth0.com")?;
    let needs = &[("audience", "write audience = \"…\", the API's identifier")];
    // An assertion is for the issuer, which ends in a slash there.
    let issuer = Some(format!("{base}/"));
    endpoint(&base, "/oauth/token", Preset { defaults: post(), issuer, needs, ..Preset::default() })
}

fn okta(table: &mut TableReader<'_>) -> Option<Preset> {
    let base = domain(table, "your-org.okta.com")?;
    let server = match table.get("authorization_server") {
        Some(value) => path_word(&value)?,
        None => "default".into(),
    };
    let path = if server == "org" { "/oauth2/v1/token".to_owned() } else { format!("/oauth2/{server}/v1/token") };
    let needs = &[("scope", "write scope = \"…\": Okta gives no token without a scope")];
    endpoint(&base, &path, Preset { needs, ..Preset::default() })
}

fn keycloak(table: &mut TableReader<'_>) -> Option<Preset> {
    let base = domain(table, "keycloak.example.com")?;
    let realm = word(table, "realm", "write realm = \"…\", the realm that the client is in")?;
    let issuer = Some(format!("{base}/realms/{realm}"));
    endpoint(&base, &format!("/realms/{realm}/protocol/openid-connect/token"), Preset { issuer, ..Preset::default() })
}

fn post() -> Defaults {
    Defaults { client_auth: Some("client_secret_post"), ..Defaults::default() }
}

fn endpoint(base: &str, path: &str, preset: Preset) -> Option<Preset> {
    Some(Preset { token_endpoint: Some(Url::parse(&format!("{base}{path}")).ok()?), ..preset })
}

/// `domain`: a host name, or its URL. Gives the URL without its last slash.
fn domain(table: &mut TableReader<'_>, example: &str) -> Option<String> {
    let value = table.required("domain", format!("write domain = \"{example}\""))?;
    base_url(&value)
}

fn base_url(value: &Value<'_>) -> Option<String> {
    let wrong = || value.wrong("is no host name", "write the provider's host name, without a path, or its https URL");
    as_base_url(value.text()?).or_else(wrong)
}

fn as_base_url(text: &str) -> Option<String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&text).ok().filter(|url| url.query().is_none() && url.fragment().is_none())?;
    EndpointUrl::new(url.clone()).ok()?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn word(table: &mut TableReader<'_>, key: &'static str, remedy: &str) -> Option<String> {
    path_word(&table.required(key, remedy)?)
}

/// One segment of a path.
fn path_word(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if is_path_word(text) {
        return Some(text.to_owned());
    }
    value.wrong("has a character that cannot stand in this part of a URL", "write letters, digits, \"-\", \".\", \"_\"")
}

fn is_path_word(text: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().all(usual) && text != "." && text != ".."
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
