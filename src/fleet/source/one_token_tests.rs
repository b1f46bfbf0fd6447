//! As long as all is well: one request for all.

use std::collections::HashSet;

use tokio::time::{Instant, sleep, sleep_until};

use super::testing::{Fleet, HOUR, Says, WAIT, millis, seconds, text};
use crate::fleet::SimulatedSettings;
use crate::token::{Budget, CachePolicy, RefreshSettings, TokenOrigin};

#[tokio::test(start_paused = true)]
async fn replicas_that_start_at_one_moment_make_one_request_and_have_one_token() {
    for push in [true, false] {
        let fleet = Fleet::with(20, SimulatedSettings { push, ..SimulatedSettings::default() });
        let began = Instant::now();
        let tokens = fleet.all_obtain().await;
        let took = began.elapsed();
        assert!(took <= millis(if push { 180 } else { 210 }), "push {push}: {took:?}");
        assert_eq!(fleet.server.asked(), 1);
        assert!(tokens.iter().all(|token| text(token) == "token-1"));
        let origins: Vec<_> = fleet.replicas.iter().map(|member| member.shared().origin).collect();
        assert_eq!(origins.iter().filter(|origin| **origin == TokenOrigin::Led).count(), 1, "{origins:?}");
        assert!(fleet.replicas.iter().all(|member| member.shared().generation == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_starts_later_asks_nobody_but_the_store() {
    let mut fleet = Fleet::of(2);
    fleet.all_obtain().await;
    sleep(seconds(1000)).await;
    let late = fleet.start();
    let began = Instant::now();
    assert_eq!(text(&fleet.replicas[late].obtain().await.unwrap()), "token-1");
    assert!(began.elapsed() < millis(10) && fleet.server.asked() == 1);
    assert_eq!(fleet.replicas[late].shared().origin, TokenOrigin::Adopted);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_makes_one_request_when_the_tokens_mark_says_and_all_adopt_within_their_spread() {
    let fleet = Fleet::of(20);
    let traffic = fleet.traffic();
    for generation in 1..=4_u32 {
        sleep(seconds(10)).await;
        let shared: Vec<_> = fleet.replicas.iter().map(|member| member.shared()).collect();
        assert!(shared.iter().all(|one| one.generation == u64::from(generation) && one.mark == shared[0].mark));
        assert_eq!(fleet.server.asked(), usize::try_from(generation).unwrap());
        // Four fifths of its life, less up to a fifth of that.
        let due = fleet.server.requests().last().unwrap().at + seconds(2880).mul_f64(1.0 - 0.2 * shared[0].jitter);
        sleep_until(due - seconds(1)).await;
        assert_eq!(fleet.server.asked(), usize::try_from(generation).unwrap(), "not before its time");
        sleep_until(due + seconds(HOUR / 20 + 2)).await;
        assert_eq!(fleet.server.asked(), usize::try_from(generation + 1).unwrap());
        assert_eq!(fleet.tokens(), HashSet::from([Some(format!("token-{}", generation + 1))]));
    }
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_uses_is_left_to_lapse() {
    let fleet = Fleet::of(5);
    fleet.replicas[0].cache().prime();
    sleep(seconds(5 * HOUR)).await;
    assert_eq!(fleet.server.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_waits_for_the_replica_that_asks_already_and_takes_its_token() {
    let fleet = Fleet::of(10);
    fleet.all_obtain().await;
    let newer = fleet.all(|member| async move { text(&member.cache().refresh(WAIT).await.unwrap()) }).await;
    assert!(newer.iter().all(|token| token == "token-2"), "{newer:?}");
    assert_eq!(fleet.server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_asked_once_however_long_it_takes() {
    let fleet = Fleet::of(20);
    fleet.server.answers(|_| (seconds(8), Says::Token(HOUR)));
    let began = Instant::now();
    fleet.all_obtain().await;
    assert!(began.elapsed() < millis(8_400), "{:?}", began.elapsed());
    assert_eq!(fleet.server.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_before_long() {
    for after in [100, 900, 1500, 2100] {
        let fleet = Fleet::of(10);
        fleet.server.answers(|request| match request.number {
            1 => (seconds(0), Says::Never),
            _ => (millis(150), Says::Token(HOUR)),
        });
        let leader = std::sync::Arc::clone(&fleet.replicas[0]);
        let dying = tokio::spawn(async move { leader.obtain().await });
        sleep(millis(10)).await;
        let all = tokio::spawn({
            let members = fleet.replicas.clone();
            async move {
                let rest = members[1..].iter().map(|member| async move { member.obtain().await.unwrap() });
                futures_util::future::join_all(rest).await.len()
            }
        });
        sleep(millis(after)).await;
        fleet.replicas[0].cut(true);
        let died = Instant::now();
        assert_eq!(all.await.unwrap(), 9);
        let took = died.elapsed();
        assert!(took <= millis(3_300 + 150 + 30), "died after {after} ms: {took:?}");
        assert_eq!(fleet.server.asked(), 2);
        dying.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stalls_and_puts_late_adopts_what_is_there() {
    let fleet = Fleet::of(5);
    fleet.server.answers(|request| match request.number {
        1 => (seconds(6), Says::Token(HOUR)),
        _ => (millis(150), Says::Token(HOUR)),
    });
    let stalled = std::sync::Arc::clone(&fleet.replicas[0]);
    let late = tokio::spawn({
        let stalled = std::sync::Arc::clone(&stalled);
        async move { text(&stalled.obtain().await.unwrap()) }
    });
    sleep(millis(100)).await;
    stalled.cut(true);
    for member in &fleet.replicas[1..] {
        assert_eq!(text(&member.obtain().await.unwrap()), "token-2");
    }
    stalled.cut(false);
    assert_eq!(late.await.unwrap(), "token-1", "its callers are not made to wait longer");
    sleep(seconds(2)).await;
    assert_eq!(fleet.server.asked(), 2);
    assert_eq!(fleet.tokens(), HashSet::from([Some("token-2".to_owned())]));
}

fn budget(requests: u32) -> SimulatedSettings {
    let budget = Some(Budget { requests, per: seconds(HOUR) });
    SimulatedSettings {
        refresh: RefreshSettings { budget, ..RefreshSettings::default() },
        ..SimulatedSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_that_of_all_replicas_whatever_the_requests_are_for() {
    let fleet = Fleet::with(5, budget(5));
    fleet.all_obtain().await;
    for member in &fleet.replicas[..2] {
        member.cache().acquire(CachePolicy::Bypass, WAIT).await.unwrap();
        member.cache().refresh(WAIT).await.unwrap();
    }
    assert_eq!(fleet.server.asked(), 5);
    for member in &fleet.replicas {
        let error = member.cache().refresh(WAIT).await.unwrap_err();
        assert_eq!(error.about, Some(crate::token::About::Budget));
        assert!(error.retry_after.unwrap() > seconds(3000), "{error:?}");
        let apart = member.cache().acquire(CachePolicy::Bypass, WAIT).await;
        assert_eq!(apart.map(drop).unwrap_err().about, Some(crate::token::About::Budget));
    }
    assert_eq!(fleet.server.asked(), 5);
    sleep(seconds(HOUR + HOUR / 16)).await;
    fleet.replicas[3].cache().refresh(WAIT).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_each_replica_has_its_part_of_the_budget() {
    let fleet = Fleet::with(5, budget(10));
    sleep(seconds(60)).await;
    fleet.store.set_away(true);
    let sent = fleet
        .all(|member| async move {
            let mut sent = 0;
            for _ in 0..6 {
                sent += usize::from(member.cache().acquire(CachePolicy::Bypass, WAIT).await.is_ok());
            }
            sent
        })
        .await;
    assert_eq!((sent, fleet.server.asked()), (vec![2; 5], 10));
}
