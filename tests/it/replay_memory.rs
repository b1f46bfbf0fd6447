//! The memory of all replays together: who has it, and who gives it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::support::{
    Caller, Raw, Reply, TestProxy, TokenServer, World, credential, read_head, real_time, reverse, until, upstream,
};

const MEMORY: &str = "attache_replay_buffer_bytes";

/// `POST /` of this length, with what is there of its body.
fn post(length: usize, body: &[u8]) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn uploads_that_stand_still_take_the_replay_from_nobody() {
    let tokens = TokenServer::start().await;
    let api = crate::support::Scripted::start(|asked, _| match asked.field("authorization") {
        Some("Bearer token-1") => Reply::new(401, "", "no"),
        _ => Reply::ok(&asked.body.len().to_string()),
    })
    .await;
    let limits = "[limits]\nreplay_memory = \"64KiB\"\n";
    let proxy = TestProxy::start_with(&World::toml(&tokens.endpoint(), &api.origin(), "", limits), 1);
    let world = World { tokens, api, proxy };
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let mut caller = world.caller().await;
        caller.write(post(4000, &[b'x'; 3000])).await;
        stalled.push(caller);
    }
    until("they have taken all", async || world.proxy.metric(MEMORY).await > 60_000.0).await;
    // As long as an upload may take before it gives way, and the clock's grain.
    real_time("uploads give way that take longer", Duration::from_secs(2)).await;
    let begun = Instant::now();
    let answer = world.send(post(8000, &[b'x'; 8000])).await;
    assert_eq!((answer.status, answer.text()), (200, "8000"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
    // Those that gave way go on, and each body arrives whole; only that their 401 is not replayed.
    for caller in &mut stalled {
        caller.write([b'x'; 1000]).await;
        let answer = caller.answer().await;
        assert!(matches!((answer.status, answer.text()), (200, "4000") | (401, "no")), "{answer:?}");
    }
    assert!(world.api.asked().iter().all(|asked| [4000, 8000].contains(&asked.body.len())));
    assert_eq!(world.proxy.metric(MEMORY).await, 0.0);
}

#[tokio::test]
async fn what_has_been_answered_is_kept_no_longer() {
    let tokens = TokenServer::start().await;
    let (gate, taken) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, counted) = (Arc::clone(&gate), Arc::clone(&taken));
    let api = Raw::start(move |mut stream, _| {
        let (opened, counted) = (Arc::clone(&opened), Arc::clone(&counted));
        async move {
            read_head(&mut stream).await;
            opened.acquire().await.unwrap().forget();
            // The answer begins, and goes on for as long as the request does.
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            while stream.read_u8().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let config = format!(
        "{}{}{}{}",
        reverse(&["api"]),
        crate::support::ADMIN,
        credential(&tokens),
        upstream("api", &api.origin())
    );
    let proxy = TestProxy::start_with(&config, 1);
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(post(4000, &[b'x'; 3000])).await;
    until("it is kept", async || proxy.metric(MEMORY).await >= 3000.0).await;
    gate.add_permits(1);
    until("it is kept no longer", async || proxy.metric(MEMORY).await == 0.0).await;
    caller.write([b'x'; 500]).await;
    until("the rest has passed", async || taken.load(Ordering::SeqCst) == 3500).await;
    assert_eq!(proxy.metric(MEMORY).await, 0.0);
}
