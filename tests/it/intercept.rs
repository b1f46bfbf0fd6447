//! Way 4 with interception: tunnels to upstreams with a credential are opened, and what is inside gets its token.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Version};

use crate::support::{
    ADMIN, Caller, FORWARD, Http2Server, LocalCa, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer,
    credential, read_head, upstream,
};

const OPENED: &str = "attache_tunnels_total{listener=\"proxy\",injected=\"true\"}";
const UNREAD: &str = "attache_tunnels_total{listener=\"proxy\",injected=\"false\"}";

/// attache with a local CA, in front of `https://api.test` by HTTP/1.1.
struct Opened {
    tokens: TokenServer,
    api: Scripted,
    front: TlsFront,
    local: LocalCa,
    proxy: TestProxy,
    _ca: TestCa,
}

impl Opened {
    async fn new(keys: &str, script: impl Fn(&crate::support::Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(script).await);
        let (ca, local) = (TestCa::new(), LocalCa::new());
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
        let config = opening(&local, &tokens, &ca, front.address()) + keys;
        let proxy = TestProxy::start_with(&config, 1);
        Self { tokens, api, front, local, proxy, _ca: ca }
    }

    async fn ask(&self, request: &str) -> String {
        let address = self.proxy.address("proxy");
        self.local.tls(address, "api.test:443", "api.test", &["http/1.1"]).await.unwrap().ask(request).await
    }

    /// A connection that has been told 200 for this target.
    async fn connected(&self, target: &str) -> Caller {
        let mut caller = Caller::connect(self.proxy.address("proxy")).await;
        caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert_eq!(caller.answer_head().await.status, 200);
        caller
    }
}

/// A configuration with a local CA, for `https://api.test` at this address.
fn opening(local: &LocalCa, tokens: &TokenServer, ca: &TestCa, address: SocketAddr) -> String {
    format!(
        "{FORWARD}{ADMIN}{}{}{}connect = \"{address}\"\n{}",
        local.intercept(),
        credential(tokens),
        upstream("api", "https://api.test"),
        ca.trusted()
    )
}

/// attache without a local CA, in front of plain http at this address, and a connection to it.
async fn in_front_of(tokens: &TokenServer, address: SocketAddr) -> (TestProxy, Caller) {
    let config = format!("{FORWARD}{ADMIN}{}{}", credential(tokens), upstream("api", &format!("http://{address}")));
    let proxy = TestProxy::start(&config);
    let caller = Caller::connect(proxy.address("proxy")).await;
    (proxy, caller)
}

#[tokio::test]
async fn what_is_inside_of_tls_gets_its_token() {
    let opened = Opened::new("", |_, _| Reply::ok("hello")).await;
    let answer = opened.ask("GET /orders?x=1 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    let asked = opened.api.asked();
    assert_eq!(asked[0].target(), "/orders?x=1");
    assert_eq!((asked[0].field("host"), asked[0].field("authorization")), (Some("api.test"), Some("Bearer token-1")));
    assert_eq!(opened.front.names(), ["api.test"], "one verified connection: the one that was made before the 200");
    assert_eq!(opened.proxy.metric(OPENED).await, 1.0);
    assert_eq!(opened.proxy.metric(UNREAD).await, 0.0);
}

#[tokio::test]
async fn http2_inside_goes_to_an_upstream_that_speaks_http1() {
    let opened = Opened::new("", |_, _| Reply::ok("hello")).await;
    let address = opened.proxy.address("proxy");
    let tls = opened.local.tls(address, "api.test:443", "api.test", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(tls.protocol().as_deref(), Some("h2"));
    let (mut send, connection) = h2::client::handshake(tls.0).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://api.test/x").body(()).unwrap();
        let response = send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    }
    assert_eq!(opened.api.requests(), 3);
    assert!(opened.api.asked().iter().all(|asked| asked.field("authorization") == Some("Bearer token-1")));
    assert_eq!(opened.tokens.requests(), 1);
}

#[tokio::test]
async fn http1_inside_goes_to_an_upstream_that_speaks_http2() {
    let (tokens, ca, local) = (TokenServer::start().await, TestCa::new(), LocalCa::new());
    let server = Http2Server::start(ca.server(&["api.test"], &["h2"]), |_, mut respond| async move {
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"by h2"), true).unwrap();
    })
    .await;
    let proxy = TestProxy::start_with(&opening(&local, &tokens, &ca, server.address()), 1);
    let tls = local.tls(proxy.address("proxy"), "api.test:443", "api.test", &["http/1.1"]).await.unwrap();
    let answer = tls.ask("GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("by h2"), "{answer}");
    assert_eq!(server.asked()[0].headers["authorization"], "Bearer token-1");
    assert_eq!(server.connections(), 1, "the connection that was verified is the one that is used");
}

