//! Whole token requests over real sockets, against a server that says one scripted thing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::secret::{Secret, Secrets};
use crate::token::Expires;

pub(super) fn settings(token_endpoint: &str) -> OAuthSettings {
    let auth = ClientAuth::Basic { secrets: secrets("s3cret"), raw: false };
    let mut settings = OAuthSettings::new(Server::at(token_endpoint.parse().unwrap()), "orders-batch".into(), auth);
    settings.timeout = Duration::from_secs(5);
    settings
}

/// Of a request whose client presents this secret.
pub(super) fn presented(secret: &str) -> redact::Redactor {
    let audience = request::assertion::Audience {
        issuer: None,
        token_endpoint: "https://login.example.com/token",
        wanted: &AssertionAudience::Unsaid,
    };
    let auth = ClientAuth::Basic { secrets: secrets(secret), raw: false };
    request::client_auth::ClientAuthentication::new(&auth, "me", Some(&literal(secret)), &audience).unwrap().redactor
}

pub(super) fn literal(text: &str) -> Secret {
    Secret::new(text.into())
}

pub(super) fn secrets(text: &str) -> Secrets {
    Secrets::one(SecretSource::Literal(literal(text)))
}

fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn source(settings: OAuthSettings) -> OAuthSource {
    OAuthSource::new(settings, tls(), None).unwrap()
}

/// Answers one connection with these bytes; gives the settings to reach it and the request as it came.
async fn says(answer: impl Into<Vec<u8>>) -> (OAuthSettings, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?tenant=1", listener.local_addr().unwrap());
    let answer = answer.into();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        // To its end: closing a socket with unread bytes resets it, and the answer may be lost.
        while !is_whole(&request) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let _closed_early = stream.write_all(&answer).await;
        String::from_utf8(request).unwrap()
    });
    (settings(&url), server)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    text.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) == length)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_token_request_is_what_the_rfc_says() {
    let (mut settings, server) = says(ok(r#"{"access_token":"t1","expires_in":60}"#)).await;
    settings.scope = vec!["a".into()];
    settings.headers = vec![
        (http::HeaderName::from_static("x-api-key"), http::HeaderValue::from_static("k")),
        (http::header::CONTENT_LENGTH, http::HeaderValue::from_static("1")),
    ];
    let token = source(settings).fetch(Ask::apart()).await.unwrap();
    assert_eq!((token.access_token.expose(), token.expires), ("t1", Expires::In(Duration::from_mins(1))));

    let request = server.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "grant_type=client_credentials&scope=a");
    let mut lines: Vec<String> = head.lines().skip(1).map(str::to_ascii_lowercase).collect();
    lines.retain(|line| !line.starts_with("host:"));
    lines.sort();
    assert!(head.starts_with("POST /token?tenant=1 HTTP/1.1\r\n"));
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: application/json",
            "authorization: basic b3jkzxjzlwjhdgnoonmzy3jlda==",
            &format!("content-length: {}", body.len()),
            "content-type: application/x-www-form-urlencoded",
            concat!("user-agent: attache/", env!("CARGO_PKG_VERSION")),
            "x-api-key: k",
        ]
    );
}

#[tokio::test]
async fn a_token_knows_what_was_asked_for_and_not_granted() {
    let (mut settings, _server) = says(ok(r#"{"access_token":"t1","scope":"b c"}"#)).await;
    settings.scope = vec!["a b".into()];
    assert_eq!(source(settings).fetch(Ask::apart()).await.unwrap().missing_scope, ["a"]);
}

#[tokio::test]
async fn more_than_64_kib_is_no_token_response() {
    let (settings, _server) = says(ok(&format!(r#"{{"access_token":"a","x":"{}"}}"#, "x".repeat(70_000)))).await;
    let error = source(settings).fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::InvalidResponse);
    assert!(error.message.contains("64 KiB"), "{error}");

    let page = format!("HTTP/1.1 503 No\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    let (settings, _server) = says(page).await;
    assert_eq!(source(settings).fetch(Ask::apart()).await.unwrap_err().kind, TokenErrorKind::Transient);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (settings, _server) = says(answer).await;
    let error = source(settings).fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::InvalidResponse);
    assert!(error.message.contains("a redirect to 127.0.0.1, which is not followed"), "{error}");
}

#[tokio::test]
async fn a_silent_server_runs_into_the_timeout_even_halfway_through_its_body() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"access"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(&format!("http://{}/", listener.local_addr().unwrap()));
        settings.timeout = Duration::from_millis(100);
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let error = source(settings).fetch(Ask::apart()).await.unwrap_err();
        server.abort();
        assert_eq!(error.kind, TokenErrorKind::Timeout);
        assert!(error.message.contains("within 100ms"), "{error}");
    }
}

#[tokio::test]
async fn transport_failures_are_transient_and_say_what_to_check() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = source(settings(&format!("http://{address}/"))).fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Transient);
    assert!(error.message.contains(&format!("{address} refuses connections; check")), "{error}");

    let error = source(settings("https://no-such-name.invalid/token")).fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Transient);
    assert!(error.message.starts_with("the name of no-such-name.invalid cannot be resolved; check"), "{error}");

    let (settings, _server) = says("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"access").await;
    let error = source(settings).fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Transient);
    assert!(error.message.contains("broke before its answer was complete; perhaps it speaks TLS"), "{error}");
}

