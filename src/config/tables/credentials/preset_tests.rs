//! Each provider's request, as its documentation shows it, made from a configuration and sent over a socket; and the
//! answer that it gives, read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::config::testing::{parse_in, problems};
use crate::credential::{CredentialKind, TokenSettings};
use crate::oauth::{OAuthSettings, OAuthSource};
use crate::token::Ask;
use crate::token::{Expires, FetchedToken, TokenSource as _};

fn text(rest: &str) -> String {
    // The subject is all the proof there is.
    let client = if rest.contains("google_federation") { "" } else { "client_id = \"me\"\n" };
    format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
         credential = \"a\"\n[credentials.a]\n{client}{rest}\n"
    )
}

fn read_in(dir: &Path, rest: &str) -> TokenSettings {
    let read = parse_in(dir, &text(rest)).map_err(|errors| errors.to_string()).unwrap();
    match read.credentials.into_iter().next().unwrap().kind {
        CredentialKind::OAuth(token) => Arc::unwrap_or_clone(token),
        CredentialKind::Fixed(_) => panic!("another kind"),
    }
}

fn oauth(rest: &str) -> OAuthSettings {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    Arc::unwrap_or_clone(read_in(dir.path(), rest).oauth)
}

fn endpoint(rest: &str) -> String {
    oauth(rest).server.token_endpoint.unwrap().to_string()
}

const SECRET: &str = "client_secret = { env = \"SECRET\" }";

#[test]
fn every_preset_knows_its_token_endpoint() {
    let with_secret = |rest: &str| endpoint(&format!("{rest}\n{SECRET}"));
    for (rest, expected) in [
        (
            "preset = \"entra\"\ntenant = \"contoso.onmicrosoft.com\"\nscope = \"api://x/.default\"",
            "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token",
        ),
        (
            "preset = \"auth0\"\ndomain = \"x.eu.auth0.com\"\naudience = \"https://api\"",
            "https://x.eu.auth0.com/oauth/token",
        ),
        ("preset = \"okta\"\ndomain = \"x.okta.com\"\nscope = \"a\"", "https://x.okta.com/oauth2/default/v1/token"),
        (
            "preset = \"okta\"\ndomain = \"x.okta.com\"\nscope = \"a\"\nauthorization_server = \"org\"",
            "https://x.okta.com/oauth2/v1/token",
        ),
        (
            "preset = \"keycloak\"\ndomain = \"https://k.test/auth/\"\nrealm = \"r\"",
            "https://k.test/auth/realms/r/protocol/openid-connect/token",
        ),
        (
            "preset = \"cognito\"\ndomain = \"x.auth.eu-west-1.amazoncognito.com\"",
            "https://x.auth.eu-west-1.amazoncognito.com/oauth2/token",
        ),
        (
            "preset = \"salesforce\"\ndomain = \"x.my.salesforce.com\"",
            "https://x.my.salesforce.com/services/oauth2/token",
        ),
        ("preset = \"paypal\"", "https://api-m.paypal.com/v1/oauth2/token"),
        ("preset = \"paypal\"\nenvironment = \"sandbox\"", "https://api-m.sandbox.paypal.com/v1/oauth2/token"),
    ] {
        assert_eq!(with_secret(rest), expected, "{rest}");
    }
    let google = "preset = \"google\"\nscope = \"https://www.googleapis.com/auth/pubsub\"\nprivate_key = \"key.pem\"";
    assert_eq!(endpoint(google), "https://oauth2.googleapis.com/token");
}

#[test]
fn what_the_file_says_goes_before_the_preset() {
    let rest = format!(
        "preset = \"auth0\"\ndomain = \"x.auth0.com\"\naudience = \"a\"\nclient_auth = \"client_secret_basic\"\n\
         token_endpoint = \"https://custom.test/token\"\n{SECRET}"
    );
    let read = oauth(&rest);
    assert_eq!(read.client_auth.name(), "client_secret_basic");
    assert_eq!(read.server.token_endpoint.unwrap().as_str(), "https://custom.test/token");
    let keyed = "preset = \"entra\"\ntenant = \"t\"\nscope = \"api://x/.default\"\nprivate_key = \"key.pem\"";
    assert_eq!(oauth(keyed).client_auth.name(), "private_key_jwt");
}

