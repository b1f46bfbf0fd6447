//! HTTP/2, each side for itself: callers with prior knowledge, upstreams by ALPN.

use std::future::poll_fn;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::support::{
    FORWARD, Http2Server, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, http2_caller,
    in_front_of_http2, read_body, reverse, until_still, upstream,
};

async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

async fn get(send: &mut SendRequest<Bytes>, uri: &str) -> (Response<()>, String) {
    let request = Request::get(uri).body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), String::from_utf8(read_body(&mut body).await.unwrap()).unwrap())
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
}

/// An HTTP/2 server that sends back what it gets, trailers included, while it still gets it.
pub(crate) async fn echo(ca: &TestCa) -> Http2Server {
    Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return };
            body.flow_control().release_capacity(data.len()).unwrap();
            write(&mut stream, data).await;
        }
        match body.trailers().await {
            Ok(Some(trailers)) => stream.send_trailers(trailers).unwrap(),
            _ => stream.send_data(Bytes::new(), true).unwrap(),
        }
    })
    .await
}

#[tokio::test]
async fn callers_may_begin_with_http2_on_any_listener_and_upstreams_speak_http1() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| Reply::new(200, "Connection: x-hop\r\nX-Hop: 1\r\n", asked.target())).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}{}",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let mut forward = http2_caller(proxy.address("proxy")).await;
    let mut base = http2_caller(proxy.address("base")).await;
    let (head, body) = get(&mut forward, &format!("{}/x?y=1", api.origin())).await;
    assert_eq!((head.status().as_u16(), body.as_str()), (200, "/x?y=1"));
    assert!(head.headers().get("x-hop").is_none() && head.headers().get("connection").is_none());
    assert!(head.headers()["via"].to_str().unwrap().starts_with("1.1 attache "));
    let (head, body) = get(&mut base, "http://localhost/z").await;
    assert_eq!((head.status().as_u16(), body.as_str()), (200, "/z"));
    for asked in api.asked() {
        assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
        assert_eq!(asked.field("host"), Some(api.address().to_string().as_str()));
        assert!(asked.field("via").unwrap().starts_with("2.0 attache "), "{asked:?}");
    }
}

#[tokio::test]
async fn a_grpc_status_in_the_trailers_has_the_token_replaced_for_the_next_call() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
        // The second call finds the token dead, in the middle of its answer.
        let dead = request.headers()["authorization"] == "Bearer token-1" && request.uri().path() != "/first";
        let head = Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(Bytes::from_static(b"message"), false).unwrap();
        stream.send_trailers(trailers("grpc-status", if dead { "16" } else { "0" })).unwrap();
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    for (path, status) in [("/first", "0"), ("/second", "16"), ("/third", "0"), ("/fourth", "0")] {
        let (response, _) =
            send.send_request(Request::get(format!("http://localhost{path}")).body(()).unwrap(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        read_body(&mut body).await.unwrap();
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], status, "{path}");
    }
    let shown: Vec<String> =
        api.asked().iter().map(|asked| asked.headers["authorization"].to_str().unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer token-1", "Bearer token-1", "Bearer token-2", "Bearer token-2"]);
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn two_names_for_one_request_are_refused() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!("{FORWARD}{}{}", credential(&tokens), upstream("api", &api.origin())));
    let mut send = http2_caller(proxy.address("proxy")).await;
    for (host, status) in [("evil.test", 400), (api.address().to_string().as_str(), 200)] {
        let request = Request::get(format!("{}/", api.origin())).header("host", host).body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), status, "{host}");
        assert_eq!(response.headers().contains_key("proxy-status"), status == 400);
    }
    assert_eq!(api.requests(), 1);
}

#[tokio::test]
async fn cookies_are_joined_for_http1() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy =
        TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin())));
    let mut send = http2_caller(proxy.address("base")).await;
    let request =
        Request::get("http://localhost/").header("cookie", "a=1").header("cookie", "b=2; c=3").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(api.asked()[0].field("cookie"), Some("a=1; b=2; c=3"));
}

