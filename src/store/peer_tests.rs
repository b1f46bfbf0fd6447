//! What questions come to, by scripted servers.

use std::time::Duration;

use tokio::time::Instant;

use super::real_tests::{echo, hello, settings, until};
use super::scripted_peer::{Peer, Say, connected_to, good, is_echo, refused, start_with};
use super::*;

#[tokio::test]
async fn a_server_that_hangs_costs_one_time_limit_and_then_nothing() {
    let peer = Peer::start(|number, command| match number {
        1 if is_echo(command) => Say::Nothing,
        _ => good(command),
    })
    .await;
    let metrics = StoreMetrics::default();
    let store = start_with(settings(vec![peer.address()]), &metrics);
    assert!(store.wait_connected(Duration::from_secs(30)).await);
    let (began, beside) = (Instant::now(), store.clone());
    let other = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        echo(&beside).await
    });
    assert_eq!(echo(&store).await, Err(StoreError::Timeout));
    assert!(began.elapsed() >= Duration::from_millis(250) && began.elapsed() < Duration::from_secs(5));
    assert_eq!(echo(&store).await, Err(StoreError::Away));
    assert_eq!(other.await.unwrap(), Err(StoreError::Broken), "who waits beside it waits no longer than it");
    let mut made = store.connections();
    made.wait_for(|made| *made == 2).await.unwrap();
    assert_eq!(echo(&store).await, hello());
    let text = exposition(&metrics);
    for line in [
        "attache_cache_operations_total{operation=\"echo\",outcome=\"timeout\"} 1",
        "attache_cache_operations_total{operation=\"echo\",outcome=\"unavailable\"} 2",
        "attache_cache_operations_total{operation=\"echo\",outcome=\"ok\"} 1",
        "attache_cache_operation_duration_seconds_count{operation=\"echo\"} 3",
        "attache_cache_reconnects_total{cause=\"timeout\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let late = Duration::from_millis(400);
    let peer = Peer::start(move |number, command| match number {
        1 if is_echo(command) => Say::Late(late, "$4\r\nlate\r\n"),
        _ => good(command),
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(echo(&store).await, Err(StoreError::Timeout));
    let mut made = store.connections();
    made.wait_for(|made| *made == 2).await.unwrap();
    let until_then = Instant::now() + 2 * late;
    while Instant::now() < until_then {
        assert_eq!(echo(&store).await, hello());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_script_that_the_server_does_not_know_is_said_whole_and_once() {
    let peer = Peer::start(|_, command| match command {
        command if command.starts_with("EVALSHA") => Say::Bytes("-NOSCRIPT No matching script.\r\n"),
        command => good(command),
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(echo(&store).await, hello());
    let expected = ["EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 1", "EVAL return ARGV[1] 1"];
    let asked: Vec<String> = peer.asked().into_iter().filter(|command| is_echo(command)).collect();
    for (asked, expected) in asked.iter().zip(expected) {
        assert_eq!(*asked, format!("{expected} attache:1:{{attache}}:x hello"));
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn refusals_of_one_question_leave_the_connection_as_it_is() {
    let peer = Peer::start(|_, command| {
        static TURN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        if !is_echo(command) {
            return good(command);
        }
        match TURN.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Say::Bytes("-NOPERM this user has no permissions to run the 'evalsha' command\r\n"),
            1 => Say::Bytes("-BUSY Redis is busy running a script.\r\n"),
            2 => Say::Bytes("-ASK 866 127.0.0.1:1\r\n"),
            3 => Say::Bytes("-TRYAGAIN Multiple keys request during rehashing of slot\r\n"),
            4 => Say::Bytes("-ERR user_script:1: what was sent was 'hunter2'\r\n"),
            5 => Say::Bytes("%1\r\n+a\r\n+b\r\n"),
            _ => good(command),
        }
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(echo(&store).await, refused(Refusal::NoPermission));
    for word in ["BUSY", "ASK", "TRYAGAIN"] {
        assert_eq!(echo(&store).await, refused(Refusal::NotReady(word.into())));
    }
    assert_eq!(echo(&store).await, refused(Refusal::Other("ERR".into())));
    assert_eq!(store.status().last_error.as_deref(), Some("it refuses: ERR"));
    assert_eq!(echo(&store).await, Err(StoreError::Unexpected));
    assert_eq!(echo(&store).await, hello());
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_the_right_one_any_more_is_left() {
    for (line, error) in [
        ("-READONLY You can't write against a read only replica.\r\n", Refusal::ReadOnly),
        ("-LOADING Redis is loading the dataset in memory\r\n", Refusal::NotReady("LOADING".into())),
        ("-MASTERDOWN Link with MASTER is down\r\n", Refusal::NotReady("MASTERDOWN".into())),
        ("-NOAUTH Authentication required.\r\n", Refusal::Unauthenticated),
        ("-MOVED nonsense\r\n", Refusal::NotReady("MOVED".into())),
    ] {
        let peer = Peer::start(move |number, command| match number {
            1 if is_echo(command) => Say::Bytes(line),
            _ => good(command),
        })
        .await;
        let store = connected_to(&peer).await;
        assert_eq!(echo(&store).await, refused(error));
        assert_eq!(echo(&store).await, Err(StoreError::Away));
        let mut made = store.connections();
        made.wait_for(|made| *made == 2).await.unwrap();
        assert_eq!(echo(&store).await, hello());
    }
}

#[tokio::test]
async fn a_refusal_that_may_have_any_reason_has_the_server_asked_whether_it_is_still_the_primary() {
    let peer = Peer::start(|number, command| match number {
        1 if is_echo(command) => Say::Bytes("-ERR Error running script (call to f_1): @user_script:1: -READONLY\r\n"),
        1 if command == "ROLE" => Say::Bytes("*1\r\n$5\r\nslave\r\n"),
        _ => good(command),
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(echo(&store).await, refused(Refusal::Other("ERR".into())));
    let mut made = store.connections();
    made.wait_for(|made| *made == 2).await.unwrap();
    assert_eq!(store.status().last_error.as_deref(), Some("it is no primary any more"));
    // One that still is is kept, and not asked at every turn.
    let peer = Peer::start(|_, command| if is_echo(command) { Say::Bytes("-ERR no\r\n") } else { good(command) }).await;
    let store = connected_to(&peer).await;
    for _ in 0..5 {
        assert_eq!(echo(&store).await, refused(Refusal::Other("ERR".into())));
    }
    until("it is asked", || peer.count("ROLE") == 1).await;
    assert_eq!(echo(&store).await, refused(Refusal::Other("ERR".into())));
    assert_eq!((peer.connections(), peer.count("ROLE")), (1, 1));
}

/// Metrics, as they are scraped.
fn exposition(metrics: &StoreMetrics) -> String {
    let mut registry = prometheus_client::registry::Registry::with_prefix("attache");
    crate::telemetry::family::register(&mut registry, metrics.families());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}
