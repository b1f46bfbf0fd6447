//! What the fleet makes of an authorization server that gives no token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, Says, down, millis, seconds, text};
use crate::token::{About, TokenError, TokenErrorKind};

#[tokio::test(start_paused = true)]
async fn what_two_replicas_have_seen_counts_for_all() {
    let fleet = Fleet::of(20);
    fleet.server.answers(|_| (millis(50), Says::Fail(down())));
    let began = Instant::now();
    let traffic = fleet.traffic();
    sleep(millis(900)).await;
    // One replica and its quick retry, and another.
    assert!((2..=4).contains(&fleet.server.asked()), "{}", fleet.server.asked());
    sleep(seconds(120)).await;
    // 4, 8, 16, 32 and 60 s: one request each, perhaps with another before it is known again.
    let asked = fleet.server.asked_since(began);
    assert!(asked <= 4 + 2 * 5, "{asked} requests in two minutes");
    fleet.server.answers(|_| (millis(50), Says::Token(HOUR)));
    sleep(seconds(70)).await;
    let failed = traffic.failed();
    assert!(failed > 0 && fleet.tokens().len() == 1, "{:?}", fleet.tokens());
    sleep(seconds(10)).await;
    assert_eq!((traffic.failed(), fleet.server.asked_since(began) - asked <= 2), (failed, true));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_counts_for_all_at_once_and_for_as_long_as_the_server_says() {
    let fleet = Fleet::of(20);
    fleet.server.answers(|_| {
        let limited = TokenError::new(TokenErrorKind::Transient, "too many").about(About::Rate);
        (millis(50), Says::Fail(limited.with_retry_after(Some(seconds(30)))))
    });
    let traffic = fleet.traffic();
    sleep(seconds(29)).await;
    assert_eq!(fleet.server.asked(), 1);
    let told = fleet.replicas[7].obtain().await.unwrap_err();
    assert_eq!((told.about, told.message.as_str()), (Some(About::Rate), "too many"));
    assert!(told.retry_after.unwrap() <= seconds(5), "{told:?}");
    fleet.server.answers(|_| (millis(50), Says::Token(HOUR)));
    sleep(seconds(6)).await;
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (2, 1));
    drop(traffic);
}

#[tokio::test(start_paused = true)]
async fn what_is_a_replicas_own_affair_stops_no_other() {
    let fleet = Fleet::of(5);
    fleet.server.answers(|request| match request.by {
        0 => (millis(1), Says::Fail(TokenError::new(TokenErrorKind::Configuration, "the secret cannot be read"))),
        _ => (millis(150), Says::Token(HOUR)),
    });
    let first = Arc::clone(&fleet.replicas[0]);
    assert_eq!(first.obtain().await.unwrap_err().kind, TokenErrorKind::Configuration);
    let began = Instant::now();
    for member in &fleet.replicas[1..] {
        member.obtain().await.unwrap();
    }
    assert!(began.elapsed() < millis(200), "{:?}", began.elapsed());
    assert_eq!(fleet.server.asked(), 2);
    sleep(millis(100)).await;
    assert_eq!(text(&first.obtain().await.unwrap()), "token-2", "in the back-off of its own failure");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_reach_the_server_lives_on_the_tokens_of_others() {
    let fleet = Fleet::of(5);
    fleet.server.answers(|request| match request.by {
        0 => (seconds(5), Says::Fail(TokenError::new(TokenErrorKind::Transient, "no route"))),
        _ => (millis(150), Says::Token(HOUR)),
    });
    let cut_off = Arc::clone(&fleet.replicas[0]);
    let failing = tokio::spawn({
        let cut_off = Arc::clone(&cut_off);
        async move { cut_off.obtain().await.map(|token| text(&token)) }
    });
    sleep(millis(10)).await;
    let others = fleet.replicas[1].obtain().await.unwrap();
    assert_eq!(text(&others), text(&cut_off.obtain().await.unwrap()), "when it has failed, there is another's");
    failing.await.unwrap().unwrap();
    let traffic = fleet.traffic();
    sleep(seconds(6 * HOUR)).await;
    traffic.is_content();
    assert_eq!(fleet.tokens().len(), 1);
    let by_others = fleet.server.requests().iter().filter(|request| request.by != 0).count();
    assert!((8..=10).contains(&by_others), "{by_others}");
}

#[tokio::test(start_paused = true)]
async fn in_its_back_off_a_replica_takes_the_token_that_another_has_got() {
    let fleet = Fleet::of(2);
    fleet.server.answers(|request| match request.by {
        0 => (millis(10), Says::Fail(TokenError::new(TokenErrorKind::Permanent, "invalid_client"))),
        _ => (millis(150), Says::Token(HOUR)),
    });
    let (old, new) = (&fleet.replicas[0], &fleet.replicas[1]);
    let error = old.obtain().await.unwrap_err();
    assert!(error.retry_after.unwrap() > seconds(20), "{error:?}");
    new.obtain().await.unwrap();
    sleep(millis(20)).await;
    assert_eq!(text(&old.obtain().await.unwrap()), "token-2");
    assert_eq!(fleet.server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_the_store_keeps_for_decades_ends_when_the_server_said() {
    let limited = TokenError::new(TokenErrorKind::Transient, "too many").about(About::Rate);
    let fleet = Fleet::of(10);
    fleet.server.answers(move |_| (millis(50), Says::Fail(limited.clone().with_retry_after(Some(seconds(30))))));
    let traffic = fleet.traffic();
    sleep(seconds(5)).await;
    // As if its clock had been set back, or its `xu` been written.
    fleet.set_back.store(50 * 365 * 24 * HOUR, Ordering::SeqCst);
    fleet.server.answers(|_| (millis(50), Says::Token(HOUR)));
    sleep(seconds(15)).await;
    assert_eq!(fleet.server.asked(), 1, "it counts for as long as the server said");
    sleep(seconds(50)).await;
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (2, 1));
    assert!(fleet.tokens().iter().all(Option::is_some));
    drop(traffic);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_in_the_hour_that_the_server_has_all_wait_waits_too() {
    let mut fleet = Fleet::of(2);
    fleet.server.answers(|_| {
        let away = TokenError::new(TokenErrorKind::Transient, "closed for an hour");
        (millis(50), Says::Fail(away.with_retry_after(Some(seconds(HOUR)))))
    });
    fleet.replicas[0].obtain().await.unwrap_err();
    for minutes in [16, 30, 59] {
        sleep(seconds(60 * minutes).saturating_sub(fleet.server.requests()[0].at.elapsed())).await;
        let late = fleet.start();
        let told = fleet.replicas[late].obtain().await.unwrap_err();
        assert_eq!((told.message.as_str(), fleet.server.asked()), ("closed for an hour", 1), "{minutes}");
        let left = seconds(HOUR - 60 * minutes);
        assert!(told.retry_after.unwrap() <= left.mul_f64(1.1) + seconds(1), "{minutes}: {told:?}");
    }
    fleet.server.answers(|_| (millis(50), Says::Token(HOUR)));
    sleep(seconds(62)).await;
    let late = fleet.start();
    fleet.replicas[late].obtain().await.unwrap();
    assert_eq!(fleet.server.asked(), 2);
}
