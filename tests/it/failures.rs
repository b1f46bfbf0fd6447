//! "Failures are told apart" (README.md): each in its own words, none of them a 401.

use tokio::io::AsyncWriteExt as _;

use crate::support::{
    ADMIN, Answer, Caller, FORWARD, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, get,
    read_head, reverse, send, upstream,
};

/// A base URL for this upstream, on one worker.
fn base(tokens: &TokenServer, origin: &str, rest: &str) -> TestProxy {
    let config = format!("{}{ADMIN}{}{}{rest}", reverse(&["api"]), credential(tokens), upstream("api", origin));
    TestProxy::start_with(&config, 1)
}

async fn ask(proxy: &TestProxy) -> Answer {
    get(proxy.address("base"), "localhost", "/").await
}

/// Accepts and says nothing.
async fn silent() -> Raw {
    Raw::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await
}

#[tokio::test]
async fn nobody_listens() {
    let tokens = TokenServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = base(&tokens, &format!("http://{free}"), "");
    let answer = ask(&proxy).await;
    answer.assert_own_failure(502, "connection_refused");
    assert!(answer.text().contains("\\\"api\\\""), "it says which upstream: {}", answer.text());
    let failed = "attache_requests_total{listener=\"base\",upstream=\"api\",outcome=\"failed\"}";
    assert_eq!(proxy.metric(failed).await, 1.0);
}

#[tokio::test]
async fn the_name_does_not_exist() {
    let tokens = TokenServer::start().await;
    let proxy = base(&tokens, "https://no-such-host.invalid", "");
    ask(&proxy).await.assert_own_failure(502, "dns_error");
}

#[tokio::test]
async fn how_an_upstream_is_reached_is_not_told_to_callers() {
    let tokens = TokenServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (connect, error) in [(free.to_string(), "connection_refused"), ("inner.invalid:443".to_owned(), "dns_error")] {
        let answer = ask(&base(&tokens, "https://api.test", &format!("connect = \"{connect}\""))).await;
        answer.assert_own_failure(502, error);
        let host = connect.split(':').next().unwrap();
        assert!(answer.text().contains("upstream \\\"api\\\": "), "{}", answer.text());
        assert!(!answer.text().contains(host) && !answer.text().contains("os error"), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_certificate_is_from_an_unknown_authority_or_for_another_name() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("secret")).await;
    let (ca, other) = (TestCa::new(), TestCa::new());
    let front = TlsFront::start(ca.server(&["other.test"], &[]), api.address()).await;
    let connect = format!("connect = \"{}\"\n", front.address());
    let unknown = ask(&base(&tokens, "https://other.test", &(connect.clone() + &other.trusted()))).await;
    unknown.assert_own_failure(502, "tls_certificate_error");
    assert!(unknown.text().contains("tls.ca_file"), "{}", unknown.text());
    let wrong_name = ask(&base(&tokens, "https://api.test", &(connect.clone() + &ca.trusted()))).await;
    wrong_name.assert_own_failure(502, "tls_certificate_error");
    let told = "the certificate is for other.test, not for api.test; check origin, or set tls.server_name";
    assert!(wrong_name.text().contains(told), "{}", wrong_name.text());
    assert!(!wrong_name.text().contains("tls.ca_file"), "{}", wrong_name.text());
    let system_trust = ask(&base(&tokens, "https://other.test", &connect)).await;
    system_trust.assert_own_failure(502, "tls_certificate_error");
    assert_eq!(api.connections(), 0);
    let named = connect + &ca.trusted().replace(" }", ", server_name = \"other.test\" }");
    assert_eq!(ask(&base(&tokens, "https://api.test", &named)).await.status, 200);
}

#[tokio::test]
async fn the_other_side_does_not_speak_tls() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let proxy = base(&tokens, &format!("https://{}", api.address()), "");
    ask(&proxy).await.assert_own_failure(502, "tls_protocol_error");
}

