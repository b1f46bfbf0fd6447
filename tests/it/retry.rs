//! The section "401" of docs/failures.md, outcome by outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::support::{Answer, Asked, Reply, TestProxy, TokenServer, World, read_head, until};

const PATIENCE: Duration = Duration::from_secs(30);
const INVALID: &str = "www-authenticate: Bearer realm=\"api\", error=\"invalid_token\"\r\n";

/// An upstream that takes these tokens and refuses all others with this challenge.
fn takes(good: &'static [&'static str], challenge: &'static str) -> impl Fn(&Asked, usize) -> Reply + Send + Sync {
    move |asked, number| {
        let token = asked.field("authorization").unwrap_or_default().trim_start_matches("Bearer ");
        if good.contains(&token) {
            return Reply::ok("fine");
        }
        Reply::new(401, &format!("{challenge}x-detail: kept\r\n"), &format!("refused request {number}"))
    }
}

/// The upstream's own refusal, as it said it.
#[track_caller]
fn assert_original(answer: &Answer, body: &str) {
    assert_eq!((answer.status, answer.text()), (401, body));
    assert_eq!(answer.field("x-detail"), Some("kept"));
    assert_eq!(answer.field("proxy-status"), None, "it is the upstream's, not ours");
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_request_sent_once_more() {
    let world = World::new(takes(&["token-2"], INVALID)).await;
    let answer = world.get("/orders?open=1").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    assert_eq!(world.authorizations(), ["Bearer token-1", "Bearer token-2"]);
    let asked = world.api.asked();
    assert_eq!((asked[0].line.as_str(), &asked[0].line), ("GET /orders?open=1 HTTP/1.1", &asked[1].line));
    assert_eq!(world.tokens.requests(), 2);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
    world.get("/orders").await;
    assert_eq!((world.api.requests(), world.tokens.requests()), (3, 2), "the new token stays in use");
}

#[tokio::test]
async fn a_401_without_a_challenge_is_about_the_token() {
    let world = World::new(takes(&["token-2"], "")).await;
    assert_eq!(world.get("/").await.status, 200);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
}

#[tokio::test]
async fn one_bearer_challenge_among_several_is_enough() {
    for challenges in [
        "www-authenticate: Basic realm=\"a, Bearer b\"\r\nwww-authenticate: bearer error=invalid_token\r\n",
        "www-authenticate: Negotiate YWJj==, Basic realm=\"x\", Bearer realm=\"y\"\r\n",
        "www-authenticate: Basic realm=\"x\"\r\nwww-authenticate: , DPoP algs=\"ES256\"\r\n",
    ] {
        let world = World::new(takes(&["token-2"], challenges)).await;
        assert_eq!(world.get("/").await.status, 200, "{challenges}");
        World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
    }
}

#[tokio::test]
async fn the_second_answer_is_final() {
    let world = World::new(takes(&[], INVALID)).await;
    assert_original(&world.get("/").await, "refused request 1");
    assert_eq!(world.authorizations(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(world.tokens.requests(), 2);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_failed", 1)]);
}

#[tokio::test]
async fn a_second_answer_of_any_other_status_is_final_too() {
    let script = |_: &Asked, number| if number == 0 { Reply::new(401, "", "") } else { Reply::new(500, "", "broken") };
    let world = World::new(script).await;
    let answer = world.get("/").await;
    assert_eq!((answer.status, answer.text()), (500, "broken"));
    assert_eq!(world.api.requests(), 2);
}

#[tokio::test]
async fn during_the_hold_a_401_goes_back_at_once_and_asks_for_no_token() {
    let world = World::new(takes(&[], INVALID)).await;
    world.get("/").await;
    for number in 2..22 {
        assert_original(&world.get("/").await, &format!("refused request {number}"));
    }
    assert_eq!(world.tokens.requests(), 2);
    World::assert_unauthorized(&world.unauthorized().await, &[("fresh_token", 20), ("retried_failed", 1)]);
}

#[tokio::test]
async fn a_replacement_that_worked_and_is_revoked_later_is_replaced_at_once() {
    // Two requests to each token, then it is revoked.
    let script = |asked: &Asked, number: usize| {
        let current = format!("Bearer token-{}", [1, 1, 2, 2, 2, 3, 3, 3, 4, 4][number]);
        if asked.field("authorization") == Some(&current) { Reply::ok("fine") } else { Reply::new(401, INVALID, "") }
    };
    let world = World::new(script).await;
    for _ in 0..7 {
        assert_eq!(world.get("/").await.status, 200);
    }
    assert_eq!(world.tokens.requests(), 4);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 3)]);
}

