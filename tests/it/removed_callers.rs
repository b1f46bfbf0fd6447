//! A caller that is removed, or whose password is another one, has nothing left of what it had opened before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::support::{Caller, Raw, Reply, Scripted, TestProxy, TokenServer, credential, read_head, until, upstream};

const REMOVED: [&str; 2] = ["\"one\", \"two\"", "\"two\""];

/// Two callers of three listeners; `api` gets a token, `plain` none.
struct Guarded {
    _tokens: TokenServer,
    api: Scripted,
    echo: Raw,
    proxy: TestProxy,
    folder: tempfile::TempDir,
    text: String,
    gate: Arc<Semaphore>,
}

impl Guarded {
    async fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let waiting = Arc::clone(&gate);
        let api = Scripted::start(move |asked, _| match asked.target() {
            "/slow" => Reply::ok("slow and whole").when_open(&waiting),
            _ => Reply::ok("hello"),
        });
        let (tokens, api, echo) = (TokenServer::start().await, api.await, echo().await);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3cret-one\n").unwrap();
        let listener = |name: &str, mode: &str| {
            format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\ncallers = [\"one\", \"two\"]\nmode = {mode}\n")
        };
        let text = [
            listener("proxy", "\"forward\""),
            listener("base", "\"reverse\"\nupstream = \"chat\""),
            listener("socks", "\"socks5\""),
            format!("[callers.one]\npassword = {{ file = \"{}\" }}\n", file.display()),
            "[callers.two]\npassword = \"s3cret-two\"\n".to_owned(),
            credential(&tokens),
            upstream("api", "http://api.test"),
            format!("allow_plaintext = true\nconnect = \"{}\"\n", api.address()),
            format!("[upstreams.plain]\norigin = \"http://plain.test\"\nconnect = \"{}\"\n", echo.address()),
            format!("[upstreams.chat]\norigin = \"{}\"\n", echo.origin()),
        ];
        let text = text.concat();
        std::fs::write(folder.path().join("proxy.toml"), &text).unwrap();
        let proxy = TestProxy::of_file(&folder.path().join("proxy.toml"));
        Self { _tokens: tokens, api, echo, proxy, folder, text, gate }
    }

    async fn reload_without_one(&self) {
        let text = self.text.replace(REMOVED[0], REMOVED[1]);
        assert_ne!(text, self.text);
        std::fs::write(self.folder.path().join("proxy.toml"), text).unwrap();
        let reload = self.proxy.reload().await;
        assert!(reload.ok, "{reload:?}");
    }

    fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    async fn tunnel(&self, target: &str, name: &str) -> Caller {
        let mut caller = Caller::connect(self.proxy.address("proxy")).await;
        let proof = STANDARD.encode(format!("{name}:s3cret-{name}"));
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {proof}\r\n\r\n");
        caller.write(head).await;
        assert_eq!(caller.answer_head().await.status, 200);
        caller
    }

    async fn socks(&self, host: &str, name: &str) -> Caller {
        let mut caller = Caller::connect(self.proxy.address("socks")).await;
        let password = format!("s3cret-{name}");
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let mut login = vec![5, 1, 2, 1, length(name)];
        login.extend(name.as_bytes());
        login.push(length(&password));
        login.extend(password.as_bytes());
        login.extend([5, 1, 0, 3, length(host)]);
        login.extend(host.as_bytes());
        login.extend(80_u16.to_be_bytes());
        caller.write(login).await;
        let answers = caller.read_exact(14).await;
        assert_eq!((answers[3], answers[5]), (0, 0), "let in, and connected");
        caller
    }

    async fn websocket(&self, name: &str) -> Caller {
        let mut caller = Caller::connect(self.proxy.address("base")).await;
        let proof = STANDARD.encode(format!("{name}:s3cret-{name}"));
        let head = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        caller.write(format!("{head}Authorization: Basic {proof}\r\n\r\n")).await;
        assert_eq!(caller.answer_head().await.status, 101);
        caller
    }
}