#[tokio::test]
async fn a_refused_token_is_renewed_inside_as_everywhere() {
    let opened = Opened::new("", |asked, _| {
        if asked.field("authorization") == Some("Bearer token-1") { Reply::new(401, "", "") } else { Reply::ok("fine") }
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
    let answer = opened.ask(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(opened.api.asked()[1].field("authorization"), Some("Bearer token-2"));
    assert_eq!(opened.api.asked()[1].body, b"body");
}

#[tokio::test]
async fn one_authority_sni_against_connect_ends_the_handshake() {
    let opened = Opened::new("", |_, _| Reply::ok("")).await;
    let address = opened.proxy.address("proxy");
    let other = opened.local.tls(address, "api.test:443", "other.test", &[]).await;
    assert!(other.is_err(), "there is no leaf for another name: {other:?}");
    assert_eq!(opened.api.requests(), 0);
}

#[tokio::test]
async fn one_authority_the_inner_host_against_connect_is_refused() {
    let opened = Opened::new("", |_, _| Reply::ok("")).await;
    for head in [
        "GET / HTTP/1.1\r\nHost: other.test\r\n",
        "GET / HTTP/1.1\r\nHost: api.test:8443\r\n",
        "GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n",
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n",
        "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n",
    ] {
        let answer = opened.ask(&format!("{head}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
        assert!(answer.contains("proxy-status: attache; error=http_request_error"), "{answer}");
    }
    assert_eq!(opened.api.requests(), 0);
    for same in ["Host: API.test:443\r\n", "Host: api.test.\r\n"] {
        let answer = opened.ask(&format!("GET / HTTP/1.1\r\n{same}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{same}: {answer}");
    }
}

#[tokio::test]
async fn a_bad_certificate_of_the_upstream_is_never_made_into_a_good_one() {
    let (tokens, ca, local) = (TokenServer::start().await, TestCa::new(), LocalCa::new());
    let api = Scripted::start(|_, _| Reply::ok("")).await;
    // Trusted, but for another name.
    let front = TlsFront::start(ca.server(&["other.test"], &[]), api.address()).await;
    let proxy = TestProxy::start(&opening(&local, &tokens, &ca, front.address()));
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await;
    let answer = caller.answer().await;
    answer.assert_own_failure(502, "tls_certificate_error");
    assert_eq!(tokens.requests(), 0);
}

#[tokio::test]
async fn an_upstream_may_be_left_closed() {
    let opened = Opened::new("intercept = false\n", |_, _| Reply::ok("")).await;
    let address = opened.proxy.address("proxy");
    let unread = opened.local.tls(address, "api.test:443", "api.test", &[]).await;
    assert!(unread.is_err(), "the caller sees the upstream's own certificate, which it does not trust");
    assert_eq!(opened.proxy.metric(OPENED).await, 0.0);
    assert_eq!(opened.proxy.metric(UNREAD).await, 1.0);
}

#[tokio::test]
async fn rules_hold_inside_of_an_opened_tunnel() {
    let opened = Opened::new("allow = [{ methods = [\"GET\"], paths = [\"/v1/*\"] }]\n", |_, _| Reply::ok("")).await;
    let fine = opened.ask("GET /v1/a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await;
    assert!(fine.starts_with("HTTP/1.1 200 "), "{fine}");
    let refused = opened.ask("DELETE /v1/a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[tokio::test]
async fn plain_http_inside_of_a_tunnel_is_upgraded_and_gets_its_token() {
    let opened = Opened::new("", |_, _| Reply::ok("hello")).await;
    // To port 80, as undici does, and to the origin's own port.
    for (target, host) in [("api.test:80", "api.test"), ("api.test:443", "api.test:443")] {
        let mut caller = opened.connected(target).await;
        caller.write(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{target}");
        caller.write(format!("GET /y HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(caller.answer().await.status, 200, "the connection is kept");
    }
    assert_eq!(opened.api.requests(), 4);
    assert!(opened.api.asked().iter().all(|asked| asked.field("authorization") == Some("Bearer token-1")));
}

#[tokio::test]
async fn plain_http_inside_of_a_tunnel_needs_no_local_ca() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let target = api.address();
    let (proxy, mut caller) = in_front_of(&tokens, target).await;
    // The request comes right behind the CONNECT, before anything was answered.
    caller
        .write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nGET / HTTP/1.1\r\nHost: {target}\r\n\r\n"))
        .await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(caller.answer().await.text(), "hello");
    assert_eq!(api.asked()[0].field("authorization"), Some("Bearer token-1"));
    assert_eq!(proxy.metric(OPENED).await, 1.0);
    assert_eq!(proxy.metric(UNREAD).await, 0.0);
}

#[tokio::test]
async fn http2_with_prior_knowledge_inside_of_a_tunnel_gets_its_token() {
    let opened = Opened::new("", |_, _| Reply::ok("hello")).await;
    let caller = opened.connected("api.test:80").await;
    let (mut send, connection) = h2::client::handshake(caller.stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://api.test/x").body(()).unwrap();
    assert_eq!(send.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
    assert_eq!(opened.api.asked()[0].field("authorization"), Some("Bearer token-1"));
}

#[tokio::test]
async fn a_tunnel_to_an_http_name_is_for_http_alone() {
    let opened = Opened::new("", |_, _| Reply::ok("")).await;
    let mut caller = opened.connected("api.test:80").await;
    caller.write(b"\x16\x03\x01\x00\x05hello").await;
    assert!(caller.is_closed().await, "there is nothing to tunnel to");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    use tokio::io::AsyncWriteExt as _;
    let tokens = TokenServer::start().await;
    let server = Raw::start(|mut stream, _| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let target = server.address();
    let (proxy, mut caller) = in_front_of(&tokens, target).await;
    caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(caller.read_exact(11).await, b"220 ready\r\n");
    // What looks like a request now is none: this tunnel passes unread.
    caller.write("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(caller.read_exact(18).await, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(proxy.metric(UNREAD).await, 1.0);
}

#[tokio::test]
async fn a_websocket_inside_has_its_token_on_the_handshake() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (tokens, ca, local) = (TokenServer::start().await, TestCa::new(), LocalCa::new());
    let server = Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("Bearer token-1"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), server.address()).await;
    let proxy = TestProxy::start_with(&opening(&local, &tokens, &ca, front.address()), 1);
    let mut tls = local.tls(proxy.address("proxy"), "api.test:443", "api.test", &[]).await.unwrap().0;
    let request = "GET /ws HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
    tls.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut tls).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    tls.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    tls.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test]
async fn a_tunnel_is_a_connection_of_its_caller_as_long_as_it_lives() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("")).await);
    let target = api.address();
    let (proxy, mut caller) = in_front_of(&tokens, target).await;
    caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(proxy.metric("attache_caller_connections").await, 1.0);
    drop(caller);
    crate::support::until("the tunnel has ended", || async { proxy.metric("attache_caller_connections").await == 0.0 })
        .await;
}

#[tokio::test]
async fn a_grpc_exchange_inside_has_its_token_and_its_trailers() {
    let (tokens, ca, local) = (TokenServer::start().await, TestCa::new(), LocalCa::new());
    let server = crate::http2::echo(&ca).await;
    let proxy = TestProxy::start_with(&opening(&local, &tokens, &ca, server.address()), 1);
    let tls = local.tls(proxy.address("proxy"), "api.test:443", "api.test", &["h2"]).await.unwrap();
    let (send, connection) = h2::client::handshake(tls.0).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://api.test/wax.Seals/Press")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut stream) = send.ready().await.unwrap().send_request(request, false).unwrap();
    let message = Bytes::from_static(b"\0\0\0\0\x05press");
    stream.send_data(message.clone(), false).unwrap();
    let status = (http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"));
    stream.send_trailers(http::HeaderMap::from_iter([status])).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut echoed = Vec::new();
    while let Some(data) = body.data().await {
        echoed.extend_from_slice(&data.unwrap());
    }
    assert_eq!(echoed, message);
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let asked = &server.asked()[0].headers;
    assert_eq!((asked["authorization"].as_bytes(), asked["te"].as_bytes()), (&b"Bearer token-1"[..], &b"trailers"[..]));
}