#[tokio::test]
async fn a_scope_that_does_not_suffice_is_not_mended_by_another_token() {
    let challenge = "www-authenticate: Basic realm=\"x\", Bearer error=\"insufficient_scope\", scope=\"admin\"\r\n";
    let world = World::new(takes(&[], challenge)).await;
    let answer = world.get("/").await;
    assert_original(&answer, "refused request 0");
    let challenge = answer.field("www-authenticate").unwrap();
    assert_eq!(challenge, "Basic realm=\"x\", Bearer error=\"insufficient_scope\", scope=\"admin\"");
    assert_eq!((world.api.requests(), world.tokens.requests()), (1, 1));
    World::assert_unauthorized(&world.unauthorized().await, &[("insufficient_scope", 1)]);
}

#[tokio::test]
async fn a_401_of_other_schemes_only_is_not_about_the_token() {
    let world = World::new(takes(&[], "www-authenticate: Negotiate\r\nwww-authenticate: Basic realm=\"x\"\r\n")).await;
    let answer = world.get("/").await;
    assert_original(&answer, "refused request 0");
    assert_eq!(answer.all("www-authenticate"), ["Negotiate", "Basic realm=\"x\""]);
    assert_eq!((world.api.requests(), world.tokens.requests()), (1, 1));
    World::assert_unauthorized(&world.unauthorized().await, &[("other_scheme", 1)]);
}

#[tokio::test]
async fn retrying_can_be_switched_off() {
    let world = World::configured("retry = { enabled = false }", takes(&[], INVALID)).await;
    assert_original(&world.get("/").await, "refused request 0");
    assert_eq!((world.api.requests(), world.tokens.requests()), (1, 1));
    World::assert_unauthorized(&world.unauthorized().await, &[("disabled", 1)]);
}

#[tokio::test]
async fn without_another_token_the_original_401_comes_back() {
    let tokens = TokenServer::scripted(|_, number| match number {
        0 => Reply::ok(&TokenServer::granted("token-1", 3600)),
        _ => Reply::new(400, "content-type: application/json\r\n", r#"{"error":"invalid_client"}"#),
    });
    let world = World::with(tokens.await, "", "", takes(&[], INVALID)).await;
    assert_original(&world.get("/").await, "refused request 0");
    assert_eq!((world.api.requests(), world.tokens.requests()), (1, 2));
    World::assert_unauthorized(&world.unauthorized().await, &[("token_error", 1)]);
}

#[tokio::test]
async fn other_statuses_can_mean_a_refused_token_too() {
    let forbids = |challenge: &'static str| {
        move |asked: &Asked, _: usize| match asked.field("authorization") {
            Some("Bearer token-2") => Reply::ok("fine"),
            _ => Reply::new(403, challenge, "forbidden"),
        }
    };
    let world = World::configured("retry = { on = [401, 403] }", forbids(INVALID)).await;
    assert_eq!(world.get("/").await.status, 200);
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);

    let scope = "www-authenticate: Bearer error=\"insufficient_scope\"\r\n";
    let world = World::configured("retry = { on = [401, 403] }", forbids(scope)).await;
    assert_eq!((world.get("/").await.status, world.tokens.requests()), (403, 1));
    World::assert_unauthorized(&world.unauthorized().await, &[("insufficient_scope", 1)]);

    let world = World::new(forbids(INVALID)).await;
    assert_eq!((world.get("/").await.status, world.tokens.requests()), (403, 1), "by default only 401 does");
    World::assert_unauthorized(&world.unauthorized().await, &[]);
}

#[tokio::test]
async fn a_401_about_the_callers_own_authorization_is_the_callers() {
    let world = World::configured("caller_authorization = \"keep\"", takes(&[], INVALID)).await;
    let answer = world.send("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mine\r\n\r\n").await;
    assert_original(&answer, "refused request 0");
    assert_eq!((world.authorizations(), world.tokens.requests()), (vec!["Bearer mine".to_owned()], 0));
    World::assert_unauthorized(&world.unauthorized().await, &[]);
}

/// Every byte value, many times.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], chunk: usize, trailers: &str) -> Vec<u8> {
    let mut request =
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"
            .to_vec();
    for chunk in body.chunks(chunk) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    request
}

#[tokio::test]
async fn a_replay_sends_the_same_bytes_under_the_same_framing() {
    let body = bytes(300_000);
    let world = World::new(takes(&["token-2"], INVALID)).await;
    assert_eq!(world.send(with_length(&body)).await.status, 200);
    let asked = world.api.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert!(asked.body == body, "the body is not the same");
        assert_eq!(asked.field("content-length"), Some("300000"));
    }
    assert_eq!(world.proxy.metric("attache_replay_buffer_bytes").await, 0.0);
}

