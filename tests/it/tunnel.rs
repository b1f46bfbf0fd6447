//! Way 4 without interception: CONNECT passes bytes unread.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{ADMIN, Caller, FORWARD, Raw, TestProxy, TokenServer, credential, send, upstream};

const PASS: &str = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n";
const TUNNELS: &str = "attache_tunnels_total{listener=\"proxy\",injected=\"false\"}";

/// Sends back what it gets, and closes when the other side has.
async fn echo() -> Raw {
    Raw::start(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

/// Greets first, and says how much it got once the other side has finished.
async fn counting() -> Raw {
    Raw::start(|mut stream, _| async move {
        stream.write_all(b"hello\n").await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("got {}\n", all.len()).as_bytes()).await.unwrap();
    })
    .await
}

async fn connect(proxy: &TestProxy, target: &str) -> Caller {
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    caller
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_is_counted_as_not_injected() {
    let (tokens, server) = (TokenServer::start().await, echo().await);
    let config = format!("{FORWARD}{ADMIN}{}{}", credential(&tokens), upstream("api", &server.origin()));
    let proxy = TestProxy::start(&config);
    let mut caller = connect(&proxy, &server.address().to_string()).await;
    let answer = caller.answer_head().await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
    let sent: Vec<u8> = (0..500_000_u32).map(|number| (number % 251) as u8).collect();
    let mut received = vec![0; sent.len()];
    let (mut read, mut write) = caller.stream.split();
    let (written, reached) = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
    written.unwrap();
    reached.unwrap();
    assert!(received == sent, "the bytes are the same");
    assert_eq!(proxy.metric(TUNNELS).await, 1.0);
    let tunneled = "attache_requests_total{listener=\"proxy\",upstream=\"api\",outcome=\"tunneled\"}";
    assert_eq!(proxy.metric(tunneled).await, 1.0);
    assert_eq!(tokens.requests(), 0, "a token that cannot be injected is not asked for");
}

#[tokio::test]
async fn bytes_right_behind_the_head_are_kept_for_the_other_side() {
    let server = echo().await;
    let proxy = TestProxy::start(&format!("{FORWARD}{PASS}"));
    let target = server.address();
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly bytes")).await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(caller.read_exact(11).await, b"early bytes");
    caller.write("and later").await;
    assert_eq!(caller.read_exact(9).await, b"and later");
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let server = counting().await;
    let proxy = TestProxy::start(&format!("{FORWARD}{PASS}"));
    let mut caller = connect(&proxy, &server.address().to_string()).await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(caller.read_exact(6).await, b"hello\n");
    caller.write("12345").await;
    caller.stream.shutdown().await.unwrap();
    assert_eq!(caller.read_exact(6).await, b"got 5\n");
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn nobody_is_told_200_before_the_other_side_is_there() {
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{PASS}"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(format!("CONNECT {free} HTTP/1.1\r\nHost: {free}\r\n\r\n")).await;
    let answer = caller.answer().await;
    answer.assert_own_failure(502, "connection_refused");
    assert!(answer.text().contains(&free.to_string()), "the origin is named: {}", answer.text());
    assert_eq!(proxy.metric(TUNNELS).await, 0.0);
}

#[tokio::test]
async fn unmatched_tunnels_follow_the_policy() {
    let server = echo().await;
    let target = server.address().to_string();
    let denied = TestProxy::start(FORWARD);
    let answer = connect(&denied, &target).await.answer().await;
    answer.assert_own_failure(403, "http_request_denied");
    assert!(answer.text().contains(&format!("no upstream covers {target}; ")), "{}", answer.text());
    let public = TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\nconnect_ports = \"any\"\n"));
    connect(&public, &target).await.answer().await.assert_own_failure(403, "destination_ip_prohibited");
    assert_eq!(server.connections(), 0);
    let report = TestProxy::start(&format!("{FORWARD}{ADMIN}{}", PASS.replace("pass", "report")));
    assert_eq!(connect(&report, &target).await.answer_head().await.status, 200);
    assert_eq!(report.metric("attache_would_deny_total{listener=\"proxy\"}").await, 1.0);
}

#[tokio::test]
async fn rules_that_a_tunnel_cannot_keep_refuse_it() {
    let (tokens, server) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}allow = [{{ methods = [\"GET\"] }}]\n",
        credential(&tokens),
        upstream("api", &server.origin())
    ));
    let answer = connect(&proxy, &server.address().to_string()).await.answer().await;
    answer.assert_own_failure(403, "http_request_denied");
    assert!(answer.text().contains("`allow`"), "{}", answer.text());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_tunnel_to_an_upstream_dials_what_it_connects_to() {
    let (tokens, server) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}connect = \"{}\"\n",
        credential(&tokens),
        upstream("api", "https://api.test"),
        server.address()
    ));
    let mut caller = connect(&proxy, "api.test:443").await;
    assert_eq!(caller.answer_head().await.status, 200);
    caller.write("ping").await;
    assert_eq!(caller.read_exact(4).await, b"ping");
    connect(&proxy, "api.test:8443").await.answer().await.assert_own_failure(403, "http_request_denied");
}

