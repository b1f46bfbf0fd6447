//! The pool of upstream connections: its bounds, and connections whose other end has gone without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::Reason;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, Semaphore};

use crate::support::frames::{HEADERS, PING};
use crate::support::{
    ADMIN, Caller, FORWARD, Frames, Raw, Reply, Scripted, TestCa, TestProxy, TokenServer, credential, get,
    in_front_of_http2, read_head, real_time, reverse, until, upstream,
};

/// Nobody who is served waits this long, even on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// `http://*.api.test`, all of whose hosts lead to one server, on one worker.
fn wildcard(tokens: &TokenServer, address: std::net::SocketAddr, rest: &str) -> TestProxy {
    let upstream = upstream("api", "http://*.api.test");
    let rest = format!("connect = \"{address}\"\nallow_plaintext = true\n{rest}");
    TestProxy::start_with(&format!("{FORWARD}{ADMIN}{}{upstream}{rest}", credential(tokens)), 1)
}

#[tokio::test]
async fn many_hosts_of_a_wildcard_take_no_more_connections_than_one() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    for (pool, most) in [("pool = { max = 5 }\n", 5.0), ("pool = { max = 50, max_idle = 3 }\n", 3.0)] {
        let proxy = wildcard(&tokens, api.address(), pool);
        let begun = Instant::now();
        for number in 0..40 {
            let host = format!("h{number}.api.test");
            assert_eq!(get(proxy.address("proxy"), &host, &format!("http://{host}/")).await.status, 200);
            let open = proxy.metric("attache_upstream_connections{upstream=\"api\"}").await;
            assert!(open >= 1.0 && open <= most, "{open} connections with {pool}");
        }
        assert!(begun.elapsed() < 2 * SOON, "nobody waits for a connection to be idle for too long");
        // The one that was used last is still there.
        let before = api.connections();
        get(proxy.address("proxy"), "h39.api.test", "http://h39.api.test/").await;
        assert_eq!(api.connections(), before);
    }
}

#[tokio::test]
async fn a_host_that_answers_nothing_leaves_connections_to_the_others_of_its_wildcard() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| match asked.field("host") {
        Some("bad.api.test") => Reply::Silence,
        _ => Reply::ok("fine"),
    })
    .await;
    let proxy = wildcard(&tokens, api.address(), "pool = { max = 8 }\n");
    let mut hanging = Vec::new();
    for _ in 0..20 {
        let mut caller = Caller::connect(proxy.address("proxy")).await;
        caller.write("GET http://bad.api.test/ HTTP/1.1\r\nHost: bad.api.test\r\n\r\n").await;
        hanging.push(caller);
    }
    until("the bad host has what it may have", async || api.requests() == 4).await;
    for number in 0..20 {
        let host = format!("good{number}.api.test");
        let begun = Instant::now();
        assert_eq!(get(proxy.address("proxy"), &host, &format!("http://{host}/")).await.status, 200);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
    assert_eq!(hanging.len(), 20);
}

#[tokio::test]
async fn one_silent_connection_ends_the_others_that_were_idle_as_long() {
    let tokens = TokenServer::start().await;
    let all_there = Arc::new(Barrier::new(6));
    // The first six connections answer once, together, and never again.
    let api = Raw::start(move |mut stream, number| {
        let all_there = Arc::clone(&all_there);
        async move {
            let mut answered = 0;
            while !read_head(&mut stream).await.is_empty() {
                if number < 6 && answered > 0 {
                    std::future::pending::<()>().await;
                }
                if number < 6 {
                    all_there.wait().await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                answered += 1;
            }
        }
    })
    .await;
    let timeouts = "timeouts = { response = \"1s\" }\n";
    let config = format!("{}{}{}{timeouts}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
    let proxy = TestProxy::start_with(&config, 1);
    let first = (0..6).map(|_| get(proxy.address("base"), "localhost", "/"));
    assert!(futures_util::future::join_all(first).await.iter().all(|answer| answer.status == 200));
    // So that they have been idle since before it leaves, on a clock of quarters of a second.
    real_time("the coarse clock goes on", Duration::from_millis(600)).await;
    get(proxy.address("base"), "localhost", "/").await.assert_own_failure(504, "http_response_timeout");
    for _ in 0..6 {
        assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    }
    assert_eq!(api.connections(), 7);
}

#[tokio::test]
async fn an_http2_connection_that_owes_an_answer_gets_no_request_until_it_says_something() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let first_connection = Arc::new(AtomicUsize::new(0));
    let (count, back) = (Arc::clone(&first_connection), Arc::new(Semaphore::new(0)));
    let comes_back = Arc::clone(&back);
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, number| {
        let (count, comes_back) = (Arc::clone(&count), Arc::clone(&comes_back));
        async move {
            let mut requests = 0;
            while let Some(frame) = frames.next().await {
                if frame.kind != HEADERS {
                    continue;
                }
                requests += 1;
                if number == 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                    if requests == 2 {
                        // It comes back, and has nothing to say but that it is there.
                        comes_back.acquire().await.unwrap().forget();
                        frames.write(PING, 0, 0, &[7; 8]).await;
                        continue;
                    }
                }
                frames.answer(frame.stream).await;
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "timeouts = { response = \"1s\" }\n");
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    get(proxy.address("base"), "localhost", "/").await.assert_own_failure(504, "http_response_timeout");
    for _ in 0..5 {
        assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    }
    assert_eq!((first_connection.load(Ordering::SeqCst), api.connections()), (2, 2));
    back.add_permits(1);
    until("the first connection is used again", async || {
        assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
        first_connection.load(Ordering::SeqCst) > 2
    })
    .await;
    assert_eq!(api.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_refuses_is_replaced_and_not_tried_until_it_answers() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), |mut frames, number| async move {
        while let Some(frame) = frames.next().await {
            match frame.kind {
                HEADERS if number % 2 == 0 => frames.reset(frame.stream, Reason::REFUSED_STREAM).await,
                HEADERS => frames.answer(frame.stream).await,
                _ => {}
            }
        }
    })
    .await;
    for pool in ["", "pool = { max = 1 }\n"] {
        let api_settings = format!("connect = \"{}\"\n{pool}{}", api.address(), ca.trusted());
        let config = format!(
            "{}{}{}{api_settings}",
            reverse(&["api"]),
            credential(&tokens),
            upstream("api", "https://api.test")
        );
        let proxy = TestProxy::start_with(&config, 1);
        for _ in 0..10 {
            let begun = Instant::now();
            assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
            assert!(begun.elapsed() < SOON);
        }
    }
    assert_eq!(api.connections(), 4);
}