#[test]
fn what_a_provider_needs_and_is_not_there_is_said() {
    for (rest, missing) in [
        ("preset = \"entra\"\nscope = \"api://x/.default\"", "tenant"),
        ("preset = \"entra\"\ntenant = \"t\"", "scope"),
        ("preset = \"auth0\"\ndomain = \"x.auth0.com\"", "audience"),
        ("preset = \"auth0\"\naudience = \"x\"", "domain"),
        ("preset = \"okta\"\ndomain = \"x.okta.com\"", "scope"),
        ("preset = \"keycloak\"\ndomain = \"k.test\"", "realm"),
        ("preset = \"google_federation\"\nsubject_token = { env = \"SECRET\" }\nscope = \"x\"", "audience"),
        ("preset = \"google_federation\"\naudience = \"//iam.googleapis.com/x\"\nscope = \"x\"", "subject_token"),
    ] {
        let secret = if rest.contains("google_federation") { "" } else { SECRET };
        let found = problems(&text(&format!("{rest}\n{secret}")));
        assert_eq!(found.len(), 1, "{rest}: {found:#?}");
        assert!(found[0].contains(&format!("`credentials.a.{missing}` is missing; write {missing} = ")), "{found:#?}");
    }
    let found = problems(&text(&format!("preset = \"entra\"\ntenant = \"t\"\nscope = \"User.Read\"\n{SECRET}")));
    assert!(found[0].contains("`credentials.a.scope` has to end in \"/.default\""), "{found:#?}");
    let found = problems(&text(&format!("preset = \"azure\"\n{SECRET}")));
    assert!(found[0].contains("`credentials.a.preset`"), "{found:#?}");
    let found = problems(&text(&format!("preset = \"keycloak\"\ndomain = \"k.test\"\nrealm = \"a/b\"\n{SECRET}")));
    assert!(found[0].contains("`credentials.a.realm` has a character"), "{found:#?}");
}

/// Sends the request of this preset to a scripted server, which answers with `answer`. Gives the request line and fields,
/// the form, and the token.
async fn exchange(rest: &str, answer: &str) -> (String, String, FetchedToken) {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(dir.path().join("secret"), "sentinel").unwrap();
    let mut settings = read_in(dir.path(), &rest.replace("env = \"SECRET\"", "file = \"secret\""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let known = settings.oauth.server.token_endpoint.clone().unwrap();
    let mut here = known.clone();
    here.set_scheme("http").unwrap();
    here.set_host(Some("127.0.0.1")).unwrap();
    here.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    Arc::make_mut(&mut settings.oauth).server.token_endpoint = Some(here);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            stream.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request).into_owned();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            match text.split_once("\r\n\r\n") {
                Some((head, body)) if Some(body.len()) == length => {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return (head.to_owned(), body.to_owned());
                }
                _ => {}
            }
        }
    });
    let tls = crate::tls::client_config(None, &[], None, crate::tls::MinVersion::default()).unwrap();
    let token = OAuthSource::new(settings.oauth, tls, None).unwrap().fetch(Ask::apart()).await.unwrap();
    let (head, body) = server.await.unwrap();
    (head, body, token)
}

fn minute(seconds: u64) -> Expires {
    Expires::In(Duration::from_secs(seconds))
}

#[tokio::test]
async fn entra_is_asked_for_an_apis_default_scope() {
    let rest = format!("preset = \"entra\"\ntenant = \"t\"\nscope = \"api://orders/.default\"\n{SECRET}");
    let answer = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ0"}"#;
    let (head, form, token) = exchange(&rest, answer).await;
    assert!(head.starts_with("POST /t/oauth2/v2.0/token HTTP/1.1") && !head.contains("authorization"), "{head}");
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=api%3A%2F%2Forders%2F.default&client_id=me&client_secret=sentinel"
    );
    assert_eq!(token.expires, minute(3599));
}

#[tokio::test]
async fn auth0_is_told_the_audience() {
    let rest = format!("preset = \"auth0\"\ndomain = \"x.auth0.com\"\naudience = \"https://orders\"\n{SECRET}");
    let answer = r#"{"access_token":"eyJz","scope":"read:orders","expires_in":86400,"token_type":"Bearer"}"#;
    let (head, form, token) = exchange(&rest, answer).await;
    assert!(head.starts_with("POST /oauth/token HTTP/1.1"), "{head}");
    assert_eq!(form, "grant_type=client_credentials&audience=https%3A%2F%2Forders&client_id=me&client_secret=sentinel");
    assert_eq!((token.scope.as_deref(), token.expires), (Some("read:orders"), minute(86400)));
}

