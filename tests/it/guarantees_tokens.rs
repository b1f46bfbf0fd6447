//! The guarantees of README.md that are about tokens; each test has the name of its guarantee. `no_leaks` is in a file of its
//! own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{Caller, Reply, TokenServer, World, real_time, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// G5: one token request in flight for each identity.
#[tokio::test]
async fn single_flight() {
    const CALLERS: usize = 1000;
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let tokens = TokenServer::scripted(move |_, number| {
        Reply::ok(&TokenServer::granted(&format!("token-{}", number + 1), 3600)).when_open(&gated)
    })
    .await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let mut callers = JoinSet::new();
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..CALLERS {
        let (address, sent) = (world.proxy.address("api"), Arc::clone(&sent));
        callers.spawn(async move {
            let mut caller = Caller::connect(address).await;
            caller.write(GET).await;
            sent.fetch_add(1, Ordering::SeqCst);
            caller.answer().await.status
        });
    }
    until("every request has been sent", async || sent.load(Ordering::SeqCst) == CALLERS).await;
    until("the token has been asked for", async || world.tokens.requests() > 0).await;
    gate.close();
    assert!(callers.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!((world.tokens.requests(), world.api.requests()), (1, CALLERS));
}

/// G6: no expired token is injected. Tokens live for two seconds here, and requests come without a pause for longer than
/// that: the upstream looks at the age of each token it is shown.
#[tokio::test]
async fn never_expired() {
    const LIFETIME: Duration = Duration::from_secs(2);
    let issued: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (issuing, looking) = (Arc::clone(&issued), Arc::clone(&issued));
    let tokens = TokenServer::scripted(move |_, number| {
        let token = format!("token-{}", number + 1);
        issuing.lock().unwrap().insert(format!("Bearer {token}"), Instant::now());
        Reply::ok(&TokenServer::granted(&token, LIFETIME.as_secs()))
    })
    .await;
    let world = World::with(tokens, "", "", move |asked, _| {
        let begin = looking.lock().unwrap()[asked.field("authorization").unwrap()];
        if begin.elapsed() < LIFETIME { Reply::ok("fine") } else { Reply::new(500, "", "expired") }
    })
    .await;
    let until = Instant::now() + 2 * LIFETIME;
    let mut callers = JoinSet::new();
    for pause in [0, 1, 7, 500, 900] {
        let address = world.proxy.address("api");
        callers.spawn(async move {
            let mut caller = Caller::connect(address).await;
            while Instant::now() < until {
                caller.write(GET).await;
                let answer = caller.answer().await;
                assert_eq!((answer.status, answer.text()), (200, "fine"));
                real_time("tokens grow old", Duration::from_millis(pause)).await;
            }
        });
    }
    callers.join_all().await;
    assert!((2..=10).contains(&world.tokens.requests()), "{} token requests", world.tokens.requests());
}

/// G6, where it has expired before it comes: the upstream is not asked. Only a server that says so itself, by an `expires_in`
/// of zero or less, has its token used once.
#[tokio::test]
async fn never_expired_not_even_on_arrival() {
    // {"alg":"none"} . {"exp":1700000000} . c2ln
    const PAST: &str = r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDB9.c2ln"}"#;
    let tokens = TokenServer::scripted(|_, _| Reply::ok(PAST)).await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let answer = world.get("/").await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.text().contains("clocks"), "{}", answer.text());
    assert_eq!((world.tokens.requests(), world.api.requests()), (2, 0), "asked again, and nothing was sent");

    for said in ["0", "-1", "\"0\""] {
        let body = format!(r#"{{"access_token":"once","expires_in":{said}}}"#);
        let world =
            World::with(TokenServer::scripted(move |_, _| Reply::ok(&body)).await, "", "", |_, _| Reply::ok("fine"))
                .await;
        assert_eq!((world.get("/").await.status, world.get("/").await.status), (200, 200), "{said}");
        assert_eq!(world.tokens.requests(), 2, "{said}: nothing was kept");
    }
}

/// G7: a caller that goes away cancels no other caller's token.
#[tokio::test]
async fn detached_fetch() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let tokens =
        TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted("token-1", 3600)).when_open(&gated)).await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let mut first = world.caller().await;
    first.write(GET).await;
    until("the first caller's token request is in flight", async || world.tokens.requests() == 1).await;
    let mut second = world.caller().await;
    second.write(GET).await;
    drop(first);
    let gone = async || world.proxy.metric("attache_caller_connections").await <= 1.0;
    until("attache has seen that the first caller is gone", gone).await;
    gate.close();
    assert_eq!(second.answer().await.status, 200);
    assert_eq!(world.tokens.requests(), 1);
    assert_eq!(world.api.requests(), 1, "the first caller's own request was not sent");
}