#[tokio::test]
async fn real_programs_leave_out_host_or_its_port_and_may_ask_to_close() {
    let server = echo().await;
    let proxy = TestProxy::start(&format!("{FORWARD}{PASS}"));
    let (target, address) = (server.address(), proxy.address("proxy"));
    for head in [
        format!("CONNECT {target} HTTP/1.0\r\n\r\n"),
        format!("CONNECT {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"),
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Connection: Keep-Alive\r\nContent-Length: 0\r\n\r\n"
        ),
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\n\r\n"
        ),
    ] {
        let mut caller = Caller::connect(address).await;
        caller.write(&head).await;
        assert_eq!(caller.answer_head().await.status, 200, "{head}");
        caller.write("through").await;
        assert_eq!(caller.read_exact(7).await, b"through", "{head}");
    }
}

#[tokio::test]
async fn a_target_that_is_no_host_and_port_is_refused() {
    let proxy = TestProxy::start(&format!("{FORWARD}{PASS}"));
    for (target, host) in [
        ("api.test", "api.test"),
        ("api.test:", "api.test"),
        ("api.test:0", "api.test"),
        ("api.test:65536", "api.test"),
        ("api.test:99999", "api.test"),
        ("api.test:443", "other.test:443"),
        ("user@api.test:443", "api.test:443"),
        ("user:pass@api.test:443", "api.test:443"),
        ("https://api.test:443", "api.test:443"),
        ("http://api.test:443/x", "api.test:443"),
        ("/", "api.test"),
        ("*", "api.test"),
        ("api..test:443", "api..test:443"),
        ("2130706433:443", "2130706433:443"),
        ("0x7f.1:443", "0x7f.1:443"),
        ("127.1:443", "127.1:443"),
        ("[::1%25lo]:443", "[::1%25lo]:443"),
        (":443", ":443"),
    ] {
        let answer = send(proxy.address("proxy"), format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        answer.assert_own_failure(400, "http_request_error");
    }
}

#[tokio::test]
async fn a_body_on_connect_is_a_framing_error() {
    let server = echo().await;
    let proxy = TestProxy::start(&format!("{FORWARD}{PASS}"));
    let target = server.address();
    for framing in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{framing}\r\n\r\n");
        let answer = send(proxy.address("proxy"), head).await;
        answer.assert_own_failure(400, "http_request_error");
        assert_eq!(answer.field("connection"), Some("close"));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_silent_tunnel_ends_after_the_idle_time() {
    let (tokens, server) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}timeouts = {{ idle = \"300ms\" }}\n",
        credential(&tokens),
        upstream("api", &server.origin()),
    ));
    let mut caller = connect(&proxy, &server.address().to_string()).await;
    assert_eq!(caller.answer_head().await.status, 200);
    caller.write("x").await;
    assert_eq!(caller.read_exact(1).await, b"x");
    assert!(caller.is_closed().await);
}
