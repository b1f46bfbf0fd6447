//! Connections on both sides: how many there are, when they are used again, and what becomes of a request when one ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::support::{
    ADMIN, Caller, FORWARD, Http2Server, Raw, Reply, Scripted, TestCa, TestProxy, TokenServer, credential, get,
    http2_caller, read_head, reverse, send, until, upstream,
};

const OPEN: &str = "attache_upstream_connections{upstream=\"api\"}";

fn base(tokens: &TokenServer, origin: &str, rest: &str) -> String {
    format!("{}{ADMIN}{}{}{rest}", reverse(&["api"]), credential(tokens), upstream("api", origin))
}

#[tokio::test]
async fn a_single_connection_is_served_whichever_worker_it_comes_to() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start_with(&base(&tokens, &api.origin(), "[limits]\nconnections = 1\n"), 4);
    let address = proxy.address("base");
    for _ in 0..20 {
        let mut caller = Caller::connect(address).await;
        caller.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert_eq!(caller.answer().await.status, 200);
        assert!(caller.is_closed().await);
    }
}

/// Answers the first request of its first connection, and closes on the second without a word, as a server does whose idle
/// time ended just then. Later connections are fine.
async fn forgetful() -> Raw {
    Raw::start(|mut stream, number| async move {
        let mut answered = 0;
        while !read_head(&mut stream).await.is_empty() && (number > 0 || answered == 0) {
            let body = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            stream.write_all(body.as_bytes()).await.unwrap();
            answered += 1;
        }
    })
    .await
}

#[tokio::test]
async fn a_request_that_met_a_dying_connection_is_sent_again_if_that_changes_nothing() {
    let tokens = TokenServer::start().await;
    for with_credential in [true, false] {
        for (method, status) in [("GET", 200), ("DELETE", 200), ("POST", 502)] {
            let api = forgetful().await;
            let mut config = base(&tokens, &api.origin(), "");
            if !with_credential {
                config = config.replace("credential = \"key\"\n", "");
            }
            let proxy = TestProxy::start_with(&config, 1);
            assert_eq!(get(proxy.address("base"), "localhost", "/").await.text(), "0");
            let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = send(proxy.address("base"), request).await;
            assert_eq!(answer.status, status, "{method}, with a credential: {with_credential}");
        }
    }
}

#[tokio::test]
async fn a_replay_that_met_a_dying_connection_is_sent_again_if_that_changes_nothing() {
    let tokens = TokenServer::start().await;
    for (method, status) in [("GET", 200), ("POST", 502)] {
        // Refuses the first token, and closes its first connection on the replay.
        let api = Raw::start(|mut stream, number| async move {
            read_head(&mut stream).await;
            let answer = if number == 0 { "401 Unauthorized" } else { "200 OK" };
            stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            read_head(&mut stream).await;
        })
        .await;
        let proxy = TestProxy::start_with(&base(&tokens, &api.origin(), ""), 1);
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(send(proxy.address("base"), request).await.status, status, "{method}");
    }
}

#[tokio::test]
async fn a_request_that_met_a_dying_http2_connection_is_sent_again_if_that_changes_nothing() {
    let tokens = TokenServer::start().await;
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let ca = TestCa::new();
        let tls = ca.server(&["api.test"], &["h2"]);
        let api = Raw::start(move |stream, number| {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
            async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut answered = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    if number == 0 && answered == 1 {
                        return;
                    }
                    respond.send_response(Response::new(()), true).unwrap();
                    answered += 1;
                }
            }
        })
        .await;
        let connect = format!("connect = \"{}\"\n{}", api.address(), ca.trusted());
        let proxy = TestProxy::start_with(&base(&tokens, "https://api.test", &connect), 1);
        assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(send(proxy.address("base"), request).await.status, status, "{method}");
    }
}

#[tokio::test]
async fn a_request_to_an_unmatched_origin_survives_a_dying_connection_as_well() {
    let api = forgetful().await;
    let policy = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\n";
    let proxy = TestProxy::start_with(&format!("{FORWARD}{policy}"), 1);
    let host = api.address().to_string();
    for expected in ["0", "1"] {
        let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/")).await;
        assert_eq!((answer.status, answer.text()), (200, expected));
    }
}

