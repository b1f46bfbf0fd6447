//! HTTP/2 upstreams that do not do what one hopes: what their callers see of it, and that others see nothing of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::frames::{CONTINUATION, HEADERS};
use crate::support::{
    Caller, Frames, Http2Server, Reply, Scripted, TestCa, TestProxy, TokenServer, World, http2_caller,
    in_front_of_http2, read_body, real_time, until_still,
};

/// Nobody who is served waits this long, even on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn request(path: &str) -> Request<()> {
    Request::get(format!("http://localhost{path}")).body(()).unwrap()
}

#[tokio::test]
async fn an_answer_that_is_reset_without_an_error_is_not_a_whole_one() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
        let head = match request.uri().path() {
            "/length" => Response::builder().header("content-length", "100"),
            _ => Response::builder(),
        };
        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), request.uri().path() == "/whole").unwrap();
        real_time("the caller reads it: a reset takes back what is unread", Duration::from_millis(100)).await;
        stream.send_reset(Reason::NO_ERROR);
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let mut send = http2_caller(proxy.address("base")).await;
    for (path, whole) in [("/whole", true), ("/length", false), ("/none", false)] {
        let (response, _) = send.send_request(request(path), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(read_body(&mut body).await.is_ok(), whole, "{path} over HTTP/2");
        let mut caller = Caller::connect(proxy.address("base")).await;
        caller.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let answer = caller.try_answer().await;
        assert_eq!(answer.is_some(), whole, "{path} over HTTP/1.1");
    }
}

#[tokio::test]
async fn an_answer_that_ends_before_its_length_is_not_a_whole_one() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
        let head = Response::builder().header("content-length", "100").body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        if request.uri().path() == "/trailers" {
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            let sum = [(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))];
            stream.send_trailers(HeaderMap::from_iter(sum)).unwrap();
        } else {
            stream.send_data(Bytes::from_static(b"half"), true).unwrap();
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let mut send = http2_caller(proxy.address("base")).await;
    for path in ["/data", "/trailers"] {
        let (response, _) = send.send_request(request(path), true).unwrap();
        if let Ok(response) = response.await {
            assert!(response.status() == 502 || read_body(&mut response.into_body()).await.is_err(), "{path}");
        }
    }
}

#[tokio::test]
async fn slow_readers_take_nothing_from_others_on_the_same_upstream_connection() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), move |request, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            let endless = request.uri().path() == "/endless";
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            if !endless {
                stream.send_data(Bytes::from(vec![7; 100_000]), true).unwrap();
                return;
            }
            loop {
                stream.reserve_capacity(16_384);
                let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                counted.fetch_add(room, Ordering::SeqCst);
                if stream.send_data(Bytes::from(vec![7; room]), false).is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let mut slow = http2_caller(proxy.address("base")).await;
    let mut unread = Vec::new();
    for _ in 0..12 {
        let (response, _) = slow.send_request(request("/endless"), true).unwrap();
        unread.push(response.await.unwrap());
    }
    // All that is taken in of them has come.
    until_still(|| sent.load(Ordering::SeqCst)).await;
    for _ in 0..8 {
        let mut good = Caller::connect(proxy.address("base")).await;
        good.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = timeout(SOON, good.answer()).await.expect("it waits for those who read nothing");
        assert_eq!((answer.status, answer.body.len()), (200, 100_000));
    }
    assert_eq!((api.connections(), unread.len()), (1, 12));
}

#[tokio::test]
async fn an_answer_that_breaks_http2_is_asked_for_once() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, _| {
        let count = Arc::clone(&count);
        async move {
            let mut requests = 0;
            while let Some(frame) = frames.next().await {
                if frame.kind != HEADERS {
                    continue;
                }
                requests += 1;
                if requests == 1 {
                    frames.answer(frame.stream).await;
                } else if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    // A name in capitals, behind the status.
                    frames.write(HEADERS, 5, frame.stream, b"\x88\x00\x03X-A\x011").await;
                } else {
                    // Two fields of 40,000 bytes, in frames as large as they may be.
                    let field = [&b"\x00\x01a\x7f\xc1\xb7\x02"[..], &vec![b'x'; 40_000]].concat();
                    let head = [&b"\x88"[..], &field, &field].concat();
                    let mut pieces = head.chunks(16_000).peekable();
                    frames.write(HEADERS, 1, frame.stream, pieces.next().unwrap()).await;
                    while let Some(piece) = pieces.next() {
                        let last = if pieces.peek().is_none() { 4 } else { 0 };
                        frames.write(CONTINUATION, last, frame.stream, piece).await;
                    }
                }
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    for number in 1..=4 {
        // On a connection that has been used before: a request that met its end would be sent again.
        let first = crate::support::get(proxy.address("base"), "localhost", "/").await;
        if first.status == 200 {
            let answer = crate::support::get(proxy.address("base"), "localhost", "/").await;
            answer.assert_own_failure(502, "http_protocol_error");
        } else {
            first.assert_own_failure(502, "http_protocol_error");
        }
        assert_eq!(asked.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn a_token_response_that_is_reset_without_an_error_is_not_a_whole_one() {
    let ca = TestCa::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let tokens = Http2Server::start(ca.server(&["localhost"], &["h2"]), move |_, mut respond| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let answer = TokenServer::granted(if first { "cut" } else { "whole" }, 3600);
            stream.send_data(answer.into(), !first).unwrap();
            if first {
                real_time("attache reads it: a reset takes back what is unread", Duration::from_millis(100)).await;
                stream.send_reset(Reason::NO_ERROR);
            }
        }
    })
    .await;
    let api = Scripted::start(|asked, _| Reply::ok(asked.field("authorization").unwrap())).await;
    let endpoint = format!("https://localhost:{}/token", tokens.address().port());
    let trusted = format!("ca_file = {:?}", ca.path().display().to_string());
    let proxy = TestProxy::start(&World::toml(&endpoint, &api.origin(), &trusted, ""));
    let answer = crate::support::get(proxy.address("api"), "localhost", "/").await;
    assert_eq!(answer.text(), "Bearer whole");
}

#[tokio::test]
async fn hints_of_an_http2_upstream_pass_before_its_answer() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let heard = Arc::new(Notify::new());
    let hint_heard = Arc::clone(&heard);
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), move |_, mut respond| {
        let hint_heard = Arc::clone(&hint_heard);
        async move {
            let hint = Response::builder().status(103).header("link", "</a.css>; rel=preload").body(()).unwrap();
            respond.send_informational(hint).unwrap();
            hint_heard.notified().await;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"fine"), true).unwrap();
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let mut send = http2_caller(proxy.address("base")).await;
    let (mut response, _) = send.send_request(request("/"), true).unwrap();
    let hint = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(
        (hint.status().as_u16(), &hint.headers()["link"]),
        (103, &HeaderValue::from_static("</a.css>; rel=preload"))
    );
    heard.notify_one();
    assert_eq!(read_body(&mut response.await.unwrap().into_body()).await.unwrap(), b"fine");
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(caller.answer_head().await.status, 103);
    heard.notify_one();
    assert_eq!(caller.answer().await.text(), "fine");
}

#[tokio::test]
async fn a_101_over_http2_is_no_answer_and_nobody_waits_for_one() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), |mut frames, _| async move {
        while let Some(frame) = frames.next().await {
            if frame.kind == HEADERS {
                // `:status: 101`, without the end of the stream.
                frames.write(HEADERS, 4, frame.stream, b"\x08\x03101").await;
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let answer = timeout(SOON, crate::support::get(proxy.address("base"), "localhost", "/")).await.unwrap();
    answer.assert_own_failure(502, "http_protocol_error");
}
