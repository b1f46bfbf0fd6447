//! TLS from callers: certificates of listeners, renewed in place, and callers who show one of their own.

use std::path::Path;
use std::process::Command;

use crate::support::{ADMIN, Reply, Scripted, TestCa, TestProxy, until};

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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (files, api) = (Files::new(), Scripted::start(|_, _| Reply::ok("hello")).await);
    files.issue("own", &["gateway.test"]);
    let proxy = base(&files, "", "[limits]\nheader_timeout = \"1s\"\n", &api);
    let mut stream = tokio::net::TcpStream::connect(proxy.address("base")).await.unwrap();
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
    until("nothing is left of it", || async { proxy.metric("attache_caller_connections").await == 0.0 }).await;
}
