//! The configuration to begin with, as `attache init` writes it.

use toml_edit::{DocumentMut, Item, RawString};

use crate::config::tables::credentials::preset::Provider;

/// What `attache init` writes: the keys that most people need, with three values to change.
pub const STARTER: &str = include_str!("starter.toml");

/// The same, with the credential of a provider.
pub(crate) fn starter(provider: Option<Provider>) -> DocumentMut {
    let mut document: DocumentMut = STARTER.parse().unwrap_or_default();
    let Some(provider) = provider else { return document };
    let (credential, upstream) = block(provider);
    let tables =
        format!("\n[credentials.orders]\n{credential}\n[upstreams.orders]\n{upstream}credential = \"orders\"\n");
    let mut tables: DocumentMut = tables.parse().unwrap_or_default();
    for section in ["credentials", "upstreams"] {
        let old = document.get_mut(section).and_then(|tables| tables.get_mut("orders"));
        let new = tables.get_mut(section).and_then(|tables| tables.get_mut("orders"));
        if let (Some(Item::Table(old)), Some(Item::Table(new))) = (old, new) {
            new.set_position(old.position());
            std::mem::swap(old, new);
        }
    }
    if let Some(first) = document.get_mut("listeners").and_then(|tables| tables.get_mut("proxy")?.as_table_mut()) {
        let head = first.decor().prefix().and_then(RawString::as_str).unwrap_or_default();
        // How many values there are to change differs from provider to provider.
        let head = head.replace("Change the three values marked", "Change the values marked");
        let head = match provider {
            Provider::Google => head.replace(SECRET_LINE, KEY_LINE),
            Provider::GoogleFederation => head.replace(SECRET_LINE, TOKEN_LINE),
            _ => head,
        };
        first.decor_mut().set_prefix(head);
    }
    document
}

const SECRET_LINE: &str = "#   export ORDERS_CLIENT_SECRET='…'      the client's secret\n";
const KEY_LINE: &str = "#   (put the key file of the service account at service-account.json)\n";

const TOKEN_LINE: &str = "#   (let the platform keep its token at /var/run/secrets/tokens/google)\n";

const API: &str =
    "origin     = \"https://orders.example.com\"   # <-- the API: scheme, host and port; the token goes nowhere else\n";

/// The keys of `[credentials.orders]`, and the origin.
const fn block(provider: Provider) -> (&'static str, &'static str) {
    match provider {
        Provider::Entra => (
            r#"preset        = "entra"
tenant        = "contoso.onmicrosoft.com"                  # <-- the directory: its id or one of its domains
client_id     = "00000000-0000-0000-0000-000000000000"     # <-- the application's (client) id
client_secret = { env = "ORDERS_CLIENT_SECRET" }           # or private_key = "key.pem" with client_certificate = "cert.pem"
scope         = "api://orders/.default"                    # <-- the API's application ID URI and "/.default"
"#,
            API,
        ),
        Provider::Auth0 => (
            r#"preset        = "auth0"
domain        = "your-tenant.eu.auth0.com"                 # <-- the tenant's host
client_id     = "orders-batch"                             # <-- the client id of the machine-to-machine application
client_secret = { env = "ORDERS_CLIENT_SECRET" }
audience      = "https://orders.example.com"               # <-- the API's identifier, as Auth0 shows it
"#,
            API,
        ),
        Provider::Okta => (
            r#"preset               = "okta"
domain               = "your-org.okta.com"                 # <-- the organization's host
authorization_server = "default"                           # or the id of another, or "org"
client_id            = "orders-batch"                      # <-- the id of the API services app
client_secret        = { env = "ORDERS_CLIENT_SECRET" }    # or private_key = "key.pem" with key_id
scope                = "orders.read"                       # <-- what the token allows; Okta gives none without
"#,
            API,
        ),
        Provider::Keycloak => (
            r#"preset        = "keycloak"
domain        = "keycloak.example.com"                     # <-- Keycloak's host; with a path: "https://example.com/auth"
realm         = "orders"                                   # <-- the realm that the client is in
client_id     = "orders-batch"                             # <-- the id of a confidential client with service accounts
client_secret = { env = "ORDERS_CLIENT_SECRET" }
"#,
            API,
        ),
        Provider::Cognito => (
            r#"preset        = "cognito"
domain        = "your-app.auth.eu-west-1.amazoncognito.com"    # <-- the host of the user pool's domain
client_id     = "orders-batch"                             # <-- the id of the app client
client_secret = { env = "ORDERS_CLIENT_SECRET" }
scope         = "orders/read"                              # <-- what the token allows: resource server, "/", scope
"#,
            API,
        ),
        Provider::Google => (
            r#"preset      = "google"
client_id   = "orders@your-project.iam.gserviceaccount.com"    # <-- client_email of the key file
private_key = { file = "service-account.json", field = "private_key" }     # <-- the key file
scope       = "https://www.googleapis.com/auth/pubsub"     # <-- what the token allows, as the API's documentation says
"#,
            "origin     = \"https://pubsub.googleapis.com\"  # <-- the API: scheme, host and port; the token goes nowhere else\n",
        ),
        Provider::GoogleFederation => (
            r#"preset        = "google_federation"
audience      = "//iam.googleapis.com/projects/0/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"   # <-- the provider's full name
subject_token = { file = "/var/run/secrets/tokens/google" }
scope         = "https://www.googleapis.com/auth/cloud-platform"     # <-- what the token allows, as the API's documentation says
"#,
            "origin     = \"https://storage.googleapis.com\"  # <-- the API: scheme, host and port; the token goes nowhere else\n",
        ),
        Provider::Salesforce => (
            r#"preset        = "salesforce"
domain        = "your-company.my.salesforce.com"           # <-- the My Domain host
client_id     = "orders-batch"                             # <-- the connected app's consumer key
client_secret = { env = "ORDERS_CLIENT_SECRET" }           # the consumer secret
"#,
            "origin     = \"https://your-company.my.salesforce.com\"  # <-- the API: scheme, host and port; the token goes nowhere else\n",
        ),
        Provider::Paypal => (
            r#"preset        = "paypal"
environment   = "sandbox"                                  # or "live", and then origin = "https://api-m.paypal.com"
client_id     = "orders-batch"                             # <-- the app's client id
client_secret = { env = "ORDERS_CLIENT_SECRET" }
"#,
            "origin     = \"https://api-m.sandbox.paypal.com\"  # <-- the API: scheme, host and port; the token goes nowhere else\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tables::credentials::preset::PROVIDERS;
    use crate::config::testing::parse_in;

    #[test]
    fn every_provider_has_a_starter_that_loads_without_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("service-account.json"), r#"{"private_key":"sentinel"}"#).unwrap();
        std::fs::write(dir.path().join("workload.jwt"), "a.b.c").unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(dir.path().join("workload.jwt"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        for (name, provider) in PROVIDERS {
            let text = starter(Some(provider)).to_string();
            // No machine that tests run on has the platform's file.
            let here = text.replace("/var/run/secrets/tokens/google", "workload.jwt");
            let read = parse_in(dir.path(), &here).map_err(|errors| format!("{name}: {errors}")).unwrap();
            assert_eq!(
                (read.credentials.len(), read.upstreams.len(), read.warnings.len()),
                (1, 1, 0),
                "{name}: {:?}",
                read.warnings
            );
            assert!(text.contains(&format!("= \"{name}\"\n")) && text.contains("# <--"), "{text}");
            assert!(text.contains("[admin]") && text.ends_with("#upstream = \"orders\"\n"), "{text}");
        }
        assert_eq!(starter(None).to_string(), STARTER);
    }
}