#[tokio::test]
async fn a_replay_of_a_chunked_body_brings_its_trailers_along() {
    let body = bytes(100_000);
    let world = World::new(takes(&["token-2"], INVALID)).await;
    assert_eq!(world.send(chunked(&body, 1234, "X-Checksum: abc\r\n")).await.status, 200);
    let asked = world.api.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert!(asked.body == body, "the body is not the same");
        assert_eq!(asked.field("content-length"), None);
        assert_eq!(asked.trailers.len(), 1, "{:?}", asked.trailers);
        assert_eq!((asked.trailers[0].0.to_ascii_lowercase(), &*asked.trailers[0].1), ("x-checksum".into(), "abc"));
    }
}

#[tokio::test]
async fn a_body_is_replayed_up_to_max_body_and_not_a_byte_beyond() {
    for (length, outcome) in [(4096, "retried_ok"), (4097, "body_too_large")] {
        for request in [with_length(&bytes(length)), chunked(&bytes(length), 1000, "")] {
            let world = World::configured("retry = { max_body = \"4KiB\" }", takes(&["token-2"], INVALID)).await;
            let answer = world.send(request).await;
            World::assert_unauthorized(&world.unauthorized().await, &[(outcome, 1)]);
            if outcome == "retried_ok" {
                assert_eq!((answer.status, world.api.requests()), (200, 2));
            } else {
                assert_original(&answer, "refused request 0");
                assert_eq!(world.api.requests(), 1);
            }
            assert!(world.api.asked().iter().all(|asked| asked.body == bytes(length)), "whole each time");
            assert_eq!(world.get("/").await.status, 200, "the refused token is replaced all the same");
            assert_eq!(world.tokens.requests(), 2);
        }
    }
}

#[tokio::test]
async fn all_replay_buffers_together_stay_within_replay_memory() {
    let limits = "[limits]\nreplay_memory = \"4KiB\"\n";
    let world = World::configured(limits, takes(&["token-2"], INVALID)).await;
    assert_original(&world.send(with_length(&bytes(5000))).await, "refused request 0");
    World::assert_unauthorized(&world.unauthorized().await, &[("body_too_large", 1)]);

    // What one request has taken it gives back: many small ones fit one after the other.
    let world = World::configured(limits, |_, _| Reply::new(401, INVALID, "")).await;
    for _ in 0..10 {
        world.send(with_length(&bytes(3000))).await;
    }
    let counted = world.unauthorized().await;
    World::assert_unauthorized(&counted, &[("fresh_token", 9), ("retried_failed", 1)]);
    assert_eq!(world.proxy.metric("attache_replay_buffer_bytes").await, 0.0);
}

#[tokio::test]
async fn two_buffers_share_the_memory_and_the_one_that_finds_no_room_is_not_replayed() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let world = World::configured("[limits]\nreplay_memory = \"4KiB\"\n", move |asked, number| {
        if asked.field("authorization") == Some("Bearer token-1") {
            return Reply::new(401, INVALID, &format!("refused request {number}")).when_open(&gated);
        }
        Reply::ok("fine")
    })
    .await;
    let (mut first, mut second) = (world.caller().await, world.caller().await);
    first.write(with_length(&bytes(3000))).await;
    until("the first request waits at the upstream", async || world.api.requests() == 1).await;
    second.write(with_length(&bytes(3000))).await;
    until("the second one does too", async || world.api.requests() == 2).await;
    gate.close();
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 401));
    World::assert_unauthorized(&world.unauthorized().await, &[("body_too_large", 1), ("retried_ok", 1)]);
}

#[tokio::test]
async fn a_late_401_is_answered_with_the_newer_token_that_is_there() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let world = World::new(move |asked, _| match (asked.target(), asked.field("authorization")) {
        (_, Some("Bearer token-2")) => Reply::ok("fine"),
        ("/late", _) => Reply::new(401, INVALID, "").when_open(&gated),
        _ => Reply::new(401, INVALID, ""),
    })
    .await;
    let mut late = world.caller().await;
    late.write("GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("the late request waits at the upstream", async || world.api.requests() == 1).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.tokens.requests(), 2);
    gate.close();
    assert_eq!(late.answer().await.status, 200);
    assert_eq!(world.tokens.requests(), 2, "the newer token was neither discarded nor asked for again");
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 2)]);
}

#[tokio::test]
async fn the_first_401s_connection_is_used_for_the_replay() {
    let world = World::new(takes(&["token-2"], INVALID)).await;
    assert_eq!(world.get("/").await.status, 200);
    assert!(world.api.connections() <= 2);
    let before = world.api.connections();
    for _ in 0..5 {
        assert_eq!(world.get("/").await.status, 200);
    }
    // Two workers, each with connections of its own.
    assert!(world.api.connections() <= before + 2, "{} after {before}", world.api.connections());
}