#[tokio::test]
async fn okta_keycloak_and_cognito_take_basic() {
    for (rest, path) in [
        ("preset = \"okta\"\ndomain = \"x.okta.com\"\nscope = \"orders\"", "/oauth2/default/v1/token"),
        (
            "preset = \"keycloak\"\ndomain = \"k.test\"\nrealm = \"r\"\nscope = \"orders\"",
            "/realms/r/protocol/openid-connect/token",
        ),
        ("preset = \"cognito\"\ndomain = \"c.test\"\nscope = \"orders\"", "/oauth2/token"),
    ] {
        let answer = r#"{"access_token":"eyJz","expires_in":300,"token_type":"Bearer","refresh_expires_in":0,"not-before-policy":0,"scope":"orders"}"#;
        let (head, form, token) = exchange(&format!("{rest}\n{SECRET}"), answer).await;
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1")), "{head}");
        // b64("me:sentinel")
        assert!(head.contains("\r\nauthorization: Basic bWU6c2VudGluZWw="), "{head}");
        assert_eq!((form.as_str(), token.expires), ("grant_type=client_credentials&scope=orders", minute(300)));
    }
}

#[tokio::test]
async fn google_gets_an_assertion_with_the_scope_in_it_and_nothing_else() {
    use base64::Engine as _;
    let rest = "preset = \"google\"\nscope = \"https://www.googleapis.com/auth/pubsub\"\nprivate_key = \"key.pem\"\nkey_id = \"k1\"";
    let answer = r#"{"access_token":"ya29.c.Kp-_abc","expires_in":3599,"token_type":"Bearer"}"#;
    let (head, form, token) = exchange(rest, answer).await;
    assert!(head.starts_with("POST /token HTTP/1.1") && !head.contains("authorization"), "{head}");
    let assertion =
        form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    assert!(!assertion.contains('&'), "{assertion}");
    let part = |at: usize| -> serde_json::Value {
        let part = assertion.split('.').nth(at).unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(0)["kid"], "k1");
    let claims = part(1);
    assert_eq!((&claims["iss"], &claims["scope"]), (&"me".into(), &"https://www.googleapis.com/auth/pubsub".into()));
    assert!(claims["aud"].as_str().unwrap().ends_with("/token"), "{claims}");
    assert_eq!(token.expires, minute(3599));
}

#[tokio::test]
async fn googles_federation_takes_another_platforms_token_and_nothing_else() {
    let audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";
    let rest = |audience: &str| {
        format!(
            "preset = \"google_federation\"\naudience = \"{audience}\"\nscope = \"https://www.googleapis.com/auth/cloud-platform\"\n\
             subject_token = {{ env = \"SECRET\" }}"
        )
    };
    let answer = r#"{"access_token":"ya29.d.b0Aaekm","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#;
    let (head, form, token) = exchange(&rest(audience), answer).await;
    assert!(head.starts_with("POST /v1/token HTTP/1.1") && !head.contains("authorization"), "{head}");
    let sent: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "sentinel"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ("audience", audience),
    ];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(token.expires, minute(3599));
    let found = problems(&text(&rest("https://iam.googleapis.com/projects/1")));
    assert!(found.len() == 1 && found[0].contains("has to begin with \"//iam.googleapis.com/\""), "{found:#?}");
}

#[tokio::test]
async fn salesforce_says_no_lifetime_but_where_its_data_is() {
    let rest = format!("preset = \"salesforce\"\ndomain = \"x.my.salesforce.com\"\n{SECRET}");
    let answer = r#"{"access_token":"00Dx0000001gER!ARA_x","signature":"x=","scope":"api","instance_url":"https://x.my.salesforce.com",
        "id":"https://x.my.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1779523200000"}"#;
    let (head, form, token) = exchange(&rest, answer).await;
    assert!(head.starts_with("POST /services/oauth2/token HTTP/1.1"), "{head}");
    assert_eq!(form, "grant_type=client_credentials&client_id=me&client_secret=sentinel");
    assert_eq!(token.expires, Expires::Unsaid);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read_in(dir.path(), &rest).refresh.default_lifetime, Duration::from_mins(15));
}

#[tokio::test]
async fn paypal_may_write_its_lifetime_as_text() {
    let rest = format!("preset = \"paypal\"\nenvironment = \"sandbox\"\n{SECRET}");
    let answer = r#"{"scope":"https://uri.paypal.com/services/invoicing","access_token":"A21AAF","token_type":"Bearer","app_id":"APP-1","expires_in":"31668","nonce":"2026-11-22T15:54:00Z"}"#;
    let (head, form, token) = exchange(&rest, answer).await;
    assert!(head.starts_with("POST /v1/oauth2/token HTTP/1.1") && head.contains("Basic bWU6c2VudGluZWw="), "{head}");
    assert_eq!((form.as_str(), token.expires), ("grant_type=client_credentials", minute(31668)));
}