#[tokio::test]
async fn a_length_that_was_said_twice_is_said_once_in_http1() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy =
        TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin())));
    let mut send = http2_caller(proxy.address("base")).await;
    let twice = Request::post("http://localhost/").header("content-length", 3).header("content-length", 3);
    let (response, mut stream) = send.send_request(twice.body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(api.asked()[0].all("content-length"), ["3"]);
}

#[tokio::test]
async fn a_grpc_exchange_passes_with_te_and_trailers_both_ways() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = echo(&ca).await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    let request = Request::post("http://localhost/orders.Orders/List")
        .header("te", "trailers")
        .header("trailer", "grpc-status, authorization")
        .header("http2-settings", "AAMAAABkAAQAAP__")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    write(&mut stream, Bytes::from_static(b"\0\0\0\0\x02hi")).await;
    let mut own = trailers("grpc-status", "0");
    own.insert("authorization", HeaderValue::from_static("Bearer theirs"));
    own.insert("grpc-message", HeaderValue::from_static("done"));
    stream.send_trailers(own).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(read_body(&mut body).await.unwrap(), b"\0\0\0\0\x02hi");
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers["grpc-message"].as_bytes()), (&b"0"[..], &b"done"[..]));
    assert!(!trailers.contains_key("authorization"), "it never reached the upstream");
    let asked = &api.asked()[0];
    assert_eq!(asked.headers["te"], "trailers");
    assert_eq!(asked.headers["trailer"], "grpc-status", "what stays behind is not announced");
    assert!(!asked.headers.contains_key("http2-settings"));
    assert_eq!(asked.headers["authorization"], "Bearer token-1");
    assert_eq!(asked.uri, "https://api.test/orders.Orders/List");
    assert!(!asked.headers.contains_key("host"));
}

#[tokio::test]
async fn an_answer_of_trailers_alone_passes() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), |_, mut respond| async move {
        let response = Response::builder().header("grpc-status", "12").body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    let (head, body) = get(&mut send, "http://localhost/x").await;
    assert_eq!((head.headers()["grpc-status"].as_bytes(), body.as_str()), (&b"12"[..], ""));
}

#[tokio::test]
async fn an_http1_caller_and_an_http2_upstream_understand_each_other() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = echo(&ca).await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let request = "POST http://api.test/x?y HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, TE, X-Hop\r\nX-Hop: 1\r\n\
        TE: deflate, gzip;q=0.3\r\nKeep-Alive: x\r\nProxy-Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\n\r\n";
    let answer = crate::support::send(proxy.address("proxy"), request).await;
    assert_eq!((answer.status, answer.text()), (200, "abc"));
    assert!(answer.field("via").unwrap().starts_with("2.0 attache "));
    let asked = &api.asked()[0];
    assert_eq!(asked.uri, "https://api.test/x?y");
    for name in ["te", "connection", "x-hop", "keep-alive", "proxy-connection", "transfer-encoding", "host"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn many_requests_at_once_share_one_upstream_connection() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let gate = std::sync::Arc::new(tokio::sync::Barrier::new(50));
    let api = Http2Server::start(ca.server(&["api.test"], &["h2", "http/1.1"]), move |request, mut respond| {
        let gate = gate.clone();
        async move {
            // Nobody is answered before all have asked.
            gate.wait().await;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from(request.uri().path().to_owned()), true).unwrap();
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let send = http2_caller(proxy.address("base")).await;
    let asking = (0..50).map(|number| {
        let mut send = send.clone();
        async move {
            let (head, body) = get(&mut send, &format!("http://localhost/{number}")).await;
            assert_eq!((head.status().as_u16(), body), (200, format!("/{number}")));
        }
    });
    futures_util::future::join_all(asking).await;
    assert_eq!(api.connections(), 1);
    assert_eq!(tokens.requests(), 1);
}

#[tokio::test]
async fn both_directions_stream_at_once() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = echo(&ca).await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    let (response, mut stream) =
        send.send_request(Request::post("http://localhost/").body(()).unwrap(), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        write(&mut stream, Bytes::from_static(word.as_bytes())).await;
        let data = body.data().await.unwrap().unwrap();
        assert_eq!(data, word, "the answer comes while the request is still being sent");
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(read_body(&mut body).await.unwrap().is_empty(), "and ends where the request ends");
}

#[tokio::test]
async fn large_bodies_pass_intact_both_ways() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let (h2, h1) = (
        echo(&ca).await,
        Scripted::start(|asked, _| {
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.body.len()).into_bytes();
            answer.extend_from_slice(&asked.body);
            Reply::Raw(answer)
        })
        .await,
    );
    let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), h1.address()).await;
    let large: Bytes = (0..3_000_000_u32).map(|number| (number % 253) as u8).collect();
    for address in [h2.address(), front.address()] {
        let proxy = in_front_of_http2(&tokens, &ca, address, FORWARD);
        let mut send = http2_caller(proxy.address("base")).await;
        let (response, mut stream) =
            send.send_request(Request::put("http://localhost/").body(()).unwrap(), false).unwrap();
        let ((), received) = tokio::join!(
            async {
                write(&mut stream, large.clone()).await;
                stream.send_data(Bytes::new(), true).unwrap();
            },
            async { read_body(&mut response.await.unwrap().into_body()).await.unwrap() }
        );
        assert!(received == large, "{} of {} bytes", received.len(), large.len());
    }
}

