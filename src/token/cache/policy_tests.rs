//! What callers of the library get, under each policy.

use std::sync::atomic::Ordering;

use tokio::time::{advance, sleep};

use super::*;
use crate::token::testing::{Engine, Step, WAIT};
use crate::token::{Budget, RefreshSettings, TokenErrorKind};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn acquire(engine: &Engine, policy: CachePolicy) -> Result<Acquired, Arc<TokenError>> {
    engine.cache.acquire(policy, WAIT).await
}

#[tokio::test(start_paused = true)]
async fn what_is_read_has_the_time_that_is_left_and_not_the_time_it_came_with() {
    let engine = Engine::new(|_| Step::Slow(2, 3600));
    let first = acquire(&engine, CachePolicy::ReadWrite).await.unwrap();
    assert_eq!(first.expires_in, Some(seconds(3598)), "counted from when the request was sent");
    advance(seconds(600)).await;
    let again = acquire(&engine, CachePolicy::default()).await.unwrap();
    assert_eq!((again.expires_in, again.generation, engine.asked()), (Some(seconds(2998)), 1, 1));
    assert_eq!((again.access_token.expose(), again.token_type), ("token-1", TokenType::Bearer));
    assert!(!format!("{again:?}").contains("token-1"), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn readers_join_the_flight() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    let (one, two, request) = tokio::join!(
        acquire(&engine, CachePolicy::ReadWrite),
        acquire(&engine, CachePolicy::ReadWrite),
        engine.obtain()
    );
    assert_eq!([one.unwrap().generation, two.unwrap().generation, request.unwrap().generation], [1, 1, 1]);
    assert_eq!(engine.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn bypassing_neither_reads_nor_writes() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    engine.obtain().await.unwrap();
    let apart = acquire(&engine, CachePolicy::Bypass).await.unwrap();
    assert_eq!((apart.access_token.expose(), apart.generation), ("token-2", 0));
    assert_eq!(apart.expires_in, Some(seconds(3600)));
    assert_eq!((engine.usable(), engine.cache.status().generation), (Some(1), 1), "the cache has its own still");
    assert_eq!(
        engine.metric("token_requests_total"),
        ["token_requests_total{credential=\"test\",outcome=\"success\"} 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn bypassing_on_an_empty_cache_leaves_it_empty_and_joins_nothing() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    let (apart, cached) = tokio::join!(acquire(&engine, CachePolicy::Bypass), engine.obtain());
    assert_eq!((apart.unwrap().generation, cached.unwrap().generation, engine.asked()), (0, 1, 2));
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    acquire(&engine, CachePolicy::Bypass).await.unwrap();
    assert_eq!((engine.usable(), engine.cache.status().state), (None, "empty"));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_was_not_said_is_the_default_in_the_cache_and_unsaid_beside_it() {
    let engine = Engine::new(|_| Step::Says(0, Expires::Unsaid));
    assert_eq!(acquire(&engine, CachePolicy::ReadWrite).await.unwrap().expires_in, Some(seconds(300)));
    assert_eq!(acquire(&engine, CachePolicy::ForceRefresh).await.unwrap().expires_in, Some(seconds(300)));
    assert_eq!(acquire(&engine, CachePolicy::Bypass).await.unwrap().expires_in, None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_beside_the_cache_is_not_remembered_and_a_remembered_one_is_not_asked() {
    let refused = || Step::Fail(TokenError::new(TokenErrorKind::Transient, "scripted"));
    let engine = Engine::new(move |number| if number == 0 { refused() } else { Step::Token(3600) });
    assert_eq!(acquire(&engine, CachePolicy::Bypass).await.unwrap_err().kind, TokenErrorKind::Transient);
    assert_eq!(engine.asked(), 1, "one request of its own, and no second");
    assert!(engine.cache.status().last_error.is_none());
    engine.obtain().await.unwrap();

    let engine = Engine::new(move |number| if number < 2 { refused() } else { Step::Token(3600) });
    engine.obtain().await.unwrap_err();
    assert_eq!(acquire(&engine, CachePolicy::Bypass).await.unwrap().access_token.expose(), "token-3");
    assert!(engine.obtain().await.is_err(), "the cache remembers its own failure");
    assert_eq!(engine.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_its_own_ends_with_the_one_who_wanted_it() {
    let engine = Engine::new(|_| Step::Slow(5, 3600));
    let failed = engine.cache.acquire(CachePolicy::Bypass, seconds(1)).await.unwrap_err();
    assert_eq!(failed.kind, TokenErrorKind::Timeout);
    sleep(seconds(10)).await;
    assert_eq!(engine.metric("token_requests_total"), [""; 0], "it never ended, so it was never counted");
    assert_eq!(Arc::strong_count(&engine.cache), 1, "and nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn forcing_a_refresh_is_for_everybody() {
    let engine = Engine::new(|_| Step::Token(3600));
    engine.obtain().await.unwrap();
    let forced = acquire(&engine, CachePolicy::ForceRefresh).await.unwrap();
    assert_eq!((forced.access_token.expose(), forced.generation), ("token-2", 2));
    assert_eq!((engine.usable(), engine.asked()), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_token_without_any_life_has_none_left() {
    let engine = Engine::new(|_| Step::Token(0));
    for policy in [CachePolicy::ReadWrite, CachePolicy::Bypass, CachePolicy::ForceRefresh] {
        assert_eq!(acquire(&engine, policy).await.unwrap().expires_in, Some(Duration::ZERO), "{policy:?}");
    }
    assert_eq!(engine.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_has_less_left_than_its_monotonic_clock_says() {
    let engine = Engine::new(|_| Step::Token(3600));
    acquire(&engine, CachePolicy::ReadWrite).await.unwrap();
    engine.wall.store(3000, Ordering::Relaxed);
    assert_eq!(acquire(&engine, CachePolicy::ReadWrite).await.unwrap().expires_in, Some(seconds(600)));
}

#[tokio::test(start_paused = true)]
async fn every_policy_is_within_the_budget() {
    let budget = Some(Budget { requests: 2, per: seconds(3600) });
    let engine = Engine::with(RefreshSettings { budget, ..RefreshSettings::default() }, |_| Step::Token(7200));
    acquire(&engine, CachePolicy::Bypass).await.unwrap();
    acquire(&engine, CachePolicy::ForceRefresh).await.unwrap();
    for policy in [CachePolicy::Bypass, CachePolicy::ForceRefresh] {
        let failed = acquire(&engine, policy).await.unwrap_err();
        assert_eq!((failed.kind, failed.retry_after), (TokenErrorKind::Transient, Some(seconds(3600))), "{policy:?}");
    }
    assert_eq!(acquire(&engine, CachePolicy::ReadWrite).await.unwrap().generation, 1, "reading costs nothing");
    assert_eq!(engine.asked(), 2);
}