/// G7, with nobody left: the token that was asked for is there for the next one.
#[tokio::test]
async fn a_token_that_nobody_waits_for_any_more_is_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let tokens =
        TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted("token-1", 3600)).when_open(&gated)).await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let mut caller = world.caller().await;
    caller.write(GET).await;
    until("the token request is in flight", async || world.tokens.requests() == 1).await;
    drop(caller);
    let gone = async || world.proxy.metric("attache_caller_connections").await < 1.0;
    until("attache has seen that the caller is gone", gone).await;
    gate.close();
    let ready = async || world.proxy.metric("attache_token_expires_in_seconds{credential=\"api\"}").await > 0.0;
    until("the token is there", ready).await;
    assert_eq!((world.get("/").await.status, world.tokens.requests()), (200, 1));
}

/// G8: token requests are bounded under constant 401, and so are replays.
#[tokio::test]
async fn bounded_401() {
    const CALLERS: usize = 20;
    const EACH: usize = 100;
    let world = World::new(|_, _| Reply::new(401, "www-authenticate: Bearer error=\"invalid_token\"\r\n", "no")).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let address = world.proxy.address("api");
        callers.spawn(async move {
            let mut caller = Caller::connect(address).await;
            for _ in 0..EACH {
                caller.write(GET).await;
                let answer = caller.answer().await;
                assert_eq!((answer.status, answer.text()), (401, "no"));
            }
        });
    }
    callers.join_all().await;
    assert!(world.tokens.requests() <= 3, "{} token requests", world.tokens.requests());
    let counted = world.unauthorized().await;
    assert_eq!(counted.values().sum::<u64>(), (CALLERS * EACH) as u64, "{counted:?}");
    let replays = counted["retried_failed"];
    assert!(replays <= CALLERS as u64, "only what was on its way when the first token was refused: {counted:?}");
    assert_eq!(world.api.requests() as u64, (CALLERS * EACH) as u64 + replays, "one replay at most");
}

/// G9: a body is replayed only if it is whole; otherwise the original 401 comes back.
#[tokio::test]
async fn whole_body() {
    let settings = "retry = { max_body = \"64KiB\" }\n[limits]\nreplay_memory = \"128KiB\"\n";
    for length in [0, 1, 65_535, 65_536, 65_537, 200_000] {
        for chunked in [false, true] {
            let world = World::configured(settings, |asked, number| match asked.field("authorization") {
                Some("Bearer token-1") => Reply::new(401, "x-first: yes\r\n", &format!("no {number}")),
                _ => Reply::ok(&asked.body.len().to_string()),
            })
            .await;
            let body: Vec<u8> = (0..length).map(|at: u32| u8::try_from(at % 251).unwrap()).collect();
            let mut request = b"PUT /x HTTP/1.1\r\nHost: localhost\r\n".to_vec();
            if chunked {
                request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(10_000) {
                    request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    request.extend([chunk, b"\r\n"].concat());
                }
                request.extend(b"0\r\n\r\n");
            } else {
                request.extend(format!("Content-Length: {length}\r\n\r\n").into_bytes());
                request.extend(&body);
            }
            let answer = world.send(request).await;
            let whole = length <= 65_536;
            if whole {
                assert_eq!((answer.status, answer.text()), (200, &*length.to_string()), "chunked: {chunked}");
            } else {
                assert_eq!((answer.status, answer.text()), (401, "no 0"), "{length} bytes, chunked: {chunked}");
                assert_eq!(answer.field("x-first"), Some("yes"));
            }
            let asked = world.api.asked();
            assert_eq!(asked.len(), if whole { 2 } else { 1 });
            assert!(asked.iter().all(|asked| asked.body == body), "{length} bytes, chunked: {chunked}");
        }
    }
}
