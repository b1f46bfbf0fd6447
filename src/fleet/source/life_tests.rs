//! How long what is shared may be used, and what is not shared.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, Says, WAIT, millis, seconds, text};
use crate::token::Expires;

#[tokio::test(start_paused = true)]
async fn tokens_that_the_server_gives_no_life_are_not_shared_and_each_replica_asks() {
    let fleet = Fleet::of(50);
    fleet.server.answers(|_| (millis(150), Says::Token(0)));
    let began = Instant::now();
    let tokens = fleet.all_obtain().await;
    let took = began.elapsed();
    let different: HashSet<String> = tokens.iter().map(text).collect();
    assert_eq!((different.len(), fleet.server.asked()), (50, 50));
    assert!(took < millis(400), "the first one tells the others: {took:?}");
    // From here on nobody waits for another.
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() < millis(160) && fleet.server.asked() == 100, "{:?}", began.elapsed());
    // What each asks for itself, it asks for a while.
    fleet.server.answers(|_| (millis(150), Says::Token(HOUR)));
    sleep(seconds(601)).await;
    fleet.all_obtain().await;
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (101, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_too_large_is_not_shared_and_each_replica_asks() {
    let fleet = Fleet::of(3);
    let began = Instant::now();
    fleet.server.answers(|request| {
        let token = format!("{}-{}", "large".repeat(3260), request.number);
        (millis(150), Says::This(token, Expires::In(seconds(HOUR))))
    });
    fleet.all_obtain().await;
    assert!(began.elapsed() < millis(400), "{:?}", began.elapsed());
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (3, 3));
    let traffic = fleet.traffic();
    sleep(seconds(2 * HOUR)).await;
    traffic.is_content();
    assert!((9..=12).contains(&fleet.server.asked()), "{}", fleet.server.asked());
}

#[tokio::test(start_paused = true)]
async fn no_token_is_used_after_its_end_however_far_the_clocks_are_apart() {
    for life in [60, 300, HOUR] {
        let fleet = Fleet::of(7);
        fleet.server.answers(move |_| (millis(150), Says::Token(life)));
        for (member, by) in fleet.replicas.iter().zip([0, 600, -600, 29, -29, 300, -300]) {
            member.ahead_by.store(by, Ordering::SeqCst);
        }
        let traffic = fleet.traffic();
        sleep(seconds(3 * life)).await;
        // The callers look at the server's own time for each token that they use.
        traffic.is_content();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_by_its_own_claim_is_used_no_longer_by_those_who_adopt_it() {
    let fleet = Fleet::of(5);
    let wall = crate::token::Clock::scripted().0.now().wall;
    fleet.server.answers(move |request| {
        let end = Expires::At(wall + seconds(120 * u64::try_from(request.number).unwrap()));
        (millis(150), Says::This(format!("token-{}", request.number), end))
    });
    let traffic = fleet.traffic();
    sleep(seconds(600)).await;
    traffic.is_content();
    assert_eq!(fleet.tokens().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_returns_its_token_until_it_ends_is_not_asked_by_all_for_nothing() {
    let fleet = Fleet::of(20);
    fleet.server.answers(|_| (millis(150), Says::Same(600)));
    let traffic = fleet.traffic();
    sleep(seconds(590)).await;
    assert!(fleet.server.asked() <= 3, "{} requests in the first life", fleet.server.asked());
    sleep(seconds(1800)).await;
    traffic.is_content();
    assert!(fleet.server.asked() <= 4 * 5, "{} requests in four lives", fleet.server.asked());
    assert_eq!(fleet.tokens().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_that_brings_the_old_token_again_ends_for_all() {
    let fleet = Fleet::of(3);
    fleet.server.answers(|_| (millis(150), Says::Same(600)));
    fleet.all_obtain().await;
    let again = fleet.all(|member| async move { member.cache().refresh(WAIT).await.map(|token| text(&token)) }).await;
    assert!(again.iter().all(|token| token.as_deref() == Ok("token-of-life-0")), "{again:?}");
    assert!(fleet.server.asked() <= 4, "{}", fleet.server.asked());
}