#[tokio::test]
async fn what_nobody_reads_holds_the_sender_back() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = taken.clone();
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), move |_, mut respond| {
        let count = count.clone();
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..1000 {
                write(&mut stream, Bytes::from(vec![7; 65_536])).await;
                count.fetch_add(65_536, std::sync::atomic::Ordering::SeqCst);
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    let (response, _) = send.send_request(Request::get("http://localhost/").body(()).unwrap(), true).unwrap();
    let _unread = response.await.unwrap();
    let taken = until_still(|| taken.load(std::sync::atomic::Ordering::SeqCst)).await;
    assert!(taken < 16_000_000, "{taken} bytes of 65 million were taken in for a caller that reads nothing");
}

#[tokio::test]
async fn an_upstream_that_resets_a_stream_is_a_failure_and_one_that_does_so_midway_a_reset() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let half_read = std::sync::Arc::new(tokio::sync::Notify::new());
    let midway = std::sync::Arc::clone(&half_read);
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), move |request, mut respond| {
        let midway = std::sync::Arc::clone(&midway);
        async move {
            if request.uri().path() == "/midway" {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"half"), false).unwrap();
                midway.notified().await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            } else {
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), FORWARD);
    let mut send = http2_caller(proxy.address("base")).await;
    let (head, body) = get(&mut send, "http://localhost/at-once").await;
    assert_eq!(head.status(), 502);
    assert!(head.headers()["proxy-status"].to_str().unwrap().starts_with("attache; error="), "{body}");
    let (response, _) = send.send_request(Request::get("http://localhost/midway").body(()).unwrap(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut ended = body.data().await.unwrap();
    half_read.notify_one();
    while let Ok(data) = ended {
        assert_eq!(data, "half");
        ended = body.data().await.expect("a clean end of half an answer");
    }
    assert!(ended.is_err());
}

#[tokio::test]
async fn an_asterisk_goes_with_options_alone_whatever_the_version() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let proxy = TestProxy::start(&format!(
        "{}{FORWARD}{}{}",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let mut send = http2_caller(proxy.address("base")).await;
    let mut ask = async |method: http::Method| {
        let uri = http::Uri::builder().scheme("http").authority("localhost").path_and_query("*").build().unwrap();
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        send.send_request(request, true).unwrap().0.await.unwrap().status().as_u16()
    };
    assert_eq!((ask(http::Method::GET).await, ask(http::Method::POST).await), (400, 400));
    assert_eq!(api.requests(), 0);
    assert_eq!(ask(http::Method::OPTIONS).await, 200);
    assert_eq!(api.requests(), 1);
}
