//! Against an authorization server that nobody wrote for these tests: oidc-provider, on Node. `tests/oidc-provider/install.sh`
//! installs it; without it, or without Node, these tests say so and check nothing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Answer, Reply, Scripted, TestCa, TestProxy, World, get, send, skipped};

const ODD_SECRET: &str = "p@ss:w/ord+ =%&~";

/// A running oidc-provider. It ends with its stdin, and is killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Server {
    /// `None` where it is not installed, which is a skip.
    fn start() -> Option<Self> {
        Self::start_with(&json!({}))
    }

    /// With this setup, as the head of server.mjs describes it. Once in a long while node stands still as it starts on a busy machine:
    /// then another one is started.
    pub(crate) fn start_with(setup: &Value) -> Option<Self> {
        for _ in 0..3 {
            let mut node = node("server.mjs")?;
            node.env("OIDC_SETUP", setup.to_string());
            node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut process) = node.spawn() else {
                skipped("node is not there");
                return None;
            };
            let mut said = BufReader::new(process.stdout.take().unwrap());
            let (told, port) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let mut line = String::new();
                said.read_line(&mut line).unwrap();
                drop(told.send(line));
            });
            match port.recv_timeout(std::time::Duration::from_secs(30)) {
                Ok(line) => {
                    let port =
                        line.trim().parse().unwrap_or_else(|_| panic!("server.mjs did not say its port: {line:?}"));
                    return Some(Self { process, port });
                }
                Err(_silent) => {
                    process.kill().unwrap();
                    process.wait().unwrap();
                }
            }
        }
        panic!("server.mjs did not say its port three times");
    }

    fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// The configuration of [`World::toml`] for one of its clients.
    fn toml(&self, api: &Scripted, client: &str, secret: &str, credential: &str) -> String {
        World::toml(&self.endpoint(), &api.origin(), credential, "")
            .replace("client_id = \"me\"", &format!("client_id = \"{client}\""))
            .replace("s3cret-of-mine", secret)
    }

    /// A request to one of its endpoints by the API, a client of its own.
    async fn ask_as_api(&self, path: &str, token: &str) -> Answer {
        let (basic, form) = (STANDARD.encode("api:the-apis-own-secret"), format!("token={token}"));
        let fields = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
        let length = form.len();
        let head =
            format!("Host: 127.0.0.1:{}\r\nAuthorization: Basic {basic}\r\nContent-Length: {length}\r\n", self.port);
        send(self.address(), format!("POST {path} HTTP/1.1\r\n{head}{fields}\r\n{form}")).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// A script of tests/oidc-provider, with what is installed for it.
fn node(script: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(".test-deps/oidc-provider");
    if !folder.join("node_modules/oidc-provider").is_dir() {
        skipped("oidc-provider is not installed; run tests/oidc-provider/install.sh");
        return None;
    }
    let mut node = Command::new("node");
    node.arg(root.join("tests/oidc-provider").join(script)).arg(&folder);
    Some(node)
}

/// `{ certificate, key }` in PEM.
pub(crate) fn pems((certificate, key): &(rcgen::Certificate, rcgen::KeyPair)) -> Value {
    json!({ "certificate": certificate.pem(), "key": key.serialize_pem() })
}

/// A certificate that nobody has issued, and its key.
fn self_signed() -> (rcgen::Certificate, rcgen::KeyPair) {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
    (made.cert, made.signing_key)
}

async fn api() -> Scripted {
    Scripted::start(|_, _| Reply::ok("fine")).await
}

/// The token that reached the API.
fn token(api: &Scripted) -> String {
    let asked = api.asked();
    asked.last().unwrap().field("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

#[test]
fn the_server_lets_in_whom_it_should_and_nobody_else() {
    let Some(mut node) = node("prove.mjs") else { return };
    let ca = TestCa::new();
    let certificates = json!({
        "authority": ca.pem(),
        "server": pems(&ca.issue(&["127.0.0.1"])),
        "client": pems(&ca.issue(&["client.test"])),
        "self_signed": pems(&self_signed()),
        "stranger": pems(&self_signed()),
    });
    let Ok(proof) = node.env("PROOF_CERTIFICATES", certificates.to_string()).output() else {
        skipped("node is not there");
        return;
    };
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stdout));
}

#[tokio::test]
async fn its_protected_resource_takes_a_jwt_over_https_and_sees_our_certificate() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let mut tls = pems(&ca.issue(&["127.0.0.1"]));
    tls["client_authorities"] = ca.pem().into();
    let Some(server) = Server::start_with(&json!({ "tls": tls })) else { return };
    let (certificate, key) = ca.issue(&["client.test"]);
    let bundle = folder.path().join("client.pem");
    std::fs::write(&bundle, certificate.pem() + &key.serialize_pem()).unwrap();
    let (origin, trusted) = (format!("https://127.0.0.1:{}", server.port), ca.path().display());
    let toml = World::toml(
        &format!("{origin}/token"),
        &origin,
        &format!("ca_file = \"{trusted}\"\nresource = \"https://orders.example.com\"\nscope = \"orders.read\""),
        &format!("tls = {{ ca_file = \"{trusted}\", client_certificate = \"{}\" }}", bundle.display()),
    );
    let toml = toml.replace("\"me\"", "\"poster\"").replace("s3cret-of-mine", ODD_SECRET);
    let proxy =
        TestProxy::start(&toml.replace("client_secret =", "client_auth = \"client_secret_post\"\nclient_secret ="));
    let answer = get(proxy.address("api"), "localhost", "/api/orders").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({ "client_id": "poster", "scope": "orders.read", "bound": "none" }));
    let asked = get(proxy.address("api"), "localhost", "/requests").await.json();
    let shown = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, certificate.der()));
    let last = asked.as_array().unwrap().last().unwrap();
    assert_eq!((last["path"].as_str(), last["certificate"].as_str()), (Some("/api/orders"), Some(shown.as_str())));
    let refused = get(proxy.address("api"), "localhost", "/api/needs/orders.write").await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (403, Some("insufficient_scope")));
}

