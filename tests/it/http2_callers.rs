//! Callers that speak HTTP/2, and what happens to their streams: broken off, held up, told to go on, turned into tunnels.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::frames::frame;
use crate::support::{
    ADMIN, Caller, FORWARD, Raw, Reply, Scripted, TestProxy, TokenServer, credential, get, http2_caller,
    http2_caller_with, read_body, read_head, real_time, reverse, until, upstream,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn status(send: &mut SendRequest<Bytes>, request: Request<()>) -> (u16, Vec<u8>) {
    let (response, _) = send.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    (head.status.as_u16(), read_body(&mut body).await.unwrap())
}

fn config(tokens: &TokenServer, origin: &str) -> String {
    format!("{}{ADMIN}{}{}", reverse(&["api"]), credential(tokens), upstream("api", origin))
}

#[tokio::test]
async fn an_upload_that_is_reset_never_arrives_as_a_whole_one() {
    let tokens = TokenServer::start().await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        let api = Raw::start(move |mut stream, _| {
            let told = told.clone();
            async move {
                read_head(&mut stream).await;
                let mut all = Vec::new();
                let _broken = stream.read_to_end(&mut all).await;
                told.send(all).await.unwrap();
            }
        })
        .await;
        let proxy = TestProxy::start(&config(&tokens, &api.origin()));
        let mut send = http2_caller(proxy.address("base")).await;
        let (response, mut body) =
            send.send_request(Request::post("http://localhost/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"half of it"), false).unwrap();
        until("the upload has begun", || async { api.connections() == 1 }).await;
        body.send_reset(reason);
        assert!(response.await.is_err());
        let arrived = heard.recv().await.unwrap();
        assert!(!arrived.ends_with(b"0\r\n\r\n"), "{reason:?}: {}", String::from_utf8_lossy(&arrived));
    }
}

#[tokio::test]
async fn an_upload_with_a_length_that_is_reset_never_arrives_as_a_whole_one_over_http2_either() {
    let (tokens, ca) = (TokenServer::start().await, crate::support::TestCa::new());
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    let beginning = std::sync::Arc::clone(&begun);
    let api = crate::support::Http2Server::start(ca.server(&["api.test"], &["h2"]), move |request, _respond| {
        let (told, begins) = (told.clone(), std::sync::Arc::clone(&beginning));
        async move {
            let mut body = request.into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "half of it");
            begins.notify_one();
            told.send(read_body(&mut body).await.is_ok_and(|_| body.is_end_stream())).await.unwrap();
        }
    })
    .await;
    let upstream = format!("{}connect = \"{}\"\n{}", upstream("api", "https://api.test"), api.address(), ca.trusted());
    let proxy = TestProxy::start(&format!("{}{}{upstream}", reverse(&["api"]), credential(&tokens)));
    let mut send = http2_caller(proxy.address("base")).await;
    let (response, mut body) = send.send_request(Request::post("http://localhost/").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"half of it"), false).unwrap();
    begun.notified().await;
    body.send_reset(Reason::NO_ERROR);
    assert!(response.await.is_err());
    assert!(!heard.recv().await.unwrap(), "it was taken for a whole one");
}

#[tokio::test]
async fn a_caller_that_takes_nothing_loses_its_streams_and_others_get_its_connections() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| {
        Reply::ok(if asked.target() == "/small" { "fine" } else { "large".repeat(100_000).leak() })
    })
    .await;
    let pool = "pool = { max = 4 }\n[limits]\nkeep_alive = \"2s\"\n";
    let proxy = TestProxy::start_with(&(config(&tokens, &api.origin()) + pool), 1);
    // The window is none at all: not a byte of an answer can be sent.
    let mut hostile = http2_caller_with(proxy.address("base"), 0).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let request = Request::get("http://localhost/large").body(()).unwrap();
        held.push(hostile.send_request(request, true).unwrap().0.await.unwrap().into_body());
    }
    // All connections of the upstream are in use, but not for longer than `limits.keep_alive`.
    assert_eq!(get(proxy.address("base"), "localhost", "/small").await.text(), "fine");
    for body in &mut held {
        assert_eq!(read_body(body).await.unwrap_err().reason(), Some(Reason::CANCEL));
    }
    // What it asks for next on the same connection is served.
    assert_eq!(
        hostile
            .send_request(Request::get("http://localhost/small").body(()).unwrap(), true)
            .unwrap()
            .0
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_caller_that_takes_a_little_now_and_then_keeps_its_stream() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("x".repeat(30_000).leak())).await;
    let proxy = TestProxy::start(&(config(&tokens, &api.origin()) + "[limits]\nkeep_alive = \"2s\"\n"));
    let mut slow = http2_caller_with(proxy.address("base"), 5_000).await;
    let request = Request::get("http://localhost/").body(()).unwrap();
    let mut body = slow.send_request(request, true).unwrap().0.await.unwrap().into_body();
    let mut taken = 0;
    while let Some(data) = body.data().await {
        taken += data.as_ref().unwrap().len();
        real_time("it takes longer in all than `keep_alive`", Duration::from_millis(600)).await;
        let _ended = body.flow_control().release_capacity(data.unwrap().len());
    }
    assert_eq!(taken, 30_000);
}

