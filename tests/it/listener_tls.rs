//! TLS from callers: certificates of listeners, renewed in place, and callers who show one of their own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{ADMIN, Caller, FORWARD, Folder, Reply, Scripted, TestCa, TestProxy, until};

struct Files {
    folder: tempfile::TempDir,
    ca: TestCa,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ca: TestCa::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn issue(&self, file: &str, names: &[&str]) {
        let (certificate, key) = self.ca.issue(names);
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn tls(&self, more: &str) -> String {
        format!("tls = {{ certificate = \"{}\", key = \"{}\"{more} }}\n", self.path("own.pem"), self.path("own.key"))
    }
}

async fn curl(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20"]).args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (
        output.status.success(),
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

fn base(files: &Files, more: &str, rest: &str, api: &Scripted) -> TestProxy {
    TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\nhosts = \"any\"\n{}{rest}{ADMIN}[upstreams.api]\norigin = \"{}\"\n",
        files.tls(more),
        api.origin()
    ))
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn callers_speak_both_versions_of_http_under_tls_and_a_renewed_certificate_is_shown_to_the_next() {
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    let proxy = base(&files, "", "", &api);
    let port = proxy.address("base").port();
    let to = |name: &str| (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    let (url, resolve) = to("gateway.test");
    for version in ["--http1.1", "--http2"] {
        let ca = shown(files.ca.path());
        let (fine, told) =
            curl(&[version, "--cacert", ca, "--resolve", &resolve, "-w", " %{http_version}", &url]).await;
        assert!(fine && told == format!("hello {}", if version == "--http2" { "2" } else { "1.1" }), "{told}");
    }
    files.issue("own", &["renewed.test"]);
    let (url, resolve) = to("renewed.test");
    until("the new certificate is shown", || async {
        curl(&["--cacert", shown(files.ca.path()), "--resolve", &resolve, &url]).await.0
    })
    .await;
}

#[tokio::test]
async fn callers_without_a_certificate_are_not_let_in_and_one_stands_for_its_caller() {
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    files.issue("one", &["one.callers.test"]);
    files.issue("other", &["other.callers.test"]);
    let trusted = format!(", client_ca = \"{}\"", shown(files.ca.path()));
    let callers = "callers = [\"one\"]\n[callers.one]\ncertificate = \"one.callers.test\"\n";
    let proxy = base(&files, &trusted, callers, &api);
    let port = proxy.address("base").port();
    let (url, resolve) = (format!("https://gateway.test:{port}/"), format!("gateway.test:{port}:127.0.0.1"));
    let with = async |name: &str| {
        let (certificate, key) = (files.path(&format!("{name}.pem")), files.path(&format!("{name}.key")));
        let mut arguments = vec!["--cacert", shown(files.ca.path()), "--resolve", &resolve, &url];
        if !name.is_empty() {
            arguments.extend(["--cert", &certificate, "--key", &key]);
        }
        curl(&arguments).await
    };
    assert_eq!(with("one").await, (true, "hello".to_owned()));
    assert!(!with("").await.0, "the handshake fails");
    let (_, refused) = with("other").await;
    assert!(refused.contains("\"status\":401"), "{refused}");
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_is_given_up() {
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    let proxy = base(&files, "", "[limits]\nheader_timeout = \"1s\"\n", &api);
    let mut stream = tokio::net::TcpStream::connect(proxy.address("base")).await.unwrap();
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
    until("nothing is left of it", || async { proxy.metric("attache_caller_connections").await == 0.0 }).await;
}

/// One request over TLS; `None` if it gets no answer. Says also whether a session was resumed.
async fn ask(config: &Arc<rustls::ClientConfig>, address: std::net::SocketAddr) -> Option<(bool, String)> {
    let name = rustls_pki_types::ServerName::try_from("gateway.test").unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    Some((resumed, String::from_utf8(answer).unwrap()))
}

fn client(
    files: &Files,
    versions: &[&'static rustls::SupportedProtocolVersion],
    shows: &str,
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.ca.path()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(attache::bench::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let certificate = CertificateDer::from_pem_file(files.path(&format!("{shows}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(files.path(&format!("{shows}.key"))).unwrap();
    Arc::new(config.with_client_auth_cert(vec![certificate], key).unwrap())
}

#[tokio::test]
async fn a_callers_certificate_that_has_expired_is_not_good_for_a_resumed_session() {
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    let (certificate, key) = files.ca.issue_until(&["one.test"], SystemTime::now() + Duration::from_secs(6));
    std::fs::write(files.path("short.pem"), certificate.pem()).unwrap();
    std::fs::write(files.path("short.key"), key.serialize_pem()).unwrap();
    let callers = "callers = [\"one\"]\n[callers.one]\ncertificate = \"dns:one.test\"\n";
    let proxy = base(&files, &format!(", client_ca = \"{}\"", shown(files.ca.path())), callers, &api);
    let address = proxy.address("base");
    let clients = [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| client(&files, &[version], "short"));
    for config in &clients {
        for _ in 0..2 {
            let (resumed, answer) = ask(config, address).await.expect("it is valid still");
            assert!(!resumed && answer.ends_with("hello"), "{answer}");
        }
    }
    for config in &clients {
        until("it has expired", || async { ask(config, address).await.is_none() }).await;
    }
}

#[tokio::test]
async fn callers_that_show_no_certificate_resume_their_sessions() {
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    let proxy = base(&files, "", "", &api);
    let config = client(&files, &[&rustls::version::TLS13], "own");
    let first = ask(&config, proxy.address("base")).await.unwrap();
    let second = ask(&config, proxy.address("base")).await.unwrap();
    assert_eq!((first.0, second.0), (false, true));
}

/// A proxy URL with https, or a base URL with https, by the most common of all mistakes.
#[tokio::test]
async fn tls_on_a_listener_in_clear_is_said_once_with_what_to_write() {
    let toml = format!(
        "{FORWARD}[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n[upstreams.api]\norigin = \"https://api.example.com\"\n"
    );
    let folder = Folder::with(&toml);
    let running = folder.start(&["run"]);
    for (listener, said) in [("proxy", "write http:// in the proxy's URL"), ("base", "write http:// in its base URL")] {
        for _again in 0..2 {
            let mut caller = Caller::connect(running.address(listener).await).await;
            // The beginning of a ClientHello (RFC 8446 section 4.1.2).
            caller
                .write([0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x03, b'\r', b'\n', b'\r', b'\n'])
                .await;
            assert_eq!(caller.answer_head().await.status, 400);
        }
        running.says(said).await;
    }
    assert_eq!(running.stderr().matches("a caller spoke TLS").count(), 2, "{}", running.stderr());
}
