//! SOCKS 5 listeners: another way to name a host and a port, and then the same tunnels by the same rules.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    ADMIN, LocalCa, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, until, upstream,
};

const SOCKS: &str = "[listeners.socks]\naddress = \"127.0.0.1:0\"\nmode = \"socks5\"\n";

/// Asks for a host by name; the answer's code, and the connection.
async fn ask(proxy: &TestProxy, host: &str, port: u16) -> (u8, TcpStream) {
    let mut stream = TcpStream::connect(proxy.address("socks")).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).await.unwrap();
    assert_eq!(method, [5, 0]);
    let mut request = vec![5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    (answer[1], stream)
}

async fn http(mut stream: TcpStream, host: &str) -> String {
    let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn plain_http_through_socks_gets_its_token() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let proxy = TestProxy::start(&format!(
        "{SOCKS}{ADMIN}{}{}connect = \"{}\"\n",
        credential(&tokens),
        upstream("api", "http://api.test") + "allow_plaintext = true\n",
        api.address()
    ));
    let (code, stream) = ask(&proxy, "API.test", 80).await;
    assert_eq!(code, 0);
    assert!(http(stream, "api.test").await.ends_with("hello"));
    assert_eq!(api.asked()[0].field("authorization"), Some("Bearer token-1"));
    let (_, stream) = ask(&proxy, "api.test", 80).await;
    assert!(http(stream, "other.test").await.starts_with("HTTP/1.1 400 "), "what was asked for is where requests go");
}

#[tokio::test]
async fn tls_through_socks_is_opened_like_any_other() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let (ca, local) = (TestCa::new(), LocalCa::new());
    let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
    let proxy = TestProxy::start(&format!(
        "{SOCKS}{ADMIN}{}{}{}connect = \"{}\"\n{}",
        local.intercept(),
        credential(&tokens),
        upstream("api", "https://api.test"),
        front.address(),
        ca.trusted()
    ));
    let socks = format!("socks5h://{}", proxy.address("socks"));
    let certificate = local.certificate();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-x", &socks, "--cacert"]).arg(&certificate);
    curl.args(["https://api.test/a", "http://api.test/b"]);
    curl.env_clear().env("PATH", std::env::var("PATH").unwrap());
    let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hellohello", "{output:?}");
    assert!(api.asked().iter().all(|asked| asked.field("authorization") == Some("Bearer token-1")));
    assert_eq!(proxy.metric("attache_tunnels_total{listener=\"socks\",injected=\"true\"}").await, 2.0);
}

#[tokio::test]
async fn what_is_refused_is_refused_in_socks_words_and_counted() {
    let tokens = TokenServer::start().await;
    let proxy =
        TestProxy::start(&format!("{SOCKS}{ADMIN}{}{}", credential(&tokens), upstream("api", "http://127.0.0.1:1")));
    for (host, port, code) in
        [("unknown.test", 443, 2), ("127.0.0.1", 1, 5), ("0x7f.1", 443, 4), ("a b", 443, 4), ("api.test:8443", 443, 4)]
    {
        let (answer, mut stream) = ask(&proxy, host, port).await;
        assert_eq!(answer, code, "{host}:{port}");
        assert!(!matches!(stream.read(&mut [0]).await, Ok(1)), "and the connection ends");
    }
    let denied = "attache_requests_total{listener=\"socks\",upstream=\"-\",outcome=\"denied\"}";
    assert_eq!(proxy.metric(denied).await, 3.0, "what is no host is not even a request");
}

#[tokio::test]
async fn a_caller_that_speaks_http_to_a_socks_listener_is_let_go() {
    let proxy = TestProxy::start(&format!("{SOCKS}{ADMIN}[forward]\nunmatched = \"pass\"\n"));
    let mut stream = TcpStream::connect(proxy.address("socks")).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{answer:?}");
    until("nothing is left of it", || async { proxy.metric("attache_caller_connections").await == 0.0 }).await;
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let folder = crate::support::Folder::with(&format!(
        "{SOCKS}[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[forward]\nunmatched = \"report\"\nprivate_addresses = [\"127.0.0.0/8\"]\n"
    ));
    let running = folder.start(&["run"]);
    let (socks, proxy) = (running.address("socks").await, running.address("proxy").await);
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    for _ in 0..50 {
        let mut stranger = TcpStream::connect(socks).await.unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut nothing = Vec::new();
        let _closed = stranger.read_to_end(&mut nothing).await;
        assert_eq!(crate::support::get(proxy, &api.address().to_string(), &api.origin()).await.status, 200);
    }
    running.says("would be denied").await;
    let said = running.stderr();
    for what in ["a SOCKS caller is not served", "would be denied"] {
        // Less than ten seconds on any machine, most likely; two, if not.
        let lines = said.lines().filter(|line| line.contains(what)).count();
        assert!((1..=3).contains(&lines), "{lines} lines: {said}");
    }
}