/// Answers a request to switch, and then, or where there was none, says back what it hears.
async fn echo() -> Raw {
    Raw::start(|mut stream, _| async move {
        let mut first = [0; 1];
        if stream.peek(&mut first).await.is_ok_and(|read| read == 1) && first == *b"G" {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
        }
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn echoes(caller: &mut Caller) -> bool {
    let said = caller.stream.write_all(b"ping").await.is_ok();
    let mut heard = [0; 4];
    said && tokio::time::timeout(Duration::from_secs(30), caller.stream.read_exact(&mut heard)).await.unwrap().is_ok()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n";

#[tokio::test]
async fn no_request_goes_out_with_a_token_through_the_open_tunnel_of_a_removed_caller() {
    let guarded = Guarded::new().await;
    let (mut one, mut two) = (guarded.tunnel("api.test:80", "one").await, guarded.tunnel("api.test:80", "two").await);
    for caller in [&mut one, &mut two] {
        caller.write(GET).await;
        assert_eq!(caller.answer().await.text(), "hello");
    }
    // The head of this one is on its way while the file is read.
    one.write(&GET[..20]).await;
    guarded.reload_without_one().await;
    one.write(&GET[20..]).await;
    let refused = one.answer().await;
    refused.assert_own_failure(403, "http_request_denied");
    assert!(refused.text().contains("no longer a caller"), "{}", refused.text());
    assert_eq!(refused.field("connection"), Some("close"));
    assert!(one.is_closed().await, "and the tunnel ends");
    two.write(GET).await;
    assert_eq!(two.answer().await.text(), "hello", "the other's goes on");
    assert_eq!(guarded.api.requests(), 3);
}

#[tokio::test]
async fn a_request_in_progress_in_the_tunnel_of_a_removed_caller_is_answered_in_full() {
    let guarded = Guarded::new().await;
    let mut one = guarded.tunnel("api.test:80", "one").await;
    one.write(GET.replace("/ ", "/slow ")).await;
    until("it is under way", || async { guarded.api.requests() == 1 }).await;
    guarded.reload_without_one().await;
    guarded.gate.close();
    assert_eq!(one.answer().await.text(), "slow and whole");
    assert!(one.is_closed().await);
}

#[tokio::test]
async fn http2_in_the_tunnel_of_a_removed_caller_is_told_to_go_away() {
    let guarded = Guarded::new().await;
    let one = guarded.tunnel("api.test:80", "one").await;
    let (mut send, connection) = h2::client::handshake(one.stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || http::Request::get("http://api.test/").body(()).unwrap();
    assert_eq!(send.send_request(request(), true).unwrap().0.await.unwrap().status(), 200);
    // As long as this one lasts, the connection does.
    let slow = http::Request::get("http://api.test/slow").body(()).unwrap();
    let slow = send.send_request(slow, true).unwrap().0;
    until("it is under way", || async { guarded.api.requests() == 2 }).await;
    guarded.reload_without_one().await;
    let next = send.send_request(request(), true).map(|(answer, _)| answer);
    if let Ok(answer) = next
        && let Ok(answer) = answer.await
    {
        assert_eq!(answer.status(), 403);
    }
    guarded.gate.close();
    assert_eq!(slow.await.unwrap().status(), 200);
    drop(send);
    let ended = tokio::time::timeout(Duration::from_secs(30), connection).await.expect("it ends").unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(guarded.api.requests(), 2);
}

#[tokio::test]
async fn what_passes_unread_ends_with_its_caller() {
    let guarded = Guarded::new().await;
    for name in ["one", "two"] {
        let mut tunnel = guarded.tunnel("plain.test:80", name).await;
        let mut socks = guarded.socks("plain.test", name).await;
        let mut websocket = guarded.websocket(name).await;
        for passing in [&mut tunnel, &mut socks, &mut websocket] {
            assert!(echoes(passing).await, "{name}");
        }
        if name == "one" {
            guarded.reload_without_one().await;
        }
        for (what, passing) in [("tunnel", &mut tunnel), ("socks", &mut socks), ("websocket", &mut websocket)] {
            if name == "one" {
                assert!(passing.is_closed().await, "{what}");
            } else {
                assert!(echoes(passing).await, "{what}");
            }
        }
    }
    assert_eq!(guarded.echo.connections(), 6);
}

#[tokio::test]
async fn a_rotated_password_ends_what_was_opened_with_the_old_one() {
    let guarded = Guarded::new().await;
    let mut unread = guarded.tunnel("plain.test:80", "one").await;
    let (mut opened, mut other) =
        (guarded.tunnel("api.test:80", "one").await, guarded.tunnel("api.test:80", "two").await);
    opened.write(GET).await;
    assert_eq!(opened.answer().await.status, 200);
    assert!(echoes(&mut unread).await);
    std::fs::write(guarded.password(), "s3cret-next\n").unwrap();
    assert!(unread.is_closed().await);
    assert!(opened.is_closed().await);
    other.write(GET).await;
    assert_eq!(other.answer().await.status, 200);
}

#[tokio::test]
async fn a_reload_that_leaves_a_caller_as_it_is_leaves_its_tunnels_open() {
    let guarded = Guarded::new().await;
    let (mut unread, mut opened) =
        (guarded.tunnel("plain.test:80", "one").await, guarded.tunnel("api.test:80", "one").await);
    assert!(echoes(&mut unread).await);
    let text = format!("{}[upstreams.more]\norigin = \"http://127.0.0.1:1\"\n", guarded.text);
    // Another caller comes: the listener's list is another one, with the same caller in it.
    let text =
        text.replace(REMOVED[0], "\"one\", \"two\", \"three\"") + "[callers.three]\npassword = \"s3cret-three\"\n";
    std::fs::write(guarded.folder.path().join("proxy.toml"), text).unwrap();
    assert!(guarded.proxy.reload().await.ok);
    assert!(echoes(&mut unread).await);
    opened.write(GET).await;
    assert_eq!(opened.answer().await.text(), "hello");
}

#[cfg(unix)]
#[tokio::test]
async fn a_user_that_is_removed_is_served_no_more_on_a_connection_that_is_open() {
    use std::os::unix::fs::MetadataExt as _;
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let me = std::fs::metadata(folder.path()).unwrap().uid();
    let (socket, file) = (folder.path().join("socket"), folder.path().join("proxy.toml"));
    let text = format!(
        "[listeners.base]\naddress = \"unix:{}\"\nmode = \"reverse\"\nupstream = \"api\"\nusers = [{me}]\n[upstreams.api]\norigin = \"{}\"\n",
        socket.display(),
        api.origin()
    );
    std::fs::write(&file, &text).unwrap();
    let proxy = TestProxy::of_file(&file);
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let ask = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut first = vec![0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, b"HTTP/1.1 200");
    std::fs::write(&file, text.replace(&format!("[{me}]"), &format!("[{}]", me + 1))).unwrap();
    assert!(proxy.reload().await.ok);
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 403 ") && rest.contains("connection: close"), "{rest}");
    assert_eq!(api.requests(), 1);
}