#[tokio::test]
async fn odd_characters_authenticate_by_client_secret_basic() {
    let Some(server) = Server::start() else { return };
    let api = api().await;
    let proxy = TestProxy::start(&server.toml(&api, "odd:id/+ &%", ODD_SECRET, "scope = \"orders.read\""));
    let answer = get(proxy.address("api"), "localhost", "/").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let introspected = server.ask_as_api("/token/introspection", &token(&api)).await.json();
    assert_eq!(introspected["active"], true, "{introspected}");
    assert_eq!(
        (introspected["client_id"].as_str(), introspected["scope"].as_str()),
        (Some("odd:id/+ &%"), Some("orders.read"))
    );
    let status = get(proxy.address("admin"), "127.0.0.1", "/api/status").await.json();
    let credential = &status["credentials"][0];
    assert_eq!(credential["scope"], "orders.read", "{status}");
    assert!((500..=600).contains(&credential["expires_in"].as_u64().unwrap()), "{status}");
}

#[tokio::test]
async fn odd_characters_authenticate_by_client_secret_post() {
    let Some(server) = Server::start() else { return };
    let api = api().await;
    let proxy = TestProxy::start(&server.toml(&api, "poster", ODD_SECRET, "client_auth = \"client_secret_post\""));
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let introspected = server.ask_as_api("/token/introspection", &token(&api)).await.json();
    assert_eq!((introspected["active"].as_bool(), introspected["client_id"].as_str()), (Some(true), Some("poster")));
}

#[tokio::test]
async fn a_resource_makes_the_token_a_jwt_for_that_audience() {
    let Some(server) = Server::start() else { return };
    let api = api().await;
    let credential = "resource = \"https://orders.example.com\"\nscope = [\"orders.read\", \"orders.write\"]";
    let proxy = TestProxy::start(&server.toml(&api, "odd:id/+ &%", ODD_SECRET, credential));
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let token = token(&api);
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("no JWT")).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        (claims["aud"].as_str(), claims["client_id"].as_str()),
        (Some("https://orders.example.com"), Some("odd:id/+ &%"))
    );
    assert_eq!(claims["scope"], "orders.read orders.write");

    let refused =
        TestProxy::start(&server.toml(&api, "odd:id/+ &%", ODD_SECRET, "resource = \"https://other.example.com\""));
    let answer = get(refused.address("api"), "localhost", "/").await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert_eq!(answer.json()["oauth_error"], "invalid_target");
}

#[tokio::test]
async fn a_scope_that_the_server_does_not_know_is_left_out_and_shown_so() {
    let Some(server) = Server::start() else { return };
    let api = api().await;
    let proxy = TestProxy::start(&server.toml(&api, "odd:id/+ &%", ODD_SECRET, "scope = \"orders.read unknown\""));
    // This server grants what it knows and says nothing; others refuse with invalid_scope.
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let introspected = server.ask_as_api("/token/introspection", &token(&api)).await.json();
    assert_eq!(introspected["scope"], "orders.read");
    let status = get(proxy.address("admin"), "127.0.0.1", "/api/status").await.json();
    assert_eq!(status["credentials"][0]["scope"], "orders.read", "what was granted, not what was asked for");
}

#[tokio::test]
async fn a_wrong_secret_or_client_is_invalid_client_and_502() {
    let Some(server) = Server::start() else { return };
    let api = api().await;
    for (client, secret) in [("odd:id/+ &%", "wrong"), ("nobody", ODD_SECRET)] {
        let proxy = TestProxy::start(&server.toml(&api, client, secret, ""));
        let answer = get(proxy.address("api"), "localhost", "/").await;
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert_eq!(answer.json()["oauth_error"], "invalid_client");
        assert!(answer.text().contains("check client_id"), "{}", answer.text());
    }
    assert_eq!(api.requests(), 0);
}

#[tokio::test]
async fn a_revoked_token_is_replaced_by_one_that_the_server_vouches_for() {
    let Some(server) = Server::start() else { return };
    // The API takes what introspection finds active; a scripted peer cannot ask, so the test tells it what was revoked.
    let revoked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let known = Arc::clone(&revoked);
    let api = Scripted::start(move |asked, _| {
        let sent = asked.field("authorization").unwrap_or_default().to_owned();
        if known.lock().unwrap().contains(&sent) {
            return Reply::new(401, "www-authenticate: Bearer error=\"invalid_token\"\r\n", "revoked");
        }
        Reply::ok("fine")
    })
    .await;
    let proxy = TestProxy::start(&server.toml(&api, "odd:id/+ &%", ODD_SECRET, ""));
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let first = token(&api);
    assert_eq!(server.ask_as_api("/token/revocation", &first).await.status, 200);
    let introspected = server.ask_as_api("/token/introspection", &first).await.json();
    assert_eq!(introspected["active"], false, "it is revoked indeed");
    revoked.lock().unwrap().push(format!("Bearer {first}"));
    let answer = get(proxy.address("api"), "localhost", "/").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let second = token(&api);
    assert_ne!(first, second);
    assert_eq!(server.ask_as_api("/token/introspection", &second).await.json()["active"], true);
}