#[tokio::test]
async fn the_upstream_does_not_answer_in_time() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::Silence).await;
    let proxy = base(&tokens, &api.origin(), "timeouts = { response = \"300ms\" }\n");
    ask(&proxy).await.assert_own_failure(504, "http_response_timeout");
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab";
    send(proxy.address("base"), post).await.assert_own_failure(504, "http_response_timeout");
    assert_eq!(api.requests(), 2, "and is not asked again");
}

#[tokio::test]
async fn the_connection_does_not_come_about_in_time() {
    let (tokens, mute) = (TokenServer::start().await, silent().await);
    let proxy = base(&tokens, &format!("https://{}", mute.address()), "timeouts = { connect = \"300ms\" }\n");
    // The others wait for what the first finds out, and are told the same.
    for answer in futures_util::future::join_all((0..5).map(|_| ask(&proxy))).await {
        answer.assert_own_failure(504, "connection_timeout");
    }
}

#[tokio::test]
async fn the_upstream_closes_in_place_of_an_answer_or_within_its_head() {
    let tokens = TokenServer::start().await;
    for said in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let api = Scripted::start(move |_, _| Reply::Close(said.into())).await;
        let proxy = base(&tokens, &api.origin(), "");
        ask(&proxy).await.assert_own_failure(502, "connection_terminated");
        assert_eq!(api.requests(), 1, "a new connection that breaks is no reason to ask again");
    }
}

#[tokio::test]
async fn an_upstream_that_never_stops_its_head_is_cut_off() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(format!("X: {}\r\n", "x".repeat(8000)).as_bytes()).await.is_ok() {}
    })
    .await;
    let proxy = base(&tokens, &api.origin(), "");
    ask(&proxy).await.assert_own_failure(502, "http_protocol_error");
}

#[tokio::test]
async fn the_token_endpoint_is_down_slow_or_overloaded() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let down = TokenServer::scripted(|_, _| Reply::HangUp).await;
    let overloaded = TokenServer::scripted(|_, _| Reply::new(503, "Retry-After: 7\r\n", "busy")).await;
    let garbled = TokenServer::scripted(|_, _| Reply::new(500, "", "<html>")).await;
    for (tokens, after) in [(&down, None), (&overloaded, Some("7")), (&garbled, None)] {
        let answer = ask(&base(tokens, &api.origin(), "")).await;
        answer.assert_own_failure(503, "proxy_internal_error");
        let told = answer.field("retry-after").expect("503 says when to come back");
        assert!(told.parse::<u64>().unwrap() > 0);
        if let Some(after) = after {
            assert_eq!(told, after);
        }
    }
    assert_eq!(api.requests(), 0, "nothing is sent without a token");
}

#[tokio::test]
async fn the_authorization_server_refuses() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    for (status, code) in [(401, "invalid_client"), (400, "invalid_scope"), (200, "unauthorized_client")] {
        let body = format!(r#"{{"error":"{code}","error_description":"no"}}"#);
        let tokens =
            TokenServer::scripted(move |_, _| Reply::new(status, "Content-Type: application/json\r\n", &body)).await;
        let answer = ask(&base(&tokens, &api.origin(), "")).await;
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert_eq!(answer.json()["oauth_error"], code);
        assert!(!answer.text().contains("s3cret"));
    }
    assert_eq!(api.requests(), 0);
}

#[tokio::test]
async fn without_a_token_an_upstream_may_still_be_asked_and_then_without_any() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let tokens = TokenServer::scripted(|_, _| Reply::HangUp).await;
    let proxy = base(&tokens, &api.origin(), "on_token_error = \"pass\"\n");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer theirs\r\n\r\n";
    assert_eq!(send(proxy.address("base"), request).await.status, 200);
    assert_eq!(api.asked()[0].field("authorization"), None, "replaced is replaced, even by nothing");
    let passed = "attache_requests_total{listener=\"base\",upstream=\"api\",outcome=\"passed_without_token\"}";
    assert_eq!(proxy.metric(passed).await, 1.0);
}

