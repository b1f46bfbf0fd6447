//! Mistakes that only the authorization server shows: `check --live`.

use std::time::{Duration, SystemTime};

use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::support::{Reply, Scripted, TestCa, TlsFront};

use super::scene::{Mistakes, RIGHT, folder};
use super::servers::{answers_anything, granted, nobody, page, refusal, server};

const ENDPOINT: &str = "https://login.example.com/token";

/// What is asked of this endpoint, with more keys perhaps.
async fn live(mistakes: &mut Mistakes, name: &str, endpoint: &str, more: &str) {
    let toml = RIGHT.replacen(ENDPOINT, endpoint, 1).replacen("\n[upstreams", &format!("{more}\n[upstreams"), 1);
    checked(mistakes, name, &toml).await;
}

/// The API is no part of the mistake: which one is meant, only a request would say.
async fn checked(mistakes: &mut Mistakes, name: &str, toml: &str) {
    let toml = toml.replacen("https://orders.example.com", "https://*.example.com", 1);
    mistakes.command(name, &folder(&toml), &["check", "--live"]).await;
}

async fn answered(mistakes: &mut Mistakes, name: &str, server: &Scripted, more: &str) {
    mistakes.mask(server.address().port().to_string(), "PORT");
    live(mistakes, name, &format!("{}/token", server.origin()), more).await;
}

#[tokio::test]
async fn what_a_server_refuses_is_said_with_its_cause_and_what_to_do() {
    let mut mistakes = Mistakes::of("refused");
    let unknown = server(|_| refusal(401, "invalid_client", "Client authentication failed")).await;
    answered(&mut mistakes, "wrong_secret", &unknown, "").await;
    let form_only = server(|asked| {
        let in_form = String::from_utf8_lossy(&asked.body).contains("client_secret=");
        if in_form { granted() } else { refusal(401, "invalid_client", "no client_id") }
    })
    .await;
    answered(&mut mistakes, "secret_wanted_in_the_form", &form_only, "").await;
    let scope = server(|asked| {
        let with_scope = String::from_utf8_lossy(&asked.body).contains("scope=");
        if with_scope { refusal(400, "invalid_scope", "unknown scope") } else { granted() }
    })
    .await;
    answered(&mut mistakes, "wrong_scope", &scope, "scope = \"orders.raed\"\n").await;
    let wants_scope = server(|_| refusal(400, "invalid_scope", "The scope parameter is required")).await;
    answered(&mut mistakes, "no_scope", &wants_scope, "").await;
    let audience = server(|_| refusal(403, "access_denied", "Service not enabled within domain")).await;
    answered(&mut mistakes, "wrong_audience", &audience, "audience = \"https://order.example.com\"\n").await;
    let target = server(|_| refusal(400, "invalid_target", "unknown resource")).await;
    answered(&mut mistakes, "wrong_resource", &target, "resource = \"https://order.example.com\"\n").await;
    let grant = server(|_| refusal(400, "unauthorized_client", "Grant not allowed for this client")).await;
    answered(&mut mistakes, "grant_not_allowed", &grant, "").await;
    let own_word = server(|_| refusal(400, "tenant_not_found", "AADSTS90002")).await;
    answered(&mut mistakes, "word_of_its_own", &own_word, "").await;
    mistakes.finish();
}

#[tokio::test]
async fn what_is_no_token_endpoint_is_told_apart() {
    let mut mistakes = Mistakes::of("endpoint");
    let html = server(|_| page(200, "Sign in")).await;
    answered(&mut mistakes, "page_of_a_browser", &html, "").await;
    let lost = server(|_| page(404, "Not found")).await;
    answered(&mut mistakes, "wrong_path", &lost, "").await;
    let method = server(|_| page(405, "Method not allowed")).await;
    answered(&mut mistakes, "method_not_allowed", &method, "").await;
    let moved = server(|_| Reply::new(302, "location: https://login.example.com/login\r\n", "")).await;
    answered(&mut mistakes, "redirect_to_a_login_page", &moved, "").await;
    let other = server(|_| Reply::new(200, "content-type: application/json\r\n", r#"{"status":"ok"}"#)).await;
    answered(&mut mistakes, "json_without_a_token", &other, "").await;
    let down = server(|_| page(503, "Maintenance")).await;
    answered(&mut mistakes, "overloaded", &down, "").await;
    let slow = server(|_| Reply::Silence).await;
    answered(&mut mistakes, "no_answer", &slow, "timeout = \"300ms\"\n").await;
    let cut = server(|_| Reply::HangUp).await;
    answered(&mut mistakes, "hung_up", &cut, "").await;
    let issuer = server(|_| page(404, "Not found")).await;
    mistakes.mask(issuer.address().port().to_string(), "PORT");
    let toml =
        RIGHT.replacen(&format!("token_endpoint = \"{ENDPOINT}\""), &format!("issuer = \"{}\"", issuer.origin()), 1);
    checked(&mut mistakes, "issuer_without_metadata", &toml).await;
    mistakes.finish();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_trusted_is_told_apart() {
    let mut mistakes = Mistakes::of("connection");
    let api = server(|_| granted()).await;
    let ca = TestCa::new();
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let tls = front.address().port();
    let nobody = nobody().port();
    for port in [api.address().port(), tls, nobody] {
        mistakes.mask(port.to_string(), "PORT");
    }
    mistakes.mask(ca.path().display().to_string(), "CA_FILE");
    let trusted = format!("ca_file = \"{}\"\n", ca.path().display());
    let in_clear = answers_anything().await;
    mistakes.mask(in_clear.address().port().to_string(), "PORT");
    live(&mut mistakes, "https_to_a_port_in_clear", &format!("https://{}/token", in_clear.address()), "").await;
    live(&mut mistakes, "http_to_a_port_of_tls", &format!("http://localhost:{tls}/token"), "").await;
    live(&mut mistakes, "certificate_not_trusted", &format!("https://localhost:{tls}/token"), "").await;
    live(&mut mistakes, "certificate_of_another_name", &format!("https://127.0.0.1:{tls}/token"), &trusted).await;
    live(&mut mistakes, "nobody_listens", &format!("http://127.0.0.1:{nobody}/token"), "").await;
    live(&mut mistakes, "name_that_nobody_knows", "https://login.example.invalid/token", "").await;

    let past = SystemTime::now() - Duration::from_secs(3600);
    let (certificate, key) = ca.issue_until(&["localhost"], past);
    let mut config = rustls::ServerConfig::builder_with_provider(attache::bench::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let expired = TlsFront::start(std::sync::Arc::new(config), api.address()).await;
    mistakes.mask(expired.address().port().to_string(), "PORT");
    live(
        &mut mistakes,
        "certificate_expired",
        &format!("https://localhost:{}/token", expired.address().port()),
        &trusted,
    )
    .await;
    mistakes.finish();
}
