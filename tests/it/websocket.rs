//! Upgrades: WebSocket passes with the token on its request, everything else stays HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    ADMIN, Caller, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, read_head, reverse,
    upstream,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\r\n";

/// Switches, sends a frame with its very head, and echoes; the head it was asked with comes first.
async fn chat() -> Raw {
    Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Theirs: 1\r\n\r\n";
        stream.write_all(format!("{switched}{:08}{head}", head.len()).as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

fn config(tokens: &TokenServer, origin: &str) -> String {
    format!("{}{}{}", reverse(&["api"]), credential(tokens), upstream("api", origin))
}

/// The head that the chat server was asked with.
async fn first_frame(caller: &mut Caller) -> String {
    let length = String::from_utf8(caller.read_exact(8).await).unwrap();
    String::from_utf8(caller.read_exact(length.parse().unwrap()).await).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn a_websocket_passes_with_the_token_on_its_request() {
    let (tokens, chat) = (TokenServer::start().await, chat().await);
    let proxy = TestProxy::start(&config(&tokens, &chat.origin()));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(ASK).await;
    let answer = caller.answer_head().await;
    assert_eq!(answer.status, 101);
    assert!(answer.field("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(answer.field("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.field("x-theirs"), Some("1"));
    let asked = first_frame(&mut caller).await;
    for line in [
        "get /chat http/1.1\r\n",
        "\r\nauthorization: bearer token-1\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
        "\r\nsec-websocket-protocol: chat, superchat\r\n",
        "\r\nsec-websocket-version: 13\r\n",
    ] {
        assert!(asked.contains(line), "{line} in {asked}");
    }
    for bytes in [&b"\x81\x05hello"[..], b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n"] {
        caller.write(bytes).await;
        assert_eq!(caller.read_exact(bytes.len()).await, bytes);
    }
    caller.stream.shutdown().await.unwrap();
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn a_caller_that_also_takes_trailers_gets_its_websocket() {
    let (tokens, chat) = (TokenServer::start().await, chat().await);
    let proxy = TestProxy::start(&config(&tokens, &chat.origin()));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(ASK.replace("Upgrade\r\n", "Upgrade, TE\r\nTE: trailers\r\n")).await;
    assert_eq!(caller.answer_head().await.status, 101);
    let asked = first_frame(&mut caller).await;
    assert!(asked.contains("upgrade"), "{asked}");
    let connection = asked.lines().filter_map(|line| line.strip_prefix("connection: ")).collect::<Vec<_>>().join(", ");
    assert!(connection.contains("upgrade"), "{asked}");
}

#[tokio::test]
async fn a_websocket_to_a_server_that_prefers_http2_is_spoken_in_http1() {
    let (tokens, chat, ca) = (TokenServer::start().await, chat().await, TestCa::new());
    let front = TlsFront::start(ca.server(&["api.test"], &["h2", "http/1.1"]), chat.address()).await;
    let connect = format!("connect = \"{}\"\n{}", front.address(), ca.trusted());
    let proxy = TestProxy::start(&(config(&tokens, "https://api.test") + &connect));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(ASK).await;
    assert_eq!(caller.answer_head().await.status, 101);
    assert!(first_frame(&mut caller).await.contains("\r\nauthorization: bearer token-1\r\n"));
}

#[tokio::test]
async fn a_refused_websocket_is_an_answer_like_any_other_and_nothing_is_tunnelled() {
    let tokens = TokenServer::start().await;
    for status in [200, 403] {
        let api = Scripted::start(move |_, _| Reply::new(status, "", "no")).await;
        let proxy = TestProxy::start(&config(&tokens, &api.origin()));
        let mut caller = Caller::connect(proxy.address("base")).await;
        // Bytes in front of the 101 are not for the upstream.
        caller.write(format!("{ASK}\u{1}\u{5}hello\r\n\r\n")).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.text()), (status, "no"));
        assert_eq!(answer.field("connection"), Some("close"), "and they are no request either");
        assert!(caller.is_closed().await);
        assert_eq!(api.requests(), 1);
    }
}

#[tokio::test]
async fn switching_protocols_without_being_asked_is_no_answer() {
    let tokens = TokenServer::start().await;
    for upgrade in ["websocket", "h2c", "websocket, h2c"] {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n\r\n");
        let api = Scripted::start(move |_, _| Reply::Raw(head.clone().into_bytes())).await;
        let proxy = TestProxy::start(&config(&tokens, &api.origin()));
        let plain = crate::support::get(proxy.address("base"), "localhost", "/").await;
        plain.assert_own_failure(502, "http_protocol_error");
        if upgrade != "websocket" {
            let asked = crate::support::send(proxy.address("base"), ASK).await;
            asked.assert_own_failure(502, "http_protocol_error");
        }
    }
}

#[tokio::test]
async fn another_version_of_http_is_not_asked_for_and_neither_is_tls() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("plain")).await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    for upgrade in ["h2c", "TLS/1.0", "HTTP/2.0, h2c"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let answer = crate::support::send(proxy.address("base"), request).await;
        assert_eq!((answer.status, answer.text()), (200, "plain"));
    }
    // Named in `Upgrade` and not in `Connection`: not an upgrade at all.
    let request = ASK.replace("keep-alive, Upgrade", "keep-alive");
    assert_eq!(crate::support::send(proxy.address("base"), request).await.status, 200);
    // Where the other protocol would begin behind a body is not clear.
    let request = ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(crate::support::send(proxy.address("base"), request).await.status, 200);
    for asked in api.asked() {
        assert_eq!((asked.field("upgrade"), asked.field("http2-settings")), (None, None), "{asked:?}");
        assert_eq!(asked.field("connection"), None);
    }
    // Of several, those that may be asked for stay.
    let request = ASK.replace("Upgrade: websocket", "Upgrade: h2c, websocket");
    assert_eq!(crate::support::send(proxy.address("base"), request).await.status, 200);
    assert_eq!(api.asked().last().unwrap().field("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn any_protocol_that_the_upstream_agrees_to_passes() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("\r\nupgrade: spdy/3.1\r\n") && head.contains("\r\nauthorization: bearer token-1\r\n"));
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(switched.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut caller = Caller::connect(proxy.address("base")).await;
    // As `kubectl exec` asks.
    caller
        .write("POST /exec HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = caller.answer_head().await;
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("SPDY/3.1")));
    caller.write("\u{80}\u{3}hello").await;
    assert_eq!(caller.read_exact(8).await, "\u{80}\u{3}hello".as_bytes());
}

#[tokio::test]
async fn open_websockets_do_not_take_the_place_of_requests_for_good() {
    let (tokens, chat) = (TokenServer::start().await, chat().await);
    let proxy = TestProxy::start_with(&(config(&tokens, &chat.origin()) + ADMIN), 1);
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = Caller::connect(proxy.address("base")).await;
        caller.write(ASK).await;
        assert_eq!(caller.answer_head().await.status, 101);
        first_frame(&mut caller).await;
        callers.push(caller);
    }
    for caller in &mut callers {
        caller.write("x").await;
        assert_eq!(caller.read_exact(1).await, b"x");
        caller.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        caller.stream.read_to_end(&mut rest).await.unwrap();
    }
    assert_eq!(chat.connections(), 3);
}