#[tokio::test]
async fn an_http2_connection_that_ended_is_replaced() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let tls = ca.server(&["api.test"], &["h2"]);
    let api = Raw::start(move |stream, number| {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from(number.to_string()), true).unwrap();
            if number % 2 == 0 {
                // Politely: GOAWAY, and the end once what is under way has gone.
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
            } else {
                let _until = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
            }
        }
    })
    .await;
    let connect = format!("connect = \"{}\"\n{}", api.address(), ca.trusted());
    let proxy = TestProxy::start_with(&base(&tokens, "https://api.test", &connect), 1);
    for number in 0..5 {
        let answer = get(proxy.address("base"), "localhost", "/").await;
        assert_eq!((answer.status, answer.text()), (200, number.to_string().as_str()));
        if number % 2 == 1 {
            until("it has ended", async || proxy.metric(OPEN).await == 0.0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_has_been_taken_reaches_the_caller() {
    let tokens = TokenServer::start().await;
    let api = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
        stream.write_all(refusal).await.unwrap();
        stream.shutdown().await.unwrap();
        // Lingers, so that the answer is not lost with a reset.
        let mut sink = vec![0; 65_536];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let proxy = TestProxy::start_with(&base(&tokens, &api.origin(), ""), 1);
    for length in [10, 8_000_000] {
        let mut caller = Caller::connect(proxy.address("base")).await;
        caller.write(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.text()), (413, "big"));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_request_along() {
    let tokens = TokenServer::start().await;
    let (gone, mut told) = tokio::sync::mpsc::channel(2);
    let api = Raw::start(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            read_head(&mut stream).await;
            gone.send("asked").await.unwrap();
            let mut rest = Vec::new();
            let _ended = stream.read_to_end(&mut rest).await;
            gone.send("closed").await.unwrap();
        }
    })
    .await;
    let proxy = TestProxy::start(&base(&tokens, &api.origin(), ""));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(told.recv().await, Some("asked"));
    drop(caller);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap(), Some("closed"));
}

#[tokio::test]
async fn no_connection_outlives_the_program() {
    let tokens = TokenServer::start().await;
    let (gone, mut told) = tokio::sync::mpsc::channel(1);
    let api = Raw::start(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            assert!(read_head(&mut stream).await.is_empty());
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let proxy = TestProxy::start(&base(&tokens, &api.origin(), ""));
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    proxy.shutdown().await;
    tokio::time::timeout(Duration::from_secs(10), told.recv()).await.expect("the idle connection stays open").unwrap();
}

#[tokio::test]
async fn a_stream_that_was_given_up_makes_room_for_the_next_request() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let tls = ca.server(&["api.test"], &["h2"]);
    // One stream at a time, and no answer to the first.
    let never = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&never);
    let api = Raw::start(move |stream, _| {
        let (acceptor, counted) = (tokio_rustls::TlsAcceptor::from(tls.clone()), Arc::clone(&counted));
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection =
                h2::server::Builder::new().max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
            let mut unanswered = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/" {
                    respond.send_response(Response::new(()), true).unwrap();
                } else {
                    unanswered.push(respond);
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    let rest = format!("connect = \"{}\"\npool = {{ max = 1 }}\n{}", api.address(), ca.trusted());
    let proxy = TestProxy::start_with(&base(&tokens, "https://api.test", &rest), 1);
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    let mut first = Caller::connect(proxy.address("base")).await;
    first.write("GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("the upstream has it", async || never.load(Ordering::SeqCst) == 1).await;
    let address = proxy.address("base");
    let second = tokio::spawn(async move { get(address, "localhost", "/").await });
    until("the second is there", async || proxy.metric("attache_caller_connections").await >= 2.0).await;
    drop(first);
    assert_eq!(second.await.unwrap().status, 200, "within the connect timeout");
    assert_eq!(api.connections(), 1);
}

#[tokio::test]
async fn an_http2_caller_may_open_a_tunnel_in_a_stream() {
    let echo = Raw::start(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let policy = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n";
    let proxy = TestProxy::start(&format!("{FORWARD}{policy}"));
    let mut send = http2_caller(proxy.address("proxy")).await;
    let request = http::Request::connect(echo.address().to_string()).body(()).unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    stream.send_data(Bytes::from_static(b"through"), false).unwrap();
    let mut body = response.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "through");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = http::Request::connect(gone.to_string()).body(()).unwrap();
    let (response, _) = send.ready().await.unwrap().send_request(request, false).unwrap();
    assert_eq!(response.await.unwrap().status(), 502);
}

#[tokio::test]
async fn two_upstreams_never_share_a_connection_even_to_one_origin() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start_with(
        &format!(
            "{}{}{}path_prefix = \"/one\"\n{}path_prefix = \"/two\"\n",
            reverse(&["one", "two"]),
            credential(&tokens),
            upstream("one", &api.origin()),
            upstream("two", &api.origin()),
        ),
        1,
    );
    for path in ["/one", "/two", "/one", "/two"] {
        assert_eq!(get(proxy.address("base"), "localhost", path).await.status, 200);
    }
    assert_eq!(api.connections(), 2);
}

#[tokio::test]
async fn no_request_in_a_burst_is_lost_to_the_limit_of_streams() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    // Answers when a hundred are there, more than the first settings are known to allow.
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let api = Http2Server::start(ca.server(&["api.test"], &["h2"]), move |_, mut respond| {
        let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
        async move {
            if asked.fetch_add(1, Ordering::SeqCst) == 99 {
                gate.close();
            }
            let _closed = gate.acquire().await;
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let connect = format!("connect = \"{}\"\n{}", api.address(), ca.trusted());
    let proxy = TestProxy::start_with(&base(&tokens, "https://api.test", &connect), 1);
    let asking = (0..300).map(|_| get(proxy.address("base"), "localhost", "/"));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status, 200);
    }
    assert!(api.connections() <= 3, "{}", api.connections());
}