#[tokio::test]
async fn tls_failures_name_their_cause() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], key.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _refused = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let source = source(settings(&format!("https://{address}/token")));
    let error = source.fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Transient);
    assert!(
        error.message.contains("the issuer of the certificate is unknown; ")
            && error.message.ends_with("name that in ca_file"),
        "{error}"
    );
    let error = source.fetch(Ask::apart()).await.unwrap_err();
    assert!(
        error
            .message
            .ends_with("what answers there does not speak TLS; check the scheme and the port in token_endpoint"),
        "{error}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_secret_file_is_read_at_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let mut settings = settings("http://127.0.0.1:1/token");
    settings.client_auth = ClientAuth::Post(Secrets::one(SecretSource::File(path.clone())));
    let source = source(settings);
    let identity = || identity(&source.settings, secrets_fingerprint(&source.settings).unwrap(), None);
    let error = source.fetch(Ask::apart()).await.unwrap_err();
    assert_eq!(error.kind, TokenErrorKind::Configuration);
    assert!(error.message.starts_with("the client secret cannot be read: cannot read"), "{error}");

    std::fs::write(&path, "first").unwrap();
    let first = identity();
    std::fs::write(&path, "second").unwrap();
    assert_ne!(identity(), first, "a rotated secret is another identity");
    assert_eq!(source.fetch(Ask::apart()).await.unwrap_err().kind, TokenErrorKind::Transient);
}

#[tokio::test]
async fn the_log_tells_of_the_request_at_every_level_without_what_is_in_it() {
    let log = LogFile(Arc::default());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE).with_writer({
        let log = log.clone();
        move || log.clone()
    });
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let answer = r#"{"access_token":"sentinel-token","refresh_token":"sentinel-refresh"}"#;
    let (mut settings, _server) = says(ok(answer)).await;
    settings.client_auth = ClientAuth::Post(secrets("sentinel-secret"));
    settings.headers =
        vec![(http::HeaderName::from_static("x-api-key"), http::HeaderValue::from_static("sentinel-key"))];
    source(settings).fetch(Ask::apart()).await.unwrap();
    let (settings, _server) = says("HTTP/1.1 400 Bad\r\nContent-Length: 14\r\n\r\n{sentinel-body").await;
    source(settings).fetch(Ask::apart()).await.unwrap_err();
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("attache::token: token request answered") && text.contains("status=400"), "{text}");
    assert!(!text.contains("sentinel") && !text.contains("b3JkZXJzLWJhdGNo"), "{text}");
}

#[derive(Clone)]
struct LogFile(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_blank_client_id_sends_nothing() {
    let mut settings = settings("http://127.0.0.1:1/token");
    settings.client_id = " ".into();
    assert_eq!(source(settings).fetch(Ask::apart()).await.unwrap_err().kind, TokenErrorKind::Configuration);
}

#[test]
fn a_secret_never_goes_out_in_clear_to_another_machine() {
    let refused = |url: &str| OAuthSource::new(settings(url), tls(), None).unwrap_err().to_string();
    assert!(refused("http://login.example.com/token").ends_with("login.example.com in clear; use https"));
    assert!(refused("ftp://login.example.com/").contains("the scheme ftp"));
    assert!(!refused("https://me:hidden@login.example.com/").contains("hidden"));
    for fine in ["http://localhost:1/", "http://127.0.0.2/", "http://[::1]/", "https://login.example.com/"] {
        assert!(OAuthSource::new(settings(fine), tls(), None).is_ok(), "{fine}");
    }
}

#[test]
fn debug_output_names_the_host_only() {
    assert_eq!(format!("{:?}", source(settings("https://h.example/p?q=1"))), r#"OAuthSource(Endpoint("h.example"))"#);
}

#[path = "conversation_tests.rs"]
mod conversations;