#[tokio::test]
async fn thousands_of_uploads_that_end_with_an_empty_frame_are_no_flood() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| Reply::ok(if asked.body == b"x" { "fine" } else { "not whole" })).await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    for _ in 0..2500 {
        let (response, mut body) =
            send.send_request(Request::post("http://localhost/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"x"), false).unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        let mut answer = response.await.unwrap().into_body();
        assert_eq!(read_body(&mut answer).await.unwrap(), b"fine");
    }
}

#[tokio::test]
async fn uploads_that_nobody_takes_leave_room_for_the_callers_others() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        if read_head(&mut stream).await.starts_with("POST /stalled") {
            // Its body is never read.
            return std::future::pending().await;
        }
        let _whole = tokio::io::copy(&mut (&mut stream).take(100_000), &mut tokio::io::sink()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine").await.unwrap();
    })
    .await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        send = send.ready().await.unwrap();
        let request = Request::post("http://localhost/stalled").body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        // More than the sockets between take, so that a whole window waits here.
        body.send_data(Bytes::from(vec![0; 8 << 20]), false).unwrap();
        stalled.push((response, body));
    }
    until("the upstream has them", async || api.connections() == 20).await;
    for _ in 0..5 {
        let request = Request::post("http://localhost/good").header("content-length", 100_000).body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![0; 100_000]), true).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), response).await.expect("held up by others").unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn half_a_head_is_waited_for_no_longer_than_a_whole_one() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&(config(&tokens, &api.origin()) + "[limits]\nheader_timeout = \"1s\"\n"));
    let head = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    // Without its end; without the rest of its frame.
    for half in [frame(1, 1, 1, &head), frame(1, 5, 1, &head)[..12].to_vec()] {
        let mut stream = TcpStream::connect(proxy.address("base")).await.unwrap();
        stream.write_all(&[PREFACE, &frame(4, 0, 0, []), &half].concat()).await.unwrap();
        let mut all = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut all)).await;
        assert!(ended.is_ok(), "it is still open");
        assert!(!all.windows(8).any(|window| window == b"HTTP/1.1"), "that is no HTTP/2");
    }
    // A connection with nothing on it has the time of idle ones.
    let mut idle = http2_caller(proxy.address("base")).await;
    real_time("`header_timeout` passes", Duration::from_secs(2)).await;
    assert_eq!(status(&mut idle, Request::get("http://localhost/").body(()).unwrap()).await.0, 200);
}

#[tokio::test]
async fn a_value_with_white_space_at_an_end_is_refused() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    for value in [" x", "x ", "\tx", "x\t", " "] {
        let request = Request::get("http://localhost/").header("x-a", HeaderValue::from_str(value).unwrap());
        let (code, body) = status(&mut send, request.body(()).unwrap()).await;
        assert_eq!(code, 400, "{value:?}");
        assert!(String::from_utf8(body).unwrap().contains("x-a"), "the field is named");
    }
    let request = Request::get("http://localhost/").header("x-a", "x y").header("x-b", "").body(()).unwrap();
    assert_eq!(status(&mut send, request).await.0, 200);
    assert_eq!(api.requests(), 1);
}

