//! Requests that an HTTP/2 upstream has not processed, as it says itself (RFC 9113 section 8.7).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use h2::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::support::frames::{DATA, Frame, HEADERS};
use crate::support::{
    Answer, Caller, Frames, Raw, TestCa, TestProxy, TokenServer, get, in_front_of_http2, reverse, send, until,
};

/// Whole requests of a connection, by stream.
#[derive(Default)]
struct Requests(HashMap<u32, Vec<u8>>);

impl Requests {
    /// The stream and the body of a request that has ended with this frame.
    fn add(&mut self, frame: &Frame) -> Option<(u32, Vec<u8>)> {
        let body = self.0.entry(frame.stream).or_default();
        if frame.kind == DATA {
            body.extend(&frame.payload);
        }
        frame.ends().then(|| (frame.stream, self.0.remove(&frame.stream).unwrap_or_default()))
    }
}

async fn post(proxy: &TestProxy, body: &str) -> Answer {
    let length = body.len();
    send(proxy.address("base"), format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await
}

#[tokio::test]
async fn a_server_that_goes_away_after_twenty_requests_costs_nobody_one() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let processed: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let seen = Arc::clone(&processed);
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, _| {
        let seen = Arc::clone(&seen);
        async move {
            let (mut requests, mut taken, mut last) = (Requests::default(), 0, u32::MAX);
            while let Some(frame) = frames.next().await {
                if frame.stream > last || frame.stream == 0 {
                    continue;
                }
                if frame.kind == HEADERS {
                    taken += 1;
                    if taken == 20 {
                        last = frame.stream;
                        frames.go_away(last, Reason::NO_ERROR).await;
                    }
                }
                if let Some((stream, body)) = requests.add(&frame) {
                    seen.lock().unwrap().push(body);
                    frames.answer(stream).await;
                }
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let calling = (0..16).map(|caller| {
        let proxy = &proxy;
        async move {
            for number in 0..10 {
                assert_eq!(post(proxy, &format!("{caller} {number}")).await.status, 200);
            }
        }
    });
    futures_util::future::join_all(calling).await;
    let mut processed = processed.lock().unwrap().clone();
    processed.sort();
    assert_eq!(processed.len(), 160);
    processed.dedup();
    assert_eq!(processed.len(), 160, "each once");
    assert!(api.connections() >= 8, "{}", api.connections());
}

/// Refuses the first requests, so many of them, and answers all others. Streams do not count across connections.
async fn refusing(ca: &TestCa, most: usize, asked: &Arc<AtomicUsize>) -> Raw {
    let asked = Arc::clone(asked);
    Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, _| {
        let asked = Arc::clone(&asked);
        async move {
            let (mut requests, mut refused) = (Requests::default(), Vec::new());
            while let Some(frame) = frames.next().await {
                if frame.kind == HEADERS && asked.fetch_add(1, Ordering::SeqCst) < most {
                    frames.reset(frame.stream, Reason::REFUSED_STREAM).await;
                    refused.push(frame.stream);
                } else if !refused.contains(&frame.stream)
                    && frame.kind <= HEADERS
                    && let Some((stream, body)) = requests.add(&frame)
                {
                    assert!(body.iter().all(|byte| *byte == b'x') && body.len() % 100_000 <= 4, "{}", body.len());
                    frames.answer(stream).await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_request_is_sent_again_over_another_connection_whatever_its_method() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    for (name, rest) in [
        ("with a token", ""),
        ("without a replay", "retry = { enabled = false }\n"),
        ("without a credential", "-"),
        ("with a limit", "[limits]\nbody_bytes = \"1MiB\"\n"),
    ] {
        for request in [
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nxxxx",
            "PATCH / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n2\r\nxx\r\n0\r\n\r\n",
        ] {
            let asked = Arc::default();
            let api = refusing(&ca, 2, &asked).await;
            let proxy = if rest == "-" {
                let api = format!(
                    "[upstreams.api]\norigin = \"https://api.test\"\nconnect = \"{}\"\n{}",
                    api.address(),
                    ca.trusted()
                );
                TestProxy::start_with(&format!("{}{api}", reverse(&["api"])), 1)
            } else {
                in_front_of_http2(&tokens, &ca, api.address(), rest)
            };
            let answer = send(proxy.address("base"), request).await;
            assert_eq!(answer.status, 200, "{name}: {request}");
            assert_eq!((asked.load(Ordering::SeqCst), api.connections()), (3, 3), "{name}: {request}");
        }
    }
}

#[tokio::test]
async fn a_large_body_that_has_not_begun_is_whole_and_one_that_has_is_the_callers_to_send_again() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    for (early, status) in [(0, 200), (100_000, 503)] {
        let asked = Arc::default();
        let api = refusing(&ca, 1, &asked).await;
        let proxy = in_front_of_http2(&tokens, &ca, api.address(), "retry = { max_body = \"1KiB\" }\n");
        let mut caller = Caller::connect(proxy.address("base")).await;
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n";
        caller.write([head.as_bytes(), &vec![b'x'; early]].concat()).await;
        // Where nothing of the body was taken, the head goes out again at once.
        let times = if early == 0 { 2 } else { 1 };
        until("it was refused", async || asked.load(Ordering::SeqCst) == times).await;
        let _closed = caller.stream.write_all(&vec![b'x'; 200_000 - early]).await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 503 {
            answer.assert_own_failure(503, "destination_unavailable");
            assert_eq!(answer.field("retry-after"), Some("1"));
        }
    }
}

#[tokio::test]
async fn a_server_that_processes_nothing_is_asked_a_bounded_number_of_times() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let asked = Arc::default();
    let api = refusing(&ca, usize::MAX, &asked).await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let answer = post(&proxy, "xxxx").await;
    answer.assert_own_failure(503, "destination_unavailable");
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_server_that_goes_away_still_answers_what_it_has_taken() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let (leaves, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (leaving, answering) = (Arc::clone(&leaves), Arc::clone(&answers));
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, number| {
        let (leaving, answering) = (Arc::clone(&leaving), Arc::clone(&answering));
        async move {
            let Some(first) = frames.next().await else { return };
            if number == 0 {
                frames.go_away(first.stream, Reason::NO_ERROR).await;
                frames.are_read().await;
                leaving.add_permits(1);
                answering.acquire().await.unwrap().forget();
            }
            frames.answer(first.stream).await;
            while frames.next().await.is_some() {}
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    let slow = post(&proxy, "");
    let quick = async {
        leaves.acquire().await.unwrap().forget();
        let answer = get(proxy.address("base"), "localhost", "/").await;
        answers.add_permits(1);
        answer
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!((slow.status, quick.status, api.connections()), (200, 200, 2));
}

#[tokio::test]
async fn a_request_that_was_not_processed_is_no_second_answer_to_a_401() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = Arc::clone(&asked);
    let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, _| {
        let count = Arc::clone(&count);
        async move {
            let (mut requests, mut refused) = (Requests::default(), Vec::new());
            while let Some(frame) = frames.next().await {
                if frame.kind == HEADERS && [0, 2].contains(&count.fetch_add(1, Ordering::SeqCst)) {
                    frames.reset(frame.stream, Reason::REFUSED_STREAM).await;
                    refused.push(frame.stream);
                } else if !refused.contains(&frame.stream)
                    && frame.kind <= HEADERS
                    && let Some((stream, body)) = requests.add(&frame)
                {
                    assert_eq!(body, b"body");
                    // `:status: 401`, as a literal without an index behind the name of the static table.
                    frames.write(HEADERS, 5, stream, b"\x08\x03401").await;
                }
            }
        }
    })
    .await;
    let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
    assert_eq!(post(&proxy, "body").await.status, 401);
    // Not processed, 401, not processed, and the second answer, which is final.
    assert_eq!((asked.load(Ordering::SeqCst), tokens.requests()), (4, 2));
}

#[tokio::test]
async fn a_server_that_wants_http1_gets_it_and_is_not_asked_twice() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    for goes_away in [false, true] {
        let over_http2: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&over_http2);
        let api = Frames::start(ca.server(&["api.test"], &["h2", "http/1.1"]), move |mut frames, _| {
            let count = Arc::clone(&count);
            async move {
                if let Some(stream) = frames.http1() {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        if buffer.windows(4).any(|end| end == b"body") {
                            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                            stream.flush().await.unwrap();
                        }
                    }
                    return;
                }
                while let Some(frame) = frames.next().await {
                    if frame.kind == HEADERS {
                        count.fetch_add(1, Ordering::SeqCst);
                        if goes_away {
                            frames.go_away(0, Reason::HTTP_1_1_REQUIRED).await;
                            return;
                        }
                        frames.reset(frame.stream, Reason::HTTP_1_1_REQUIRED).await;
                    }
                }
            }
        })
        .await;
        let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
        for _ in 0..3 {
            let answer = post(&proxy, "body").await;
            assert_eq!(answer.status, 200, "goes away: {goes_away}: {}", answer.text());
        }
        assert_eq!(over_http2.load(Ordering::SeqCst), 1, "goes away: {goes_away}");
    }
}

#[tokio::test]
async fn a_request_may_find_many_connections_at_their_end_and_not_without_end() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    for (at_end, status, tried) in [(6, 200, 7), (usize::MAX, 503, 16)] {
        let api = Frames::start(ca.server(&["api.test"], &["h2"]), move |mut frames, number| async move {
            let mut requests = Requests::default();
            while let Some(frame) = frames.next().await {
                if number < at_end {
                    frames.go_away(0, Reason::NO_ERROR).await;
                    // Closed with something unread, the connection would be reset, and take the goodbye along.
                    while frames.next().await.is_some() {}
                    return;
                }
                if let Some((stream, body)) = requests.add(&frame) {
                    assert_eq!(body, b"body");
                    frames.answer(stream).await;
                }
            }
        })
        .await;
        let proxy = in_front_of_http2(&tokens, &ca, api.address(), "");
        let answer = post(&proxy, "body").await;
        assert_eq!((answer.status, api.connections()), (status, tried), "{}", answer.text());
    }
}