#[tokio::test]
async fn the_request_has_been_here_before() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| Reply::ok(&asked.all("via").join(", "))).await;
    let proxy = base(&tokens, &api.origin(), "");
    let own = ask(&proxy).await.text().to_owned();
    for via in [own.clone(), format!("1.0 other, {own}, 1.1 more (x)"), "1.1 attache".into()] {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nVia: {via}\r\n\r\n");
        send(proxy.address("base"), request).await.assert_own_failure(502, "proxy_loop_detected");
    }
    // Another attache in front is a chain.
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 attache (00000000), 1.1 attached\r\n\r\n";
    let answer = send(proxy.address("base"), request).await;
    assert_eq!((answer.status, answer.text()), (200, format!("1.1 attache (00000000), 1.1 attached, {own}").as_str()));
}

#[tokio::test]
async fn a_destination_that_is_one_of_our_own_listeners_is_a_loop() {
    let policy = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n";
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{policy}"));
    for listener in ["proxy", "admin"] {
        let address = proxy.address(listener);
        for host in [address.to_string(), format!("localhost:{}", address.port())] {
            let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/metrics")).await;
            answer.assert_own_failure(502, "proxy_loop_detected");
            let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            send(proxy.address("proxy"), connect).await.assert_own_failure(502, "proxy_loop_detected");
        }
    }
}

#[tokio::test]
async fn trace_would_show_the_token() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&tokens, &api.origin(), "");
    let answer = send(proxy.address("base"), "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    answer.assert_own_failure(405, "http_request_denied");
    assert!(answer.field("allow").unwrap().contains("GET"));
    assert_eq!(api.requests(), 0);
}

#[tokio::test]
async fn all_connections_to_the_upstream_are_in_use() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::Silence).await;
    let proxy = base(&tokens, &api.origin(), "pool = { max = 1 }\ntimeouts = { connect = \"300ms\" }\n");
    let mut first = Caller::connect(proxy.address("base")).await;
    first.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    while api.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let answer = ask(&proxy).await;
    answer.assert_own_failure(503, "connection_limit_reached");
    assert!(answer.field("retry-after").is_some());
    assert!(answer.text().contains("pool.max"), "{}", answer.text());
    // The one who waits in vain gives its place back: the caller in front goes away, the next is served.
    drop(first);
    let mut next = Caller::connect(proxy.address("base")).await;
    next.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    while api.requests() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_requests_than_are_allowed_for_a_second() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&tokens, &api.origin(), "[limits]\nrequests_per_second = 2\n");
    let mut refused = None;
    for _ in 0..4 {
        let answer = ask(&proxy).await;
        if answer.status != 200 {
            refused.get_or_insert(answer);
        }
    }
    let refused = refused.expect("four at once are more than two a second");
    refused.assert_own_failure(429, "http_request_denied");
    assert_eq!(refused.field("retry-after"), Some("1"));
}

#[tokio::test]
async fn the_callers_body_stands_still_or_breaks_off() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&tokens, &api.origin(), "timeouts = { body = \"300ms\", response = \"300ms\" }\n");
    let begun = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(begun).await;
    let answer = caller.answer().await;
    answer.assert_own_failure(408, "http_request_error");
    assert_eq!(answer.field("connection"), Some("close"));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(begun).await;
    caller.stream.shutdown().await.unwrap();
    if let Some(answer) = caller.try_answer().await {
        answer.assert_own_failure(400, "http_request_error");
    }
    assert_eq!(api.requests(), 0, "the upstream never takes it for whole");
}

#[tokio::test]
async fn the_request_id_is_the_callers_where_that_is_sensible() {
    let tokens = TokenServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = base(&tokens, &format!("http://{free}"), "");
    let with = |id: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n\r\n");
    let answer = send(proxy.address("base"), with("abc-123")).await;
    answer.assert_own_failure(502, "connection_refused");
    assert_eq!(answer.field("x-request-id"), Some("abc-123"));
    for strange in ["a b", "\"x\"", &"x".repeat(129)] {
        let answer = send(proxy.address("base"), with(strange)).await;
        answer.assert_own_failure(502, "connection_refused");
        assert_eq!(answer.field("x-request-id").map(str::len), Some(16));
    }
}
