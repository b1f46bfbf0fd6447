//! What later answers are by earlier ones.

use url::Url;

use crate::config::tables::credentials::preset::Provider;

/// The API's origin, as far as an answer tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Is(String),
    /// Likely, and for a person to look at.
    Perhaps(String),
}

/// What a key of the credential says about the origin.
pub(super) fn origin_after(provider: Option<Provider>, key: &str, value: &str) -> Option<Origin> {
    match (provider, key) {
        (Some(Provider::Paypal), "environment") => match value {
            "live" => Some(Origin::Is("https://api-m.paypal.com".into())),
            "sandbox" => Some(Origin::Is("https://api-m.sandbox.paypal.com".into())),
            _ => None,
        },
        // The organization's own host serves tokens and API.
        (Some(Provider::Salesforce), "domain") => {
            let url = if value.contains("://") { value.to_owned() } else { format!("https://{value}") };
            origin_of(&url).map(Origin::Is)
        }
        (Some(Provider::Google), "scope") => google(value),
        // An API is often called by its address, and may be called by anything.
        (Some(Provider::Entra), "scope") => origin_of(value.strip_suffix("/.default")?).map(Origin::Perhaps),
        (None | Some(Provider::Auth0), "audience") => origin_of(value).map(Origin::Perhaps),
        _ => None,
    }
}

/// Most scopes are called by their API: `https://www.googleapis.com/auth/pubsub`, `…/auth/bigquery.readonly`.
fn google(scope: &str) -> Option<Origin> {
    let word = scope.strip_prefix("https://www.googleapis.com/auth/")?.split('.').next()?;
    let host = if word == "devstorage" { "storage" } else { word };
    let is_api = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_lowercase());
    is_api.then(|| Origin::Perhaps(format!("https://{host}.googleapis.com")))
}

fn origin_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    url.host_str().filter(|host| host.contains('.')).map(|_| url.origin().ascii_serialization())
}

/// An origin's first label that says something.
pub(super) fn name_of(origin: &str) -> String {
    let host = origin.split("://").nth(1).unwrap_or(origin);
    let labels = host.split([':', '/']).next().unwrap_or(host).split('.');
    let says =
        |label: &&str| !["api", "www", "*", ""].contains(label) && label.bytes().any(|byte| byte.is_ascii_alphabetic());
    let name = labels.take(2).find(says).unwrap_or("api");
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_follows_from_what_each_provider_calls_its_apis_by() {
        let is = |origin: &str| Some(Origin::Is(origin.into()));
        let perhaps = |origin: &str| Some(Origin::Perhaps(origin.into()));
        for (provider, key, value, expected) in [
            (Some(Provider::Paypal), "environment", "live", is("https://api-m.paypal.com")),
            (Some(Provider::Paypal), "environment", "sandbox", is("https://api-m.sandbox.paypal.com")),
            (Some(Provider::Paypal), "environment", "other", None),
            (Some(Provider::Salesforce), "domain", "acme.my.salesforce.com", is("https://acme.my.salesforce.com")),
            (Some(Provider::Salesforce), "domain", "https://a.my.salesforce.com/", is("https://a.my.salesforce.com")),
            (
                Some(Provider::Google),
                "scope",
                "https://www.googleapis.com/auth/bigquery.readonly",
                perhaps("https://bigquery.googleapis.com"),
            ),
            (
                Some(Provider::Google),
                "scope",
                "https://www.googleapis.com/auth/devstorage.read_only",
                perhaps("https://storage.googleapis.com"),
            ),
            (Some(Provider::Google), "scope", "https://www.googleapis.com/auth/cloud-platform", None),
            (Some(Provider::Google), "scope", "pubsub", None),
            (
                Some(Provider::Entra),
                "scope",
                "https://graph.microsoft.com/.default",
                perhaps("https://graph.microsoft.com"),
            ),
            (Some(Provider::Entra), "scope", "api://orders/.default", None),
            (Some(Provider::Auth0), "audience", "https://api.acme.com:8443/v1", perhaps("https://api.acme.com:8443")),
            (None, "audience", "orders", None),
            (None, "audience", "https://orders", None),
            (Some(Provider::Okta), "domain", "acme.okta.com", None),
        ] {
            assert_eq!(origin_after(provider, key, value), expected, "{key} = {value}");
        }
    }

    #[test]
    fn a_name_is_the_first_label_that_says_something() {
        for (origin, name) in [
            ("https://api.things.test:8443", "things"),
            ("https://orders.example.com", "orders"),
            ("https://127.0.0.1", "api"),
            ("https://*.things.test", "things"),
        ] {
            assert_eq!(name_of(origin), name);
        }
    }
}