#[tokio::test]
async fn a_caller_that_waits_for_100_is_told_to_go_on() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| Reply::ok(if asked.body == b"body" { "fine" } else { "not whole" })).await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    let request = Request::post("http://localhost/").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut body) = send.send_request(request, false).unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| response.poll_informational(cx)));
    assert_eq!(told.await.expect("nothing was said").unwrap().unwrap().status(), 100);
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(read_body(&mut response.await.unwrap().into_body()).await.unwrap(), b"fine");
    // A caller that does not wait gets no 100.
    let (mut response, mut body) =
        send.send_request(Request::post("http://localhost/").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert!(poll_fn(|cx| response.poll_informational(cx)).await.is_none());
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn hints_pass_before_the_answer_in_both_versions() {
    let tokens = TokenServer::start().await;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
    let api = Scripted::start(move |_, _| {
        Reply::Raw(format!("HTTP/1.1 100 Continue\r\n\r\n{hint}HTTP/1.1 102 Processing\r\n\r\n{answer}").into_bytes())
    })
    .await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    let (mut response, _) = send.send_request(Request::get("http://localhost/").body(()).unwrap(), true).unwrap();
    let first = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!((first.status().as_u16(), first.headers().len()), (103, 1));
    assert_eq!(first.headers()["link"], "</a.css>; rel=preload");
    let second = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(second.status().as_u16(), 102);
    assert!(poll_fn(|cx| response.poll_informational(cx)).await.is_none());
    assert_eq!(response.await.unwrap().status(), 200);

    let mut caller = Caller::connect(proxy.address("base")).await;
    for _ in 0..3 {
        caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let first = caller.answer_head().await;
        assert_eq!((first.status, first.field("link"), first.fields.len()), (103, Some("</a.css>; rel=preload"), 1));
        assert_eq!(caller.answer_head().await.status, 102);
        let last = caller.answer().await;
        assert_eq!((last.status, last.text()), (200, "fine"));
    }
    // HTTP/1.0 has no interim answers.
    let mut old = Caller::connect(proxy.address("base")).await;
    old.write("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(old.answer().await.status, 200);
}

/// Switches as RFC 6455 wants it, or with another key, and echoes.
async fn chat(right: bool) -> Raw {
    Raw::start(move |mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
        let key = if right { key } else { "dGhlIHNhbXBsZSBub25jZQ==" };
        let accepted = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
        );
        let accepted = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, accepted);
        let switched = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accepted}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        stream.write_all(format!("{switched}{:08}{head}", head.len()).as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

fn websocket(uri: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(uri).extension(Protocol::from_static("websocket"));
    request.header("sec-websocket-version", "13").header("sec-websocket-protocol", "chat").body(()).unwrap()
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_upstream_that_knows_only_http1() {
    let (tokens, chat) = (TokenServer::start().await, chat(true).await);
    let proxy = TestProxy::start(&(config(&tokens, &chat.origin()) + FORWARD));
    for (listener, uri) in [("base", "http://localhost/chat".to_owned()), ("proxy", format!("{}/chat", chat.origin()))]
    {
        let mut send = http2_caller(proxy.address(listener)).await;
        until("extended CONNECT is announced", || async { send.is_extended_connect_protocol_enabled() }).await;
        let (response, mut up) = send.send_request(websocket(&uri), false).unwrap();
        let (head, mut down) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["sec-websocket-protocol"], "chat");
        assert!(!head.headers.contains_key("sec-websocket-accept"), "the caller has no key");
        let mut all = Vec::new();
        let take = async |all: &mut Vec<u8>, down: &mut RecvStream, least: usize| {
            while all.len() < least {
                let data = down.data().await.unwrap().unwrap();
                down.flow_control().release_capacity(data.len()).unwrap();
                all.extend_from_slice(&data);
            }
        };
        take(&mut all, &mut down, 8).await;
        let length: usize = String::from_utf8(all.drain(..8).collect()).unwrap().parse().unwrap();
        take(&mut all, &mut down, length).await;
        let asked = String::from_utf8(all.drain(..length).collect()).unwrap();
        for line in [
            "GET /chat HTTP/1.1\r\n",
            "upgrade: websocket\r\n",
            "connection: upgrade\r\n",
            "authorization: Bearer token-1\r\n",
        ] {
            assert!(asked.contains(line), "{line} in {asked}");
        }
        up.send_data(Bytes::from_static(b"\x01\x05hello"), false).unwrap();
        take(&mut all, &mut down, 7).await;
        assert_eq!(all, b"\x01\x05hello");
        // Its end passes as well.
        up.send_data(Bytes::new(), true).unwrap();
        assert!(read_body(&mut down).await.unwrap().is_empty() && down.is_end_stream());
    }
}

#[tokio::test]
async fn a_websocket_whose_server_has_not_read_the_key_is_none() {
    let (tokens, chat) = (TokenServer::start().await, chat(false).await);
    let proxy = TestProxy::start(&config(&tokens, &chat.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    until("extended CONNECT is announced", || async { send.is_extended_connect_protocol_enabled() }).await;
    let (response, _up) = send.send_request(websocket("http://localhost/chat"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 502);
    // Of other protocols nothing is known.
    let mut other = websocket("http://localhost/chat");
    other.extensions_mut().insert(Protocol::from_static("connect-udp"));
    let (response, _up) = send.send_request(other, false).unwrap();
    assert_eq!(response.await.unwrap().status(), 501);
}

#[tokio::test]
async fn a_websocket_that_its_upstream_answers_without_switching_is_none() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| Reply::new(if asked.target() == "/no" { 403 } else { 200 }, "", "page")).await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    until("extended CONNECT is announced", || async { send.is_extended_connect_protocol_enabled() }).await;
    // A success would open the stream.
    for (path, status) in [("/chat", 502), ("/no", 403)] {
        let (response, _up) = send.send_request(websocket(&format!("http://localhost{path}")), false).unwrap();
        assert_eq!(response.await.unwrap().status(), status);
    }
    // Each is one request with one outcome.
    for outcome in ["failed", "injected"] {
        let counter = format!("attache_requests_total{{listener=\"base\",upstream=\"api\",outcome=\"{outcome}\"}}");
        assert_eq!(proxy.metric(&counter).await, 1.0, "{outcome}");
    }
}

#[tokio::test]
async fn websockets_that_nobody_reads_leave_room_for_the_callers_uploads() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        if let Some(key) = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")) {
            let digest = aws_lc_rs::digest::digest(
                &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
            );
            let accepted = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
            let switched = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accepted}\r\n\r\n"
            );
            stream.write_all(switched.as_bytes()).await.unwrap();
            return std::future::pending().await;
        }
        let _whole = tokio::io::copy(&mut (&mut stream).take(64_000), &mut tokio::io::sink()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine").await.unwrap();
    })
    .await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut send = http2_caller(proxy.address("base")).await;
    until("extended CONNECT is announced", || async { send.is_extended_connect_protocol_enabled() }).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        send = send.ready().await.unwrap();
        let (response, mut up) = send.send_request(websocket("http://localhost/chat"), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        up.send_data(Bytes::from(vec![0; 4 << 20]), false).unwrap();
        stalled.push(up);
    }
    let request = Request::post("http://localhost/good").header("content-length", 64_000).body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![0; 64_000]), true).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), response).await.expect("held up by others").unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn hints_name_the_origin_in_the_callers_terms() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <http://{host}/a.css>; rel=preload\r\n\r\n");
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine";
        stream.write_all(format!("{hint}{answer}").as_bytes()).await.unwrap();
    })
    .await;
    let proxy = TestProxy::start(&config(&tokens, &api.origin()));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n").await;
    let hint = caller.answer_head().await;
    assert_eq!((hint.status, hint.field("link")), (103, Some("<http://localhost:1/a.css>; rel=preload")));
    assert_eq!(caller.answer().await.text(), "fine");
}

#[tokio::test]
async fn a_caller_that_takes_no_hints_is_not_waited_for_for_ever() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let hint = format!("HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n", "x".repeat(50_000));
        // Many more than any buffer on the way takes.
        while stream.write_all(hint.as_bytes()).await.is_ok() {}
    })
    .await;
    let limits = "timeouts = { response = \"60s\" }\n[limits]\nkeep_alive = \"1s\"\n";
    let proxy = TestProxy::start(&(config(&tokens, &api.origin()) + limits));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("it is given up", || async { proxy.metric("attache_caller_connections").await == 0.0 }).await;
}
