//! A store that is away, hangs, is full, loses answers or everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, Says, WAIT, millis, seconds, text};
use crate::renewal::Evidence;
use crate::token::TokenOrigin;

#[tokio::test(start_paused = true)]
async fn without_the_store_each_replica_asks_for_itself_and_nobody_waits_longer() {
    let fleet = Fleet::of(5);
    fleet.store.set_away(true);
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() < millis(155));
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (5, 5));
    let shared = fleet.replicas[0].shared();
    assert_eq!((shared.generation, shared.origin), (0, TokenOrigin::Alone));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_came_alone_are_replaced_by_one_when_the_store_is_back() {
    let fleet = Fleet::of(20);
    fleet.store.set_away(true);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    sleep(seconds(60)).await;
    fleet.store.set_away(false);
    sleep(seconds(2)).await;
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (21, 1), "{:?}", fleet.tokens());
    assert!(fleet.replicas.iter().all(|member| member.shared().generation == 1));
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_one_of_its_time_limits() {
    let fleet = Fleet::of(3);
    fleet.store.hang(seconds(30));
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() <= millis(250 + 150 + 5), "{:?}", began.elapsed());
    assert_eq!(fleet.server.asked(), 3);
    // It hangs while a leader is under way, and while it puts.
    let fleet = Fleet::of(1);
    let store = fleet.store.clone();
    let hangs = tokio::spawn(async move {
        sleep(millis(50)).await;
        store.hang(seconds(30));
    });
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() <= millis(155), "the token is there before it is put: {:?}", began.elapsed());
    hangs.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_while_others_wait_costs_them_a_time_limit_and_a_request_of_their_own() {
    let fleet = Fleet::of(3);
    fleet.server.answers(|_| (seconds(1), Says::Token(HOUR)));
    let store = fleet.store.clone();
    tokio::spawn(async move {
        sleep(millis(400)).await;
        store.hang(seconds(30));
    });
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() <= millis(400 + 150 + 250 + 1000 + 10), "{:?}", began.elapsed());
    assert_eq!(fleet.server.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_still_gives_what_is_there() {
    let mut fleet = Fleet::of(2);
    fleet.all_obtain().await;
    fleet.store.set_refusing_writes(true);
    let late = fleet.start();
    assert_eq!(text(&fleet.replicas[late].obtain().await.unwrap()), "token-1");
    let traffic = fleet.traffic();
    sleep(seconds(2 * HOUR)).await;
    traffic.is_content();
    assert!(fleet.server.asked() <= 1 + 3 * 3, "{}", fleet.server.asked());
    fleet.store.set_refusing_writes(false);
    sleep(seconds(HOUR)).await;
    assert_eq!(fleet.tokens().len(), 1, "{:?}", fleet.tokens());
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_fail_no_caller_and_leave_no_lease_behind() {
    let fleet = Fleet::of(5);
    fleet.store.set_losing_answers(true);
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() < millis(200), "{:?}", began.elapsed());
    assert_eq!(fleet.server.asked(), 5);
    fleet.store.set_losing_answers(false);
    sleep(seconds(4)).await;
    let traffic = fleet.traffic();
    sleep(seconds(2 * HOUR)).await;
    assert_eq!(fleet.tokens().len(), 1, "{:?}", fleet.tokens());
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_lost_everything_is_filled_again_at_the_next_refresh() {
    let fleet = Fleet::of(10);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    sleep(seconds(HOUR)).await;
    assert_eq!(fleet.server.asked(), 2);
    fleet.store.wipe();
    sleep(seconds(HOUR)).await;
    assert!((3..=4).contains(&fleet.server.asked()), "{}", fleet.server.asked());
    assert_eq!(fleet.tokens().len(), 1);
    let generation = fleet.replicas[0].shared().generation;
    assert!(generation >= 3, "numbers go on, by what replicas know: {generation}");
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_while_the_store_had_lost_it_is_replaced_for_all() {
    let fleet = Fleet::of(5);
    let refused = fleet.all_obtain().await;
    fleet.store.wipe();
    let newer = fleet
        .all(|member| async move {
            let token = member.obtain().await.unwrap();
            text(&member.renew(&token, Evidence::Strong).await.unwrap())
        })
        .await;
    assert_eq!((newer, fleet.server.asked()), (vec!["token-2".to_owned(); 5], 2));
    assert!(refused.len() == 5);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_a_refresh_is_put_off_and_the_store_asked_first_when_it_is_back() {
    let fleet = Fleet::of(20);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    // Before any refresh is due, and until after all of them are.
    sleep(seconds(2200)).await;
    fleet.store.set_away(true);
    sleep(seconds(600)).await;
    let while_away = fleet.server.asked() - 1;
    fleet.store.set_away(false);
    sleep(seconds(3)).await;
    assert!(while_away <= 12, "{while_away} of 20 in the ten minutes");
    sleep(seconds(HOUR / 2)).await;
    assert_eq!(fleet.tokens().len(), 1, "{:?}", fleet.tokens());
    assert!(fleet.server.asked() <= 1 + while_away + 2, "{} and {while_away}", fleet.server.asked());
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_put_off_is_done_before_the_token_ends_if_the_store_stays_away() {
    let fleet = Fleet::of(20);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    sleep(seconds(2000)).await;
    fleet.store.set_away(true);
    sleep(seconds(3 * HOUR)).await;
    traffic.is_content();
    assert!(traffic.slowest() < millis(155), "nobody waits for a refresh that has time: {:?}", traffic.slowest());
    assert_eq!(fleet.tokens().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn one_whose_token_is_refused_does_not_wait_for_what_has_been_put_off() {
    let fleet = Fleet::of(3);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    sleep(seconds(2200)).await;
    fleet.store.set_away(true);
    sleep(seconds(870)).await;
    let member = &fleet.replicas[1];
    let refused = member.obtain().await.unwrap();
    let began = Instant::now();
    let newer = member.renew(&refused, Evidence::Strong).await.unwrap();
    assert!(text(&newer) != text(&refused) && began.elapsed() < millis(155));
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_flight_that_is_to_be_put_off_gets_what_they_came_for() {
    // The store hangs while the refresh asks it, and a caller comes who will not have it put off.
    for kind in ["refused", "forced"] {
        let fleet = Fleet::of(1);
        let member = Arc::clone(&fleet.replicas[0]);
        let first = member.obtain().await.unwrap();
        fleet.store.hang(seconds(60));
        member.cache().look_for_newer();
        sleep(millis(100)).await;
        let began = Instant::now();
        let newer = match kind {
            "refused" => member.renew(&first, Evidence::Strong).await.unwrap(),
            _ => member.cache().refresh(WAIT).await.unwrap(),
        };
        assert_eq!(text(&newer), "token-2", "{kind}");
        assert!(began.elapsed() <= millis(150 + 250 + 150 + 5), "{kind}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_costs_one_wait() {
    // One that holds a lease for ever, by a replica that never asks.
    let fleet = Fleet::of(2);
    let lease_holder = Arc::new(AtomicUsize::new(0));
    fleet.server.answers({
        let lease_holder = Arc::clone(&lease_holder);
        move |request| {
            lease_holder.fetch_add(1, Ordering::SeqCst);
            if request.by == 0 { (seconds(0), Says::Never) } else { (millis(150), Says::Token(60)) }
        }
    });
    let stuck = Arc::clone(&fleet.replicas[0]);
    tokio::spawn(async move { stuck.obtain().await.map(drop) });
    sleep(millis(10)).await;
    let began = Instant::now();
    fleet.replicas[1].obtain().await.unwrap();
    let first = began.elapsed();
    assert!(first <= seconds(10 + 2 + 3 + 1), "{first:?}");
    assert!(lease_holder.load(Ordering::SeqCst) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_makes_no_requests_where_replicas_are_on_their_own_for_a_while() {
    let fleet = Fleet::of(5);
    // Tokens too large to be shared.
    fleet.server.answers(|request| {
        let token = format!("{}-{}", "large".repeat(3260), request.number);
        (millis(150), Says::This(token, crate::token::Expires::In(seconds(HOUR))))
    });
    fleet.all_obtain().await;
    let asked = fleet.server.asked();
    for member in &fleet.replicas {
        member.cache().refresh(WAIT).await.unwrap();
    }
    assert_eq!(fleet.server.asked(), asked + 5);
    for _ in 0..3 {
        fleet.store.set_away(true);
        sleep(seconds(20)).await;
        fleet.store.set_away(false);
        sleep(seconds(5)).await;
    }
    assert_eq!(fleet.server.asked(), asked + 5);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_costs_no_more_requests_than_none_would() {
    let fleet = Fleet::of(5);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    fleet.store.set_latency(millis(50));
    for _ in 0..2 * 3600 / 7 {
        fleet.store.set_away(true);
        sleep(millis(6_990)).await;
        // Too short for a question.
        fleet.store.set_away(false);
        sleep(millis(10)).await;
    }
    assert!(fleet.server.asked() <= 1 + 5 * 3, "{}", fleet.server.asked());
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_made_up_cost_no_token_request_and_forget_no_failure() {
    let fleet = Fleet::of(5);
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    for number in 0..60 {
        fleet.store.forge_news(1_000_000 + number);
        sleep(seconds(1)).await;
    }
    assert_eq!(fleet.server.asked(), 1);
    traffic.is_content();
    let fleet = Fleet::of(1);
    fleet.server.answers(|_| (millis(10), Says::Fail(super::testing::down())));
    let failed = fleet.replicas[0].obtain().await.unwrap_err();
    assert!(failed.retry_after.is_some());
    let asked = fleet.server.asked();
    fleet.store.forge_news(1_000_000);
    sleep(millis(500)).await;
    fleet.replicas[0].obtain().await.unwrap_err();
    assert_eq!(fleet.server.asked(), asked, "the failure is remembered still");
}
