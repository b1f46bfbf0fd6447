//! No expired token is used, whatever the clocks and the authorization server do.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::token::testing::{Engine, Step, WAIT};
use crate::token::{Clock, Expires, RefreshSettings};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_token_without_any_life_serves_those_who_waited_for_it_and_no_one_else() {
    let engine = Engine::new(|_| Step::Slow(1, 0));
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let cache = Arc::clone(&engine.cache);
        callers.spawn(async move { cache.obtain(WAIT).await });
    }
    assert!(callers.join_all().await.into_iter().all(|landed| landed.unwrap().generation == 1));
    assert_eq!((engine.asked(), engine.usable()), (1, None));
    assert_eq!(engine.obtain().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_slower_than_its_tokens_life_serves_nobody() {
    // Ten seconds after the request 10 s are over, and 11 s are in the margin of two.
    for life in [Expires::In(seconds(1)), Expires::In(seconds(10)), Expires::In(seconds(11)), Expires::Unsaid] {
        let settings = RefreshSettings { default_lifetime: seconds(5), ..RefreshSettings::default() };
        let engine = Engine::with(settings, move |_| Step::Says(10, life));
        let failed = engine.obtain().await.unwrap_err();
        assert_eq!((failed.kind, engine.asked()), (TokenErrorKind::Transient, 2), "{life:?}");
        assert!(failed.message.contains("took 10.0 s"), "{failed}");
        assert_eq!((engine.usable(), engine.cache.status().state), (None, "failed"));
    }
    let engine = Engine::new(|_| Step::Says(10, Expires::In(seconds(13))));
    assert_eq!(engine.obtain().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_jwt_that_has_expired_already_is_an_answer_that_cannot_be_used() {
    let (clock, _) = Clock::scripted();
    let past = clock.now().wall - seconds(30);
    let engine = Engine::new(move |_| Step::Says(0, Expires::At(past)));
    let failed = engine.obtain().await.unwrap_err();
    assert_eq!((failed.kind, engine.usable()), (TokenErrorKind::InvalidResponse, None));
    assert!(failed.message.contains("clocks"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_brings_an_expired_token_leaves_the_good_one() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(100) } else { Step::Slow(5, 5) });
    engine.obtain().await.unwrap();
    engine.cache.refresh(WAIT).await.unwrap_err();
    assert_eq!(engine.usable(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_finds_its_token_expired() {
    let engine = Engine::new(|_| Step::Token(3600));
    engine.obtain().await.unwrap();
    engine.wall.store(3563, Ordering::Relaxed);
    assert_eq!(engine.usable(), Some(1));
    engine.wall.store(3565, Ordering::Relaxed);
    assert_eq!((engine.usable(), engine.cache.status().expires_in), (None, None));
    assert_eq!(engine.obtain().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_extends_no_token() {
    let engine = Engine::new(|_| Step::Token(100));
    engine.obtain().await.unwrap();
    engine.wall.store(-100_000, Ordering::Relaxed);
    assert_eq!(engine.usable(), Some(1));
    advance(seconds(99)).await;
    assert_eq!(engine.usable(), None);
}

#[tokio::test(start_paused = true)]
async fn no_expired_token_is_ever_handed_out() {
    let lifetimes = [1_u64, 2, 3, 10, 119, 120, 3600];
    let expiries: Arc<Mutex<Vec<Instant>>> = Arc::default();
    for lifetime in lifetimes {
        let issued = Arc::clone(&expiries);
        issued.lock().unwrap().clear();
        let engine = Engine::new(move |_| {
            issued.lock().unwrap().push(Instant::now() + seconds(lifetime));
            Step::Token(lifetime)
        });
        for _ in 0..200 {
            let token = engine.obtain().await.unwrap();
            let expires_at = expiries.lock().unwrap()[usize::try_from(token.generation).unwrap() - 1];
            assert!(Instant::now() < expires_at, "lifetime {lifetime}");
            sleep(Duration::from_millis(lifetime * 37)).await;
        }
    }
}