/// An upstream that says 401 as soon as it has seen the head of its first request, and reads everything afterwards.
struct Early {
    origin: String,
    /// The number of the connection on which a 401 has been sent, or a whole request has come.
    events: mpsc::Receiver<Event>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// 401 has been sent on the first connection.
    Refused,
    /// The first connection has ended, after so many bytes of body.
    Closed(usize),
    /// So many bytes of body have come on the second connection.
    Replayed(usize),
    /// The whole body has come on the second connection.
    Whole(Vec<u8>),
}

impl Early {
    /// `closes`: the writing side is closed right after the 401.
    async fn start(length: usize, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (events, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            read_head(&mut first).await;
            let mut body = 0;
            // Without a body there is nothing to read that would make attache look at this connection again.
            let rest = if closes {
                "connection: close\r\ncontent-length: 7\r\n\r\nrefused"
            } else {
                "content-length: 0\r\n\r\n"
            };
            let refusal = format!("HTTP/1.1 401 No\r\n{INVALID}{rest}");
            first.write_all(refusal.as_bytes()).await.unwrap();
            if closes {
                first.shutdown().await.unwrap();
            }
            events.send(Event::Refused).await.unwrap();
            let told = events.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = first.read(&mut buffer).await {
                    body += read;
                }
                let _nobody_asks = told.send(Event::Closed(body)).await;
            });
            let (mut second, _) = listener.accept().await.unwrap();
            read_head(&mut second).await;
            let mut body = Vec::new();
            while body.len() < length {
                events.send(Event::Replayed(body.len())).await.unwrap();
                assert!(second.read_buf(&mut body).await.unwrap() > 0, "the replay ended early");
            }
            second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine").await.unwrap();
            events.send(Event::Whole(body)).await.unwrap();
            let _until_it_is_closed = second.read(&mut [0]).await.unwrap();
        });
        Self { origin, events: receiver }
    }

    async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("nothing happened in time").unwrap()
    }
}

async fn a_refusal_before_the_body_is_through(closes: bool) {
    let body = bytes(100_000);
    let mut early = Early::start(body.len(), closes).await;
    let tokens = TokenServer::start().await;
    let proxy = TestProxy::start(&World::toml(&tokens.endpoint(), &early.origin, "", ""));
    let mut caller = crate::support::Caller::connect(proxy.address("api")).await;
    let request = with_length(&body);
    let half = request.len() / 2;
    caller.write(&request[..half]).await;
    assert_eq!(early.next().await, Event::Refused);

    // The replay has begun, and the first connection has ended, though half of the body is still to come.
    let (mut replay_began, mut first_closed) = (false, false);
    while !(replay_began && first_closed) {
        match early.next().await {
            Event::Replayed(_) => replay_began = true,
            Event::Closed(_) => first_closed = true,
            other => panic!("{other:?}"),
        }
    }
    caller.write(&request[half..]).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let whole = loop {
        if let Event::Whole(body) = early.next().await {
            break body;
        }
    };
    assert!(whole == body, "the replayed body is not whole");
    assert_eq!(tokens.requests(), 2);
    assert_eq!(proxy.metric("attache_unauthorized_total{upstream=\"api\",outcome=\"retried_ok\"}").await, 1.0);
    until("the replay buffer is free", async || proxy.metric("attache_replay_buffer_bytes").await == 0.0).await;
}

#[tokio::test]
async fn a_401_that_comes_before_the_whole_body_was_sent_is_answered_with_the_whole_body() {
    a_refusal_before_the_body_is_through(false).await;
}

#[tokio::test]
async fn an_upstream_that_closes_after_its_early_401_gets_the_whole_body_again() {
    a_refusal_before_the_body_is_through(true).await;
}

#[tokio::test]
async fn an_early_401_that_cannot_be_retried_goes_back_and_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 7\r\n\r\nrefused").await.unwrap();
        let mut sink = vec![0; 65536];
        while let Ok(1..) = stream.read(&mut sink).await {}
    });
    let tokens = TokenServer::start().await;
    let settings = "retry = { enabled = false }";
    let proxy = TestProxy::start(&World::toml(&tokens.endpoint(), &origin, "", settings));
    let mut caller = crate::support::Caller::connect(proxy.address("api")).await;
    caller.write(&with_length(&bytes(100_000))[..50_000]).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.text()), (401, "refused"));
    drop(caller);
    timeout(PATIENCE, upstream).await.expect("the upstream connection was left open").unwrap();
}

#[tokio::test]
async fn a_refused_answer_with_an_endless_body_does_not_hold_up_the_replay() {
    let script = |asked: &Asked, _: usize| match asked.field("authorization") {
        Some("Bearer token-2") => Reply::ok("fine"),
        // Announces a megabyte and sends a few bytes of it.
        _ => Reply::Raw(format!("HTTP/1.1 401 No\r\n{INVALID}content-length: 1000000\r\n\r\nrefu").into_bytes()),
    };
    let world = World::new(script).await;
    assert_eq!(world.get("/").await.status, 200);
}
