//! The refresh engine against a scripted source, in paused time: seconds here cost nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::renewal::Evidence;
use crate::token::testing::{Engine, Scripted, Step, WAIT, captured, refused_token};
use crate::token::{Clock, RefreshSettings, TokenMetrics};

fn error(kind: TokenErrorKind) -> TokenError {
    TokenError::new(kind, "scripted")
}

fn permanent() -> TokenError {
    error(TokenErrorKind::Permanent)
}

fn transient() -> TokenError {
    error(TokenErrorKind::Transient)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn wait(for_seconds: u64) {
    sleep(seconds(for_seconds)).await;
}

/// Lets everything that is ready run, without moving the clock.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_callers_make_one_token_request() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let cache = Arc::clone(&engine.cache);
        callers.spawn(async move { cache.obtain(WAIT).await });
    }
    for landed in callers.join_all().await {
        let token = landed.unwrap();
        assert_eq!((token.value.to_str().unwrap(), token.generation), ("Bearer token-1", 1));
        assert!(token.value.is_sensitive() && !token.after_unauthorized);
    }
    assert_eq!(engine.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_cancels_nothing() {
    let engine = Engine::new(|_| Step::Slow(5, 3600));
    let cache = Arc::clone(&engine.cache);
    let first = tokio::spawn(async move { cache.obtain(WAIT).await });
    wait(1).await;
    first.abort();
    assert_eq!(engine.obtain().await.unwrap().generation, 1, "the second caller joined the first one's request");
    assert_eq!(engine.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_any_more_still_brings_its_token() {
    let engine = Engine::new(|_| Step::Slow(5, 3600));
    assert_eq!(engine.cache.obtain(seconds(1)).await.unwrap_err().kind, TokenErrorKind::Timeout);
    assert_eq!(engine.cache.status().state, "refreshing");
    wait(5).await;
    assert_eq!((engine.usable(), engine.asked(), engine.cache.status().state), (Some(1), 1, "ready"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_all_who_waited() {
    let engine = Engine::new(|_| Step::SlowFail(1, permanent()));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let cache = Arc::clone(&engine.cache);
        callers.spawn(async move { cache.obtain(WAIT).await });
    }
    let errors: Vec<_> = callers.join_all().await.into_iter().map(|landed| landed.unwrap_err()).collect();
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    assert_eq!(engine.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn hot_callers_fail_fast_with_the_remembered_error_and_the_time_that_is_left() {
    let engine = Engine::new(|_| Step::Fail(permanent()));
    let first = engine.obtain().await.unwrap_err().retry_after.unwrap();
    assert!(first > seconds(23) && first <= seconds(30), "{first:?}");
    advance(seconds(10)).await;
    let began = Instant::now();
    let second = engine.obtain().await.unwrap_err();
    assert_eq!((began.elapsed(), engine.asked()), (Duration::ZERO, 1), "at once, and nobody was asked");
    assert_eq!((second.kind, second.retry_after), (TokenErrorKind::Permanent, Some(first.saturating_sub(seconds(10)))));
    assert_eq!(engine.cache.status().state, "failed");
    advance(first.saturating_sub(seconds(10))).await;
    engine.obtain().await.unwrap_err();
    assert_eq!(engine.asked(), 2, "the back-off is over");
}

/// The back-off after each of some failures in a row, in seconds.
async fn back_offs(engine: &Engine, failures: usize) -> Vec<f64> {
    let mut delays = Vec::new();
    for _ in 0..failures {
        let delay = engine.obtain().await.unwrap_err().retry_after.unwrap();
        delays.push(delay.as_secs_f64());
        sleep(delay).await;
    }
    delays
}

fn assert_within_jitter(delays: &[f64], expected: &[f64]) {
    assert_eq!(delays.len(), expected.len());
    for (delay, expected) in delays.iter().zip(expected) {
        assert!((expected * 0.8..=*expected).contains(delay), "{delays:?} is not {expected:?} less a fifth at most");
    }
}

#[tokio::test(start_paused = true)]
async fn the_back_off_of_a_permanent_failure_grows_from_half_a_minute_to_ten() {
    let engine = Engine::new(|_| Step::Fail(permanent()));
    let delays = back_offs(&engine, 7).await;
    assert_within_jitter(&delays, &[30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]);
    assert_eq!(engine.asked(), 7, "a permanent failure has no quick retry");
}

#[tokio::test(start_paused = true)]
async fn the_back_off_of_a_transient_failure_grows_from_a_second_to_a_minute() {
    let engine = Engine::new(|_| Step::Fail(transient()));
    let delays = back_offs(&engine, 9).await;
    assert_within_jitter(&delays, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
    assert_eq!(engine.asked(), 18, "each failure had its quick retry");
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_series_of_back_offs() {
    let engine = Engine::new(|number| if number == 2 { Step::Token(10) } else { Step::Fail(permanent()) });
    assert_within_jitter(&back_offs(&engine, 2).await, &[30.0, 60.0]);
    engine.obtain().await.unwrap();
    assert!(engine.cache.status().last_error.is_none());
    wait(9).await;
    assert_within_jitter(&back_offs(&engine, 1).await, &[30.0]);
}

#[tokio::test(start_paused = true)]
async fn only_what_may_mend_itself_at_once_is_retried_quickly_and_only_once() {
    for (kind, requests) in [
        (TokenErrorKind::Transient, 2),
        // HTML from a load balancer that is just being restarted.
        (TokenErrorKind::InvalidResponse, 2),
        // It took long enough already.
        (TokenErrorKind::Timeout, 1),
        (TokenErrorKind::Permanent, 1),
        (TokenErrorKind::Configuration, 1),
    ] {
        let engine = Engine::new(move |_| Step::Fail(error(kind)));
        let began = Instant::now();
        assert_eq!(engine.obtain().await.unwrap_err().kind, kind);
        assert_eq!(engine.asked(), requests, "{kind:?}");
        assert!(began.elapsed() < seconds(1));
    }
    let engine = Engine::new(|number| if number == 0 { Step::Fail(transient()) } else { Step::Token(3600) });
    assert_eq!(engine.obtain().await.unwrap().generation, 1);
    assert_eq!(engine.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_retry_after_wins_within_an_hour() {
    let engine = Engine::new(|number| {
        Step::Fail(transient().with_retry_after(Some(seconds(if number == 0 { 7 } else { 1_000_000 }))))
    });
    assert_eq!(engine.obtain().await.unwrap_err().retry_after, Some(seconds(7)));
    assert_eq!(engine.asked(), 1, "no quick retry where the server said when");
    advance(seconds(6)).await;
    engine.obtain().await.unwrap_err();
    assert_eq!(engine.asked(), 1);
    advance(seconds(1)).await;
    assert_eq!(engine.obtain().await.unwrap_err().retry_after, Some(seconds(3600)));
    assert_eq!(engine.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_nothing_is_a_second() {
    let engine = Engine::new(|_| Step::Fail(transient().with_retry_after(Some(Duration::ZERO))));
    for asked in 1..=5 {
        assert_eq!(engine.obtain().await.unwrap_err().retry_after, Some(seconds(1)));
        engine.obtain().await.unwrap_err();
        assert_eq!(engine.asked(), asked, "once a second, and no quick retry");
        advance(seconds(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_rounds_the_time_to_the_next_try_up() {
    let (log, _guard) = captured();
    Engine::new(|_| Step::Fail(transient())).obtain().await.unwrap_err();
    assert!(log.text().contains(" retry_in=1 "), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_was_not_granted_is_told_once() {
    let (log, _guard) = captured();
    let engine = Engine::new(|_| Step::Token(3600));
    for _ in 0..3 {
        engine.cache.refresh(WAIT).await.unwrap();
    }
    let text = log.text();
    let told: Vec<_> = text.lines().filter(|line| line.contains("less scope")).collect();
    assert_eq!(told.len(), 1, "{text}");
    let missing = "credential=test missing=\"orders.write orders.all\"";
    assert!(told[0].contains(" WARN attache::token: ") && told[0].contains(missing), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_used_token_is_replaced_ahead_of_time_while_callers_go_on_with_it() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(100) } else { Step::Slow(5, 100) });
    engine.obtain().await.unwrap();
    assert_eq!(engine.usable(), Some(1));
    wait(39).await;
    assert_eq!(engine.asked(), 1, "not before 80 % of half its life");
    // Half of 100 s, less up to a fifth; and the request takes 5 s.
    for _ in 0..11 {
        wait(1).await;
        assert!(engine.usable().is_some());
    }
    assert_eq!(engine.asked(), 2, "asked for by half its life");
    wait(5).await;
    assert_eq!((engine.usable(), engine.asked()), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_long_lived_token_is_replaced_a_minute_before_its_end_at_the_latest() {
    let engine = Engine::new(|_| Step::Token(200));
    engine.obtain().await.unwrap();
    engine.usable();
    wait(140).await;
    settle().await;
    assert_eq!(engine.asked(), 2, "min(80 % of 200 s, 200 s - 60 s)");
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_nobodys_failure_while_the_old_token_is_valid() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(100) } else { Step::Fail(permanent()) });
    engine.obtain().await.unwrap();
    engine.usable();
    for _ in 0..97 {
        assert_eq!(engine.obtain().await.unwrap().generation, 1);
        wait(1).await;
    }
    let status = engine.cache.status();
    assert_eq!(status.state, "ready");
    assert!(status.last_error.is_some(), "but the status page says that something is wrong");
    let asked = engine.asked();
    assert!((2..=3).contains(&asked), "tried with back-off, not with each request: {asked}");
    wait(2).await;
    assert_eq!(engine.obtain().await.unwrap_err().kind, TokenErrorKind::Permanent, "now it has expired");
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_ahead_is_tried_again_by_itself() {
    let engine = Engine::new(|number| match number {
        1 | 2 => Step::Fail(transient()),
        _ => Step::Token(1000),
    });
    engine.obtain().await.unwrap();
    engine.usable();
    wait(805).await;
    assert_eq!((engine.asked(), engine.usable()), (4, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn an_unused_token_is_not_replaced_until_the_next_request_finds_it_due() {
    let engine = Engine::new(|_| Step::Token(100));
    engine.obtain().await.unwrap();
    wait(60).await;
    assert_eq!(engine.asked(), 1, "nobody has used it since it came");
    assert_eq!(engine.usable(), Some(1), "the request that finds it due goes on with it");
    engine.usable();
    settle().await;
    assert_eq!((engine.asked(), engine.usable()), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_required_credential_is_kept_fresh_though_nobody_uses_it() {
    let settings = RefreshSettings { always: true, ..RefreshSettings::default() };
    let engine = Engine::with(settings, |number| match number {
        3 | 4 => Step::Fail(permanent()),
        _ => Step::Token(100),
    });
    engine.cache.prime();
    wait(1000).await;
    assert!((20..=26).contains(&engine.asked()), "{}", engine.asked());
    assert!(engine.usable().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_became_required_later_is_kept_fresh_from_then_on() {
    let engine = Engine::new(|_| Step::Token(100));
    engine.obtain().await.unwrap();
    engine.cache.refresh_always(true);
    wait(1000).await;
    assert!((20..=26).contains(&engine.asked()), "{}", engine.asked());
}

#[tokio::test(start_paused = true)]
async fn a_required_credential_recovers_by_itself_from_a_cold_failure() {
    let settings = RefreshSettings { always: true, ..RefreshSettings::default() };
    let engine = Engine::with(settings, |number| if number < 2 { Step::Fail(permanent()) } else { Step::Token(3600) });
    engine.cache.prime();
    wait(91).await;
    assert_eq!((engine.asked(), engine.usable()), (3, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn refreshing_ahead_can_be_switched_off() {
    let settings = RefreshSettings { ahead: None, ..RefreshSettings::default() };
    let engine = Engine::with(settings, |_| Step::Token(100));
    engine.obtain().await.unwrap();
    for _ in 0..97 {
        assert_eq!(engine.usable(), Some(1));
        wait(1).await;
    }
    assert_eq!(engine.asked(), 1);
    wait(2).await;
    assert_eq!(engine.usable(), None);
}

#[tokio::test(start_paused = true)]
async fn a_late_401_does_not_discard_a_newer_token() {
    let engine = Engine::new(|_| Step::Token(3600));
    engine.obtain().await.unwrap();
    let renewed = engine.renew(1).await.unwrap();
    assert_eq!((renewed.generation, renewed.after_unauthorized), (2, true));
    assert_eq!(engine.renew(1).await.unwrap().generation, 2);
    assert_eq!((engine.asked(), engine.usable()), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_refusals_of_one_token_cost_one_token_request() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    engine.obtain().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let cache = Arc::clone(&engine.cache);
        callers.spawn(async move { cache.renew(&refused_token(1), WAIT, |_| Some(Evidence::Strong)).await });
    }
    assert!(callers.join_all().await.into_iter().all(|landed| landed.unwrap().unwrap().generation == 2));
    assert_eq!(engine.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_joins_the_refresh_that_is_in_flight() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(100) } else { Step::Slow(20, 100) });
    engine.obtain().await.unwrap();
    engine.usable();
    wait(51).await;
    assert_eq!(engine.asked(), 2, "the refresh ahead is on its way");
    assert_eq!(engine.renew(1).await.unwrap().generation, 2);
    assert_eq!(engine.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_no_refused_token_behind() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(3600) } else { Step::Fail(permanent()) });
    engine.obtain().await.unwrap();
    engine.renew(1).await.unwrap_err();
    assert_eq!(engine.usable(), None);
    engine.renew(1).await.unwrap_err();
    assert_eq!(engine.asked(), 2, "the second one failed fast");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_source_strands_nobody() {
    for at_once in [false, true] {
        let engine = Engine::new(move |number| match (number, at_once) {
            (0 | 1, true) => Step::PanicAtOnce,
            (0 | 1, false) => Step::Panic,
            _ => Step::Token(3600),
        });
        let failed = engine.obtain().await.unwrap_err();
        assert_eq!(failed.kind, TokenErrorKind::Transient, "at_once: {at_once}");
        sleep(failed.retry_after.unwrap()).await;
        assert_eq!(engine.obtain().await.unwrap().generation, 1, "at_once: {at_once}");
        assert_eq!(engine.asked(), 3);
    }
}

#[tokio::test]
async fn the_end_of_the_control_runtime_answers_those_who_wait() {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let source = Box::new(Scripted {
        script: |_| Step::Never,
        asked: Arc::clone(&asked),
        clock: Clock::system(),
        began: Instant::now(),
    });
    let settings = RefreshSettings::default();
    let handle = control.handle().clone();
    let cache = TokenCache::new("test", source, settings, Clock::system(), handle, TokenMetrics::default());
    let waiting = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.obtain(WAIT).await }
    });
    let started = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, started).await.unwrap();
    control.shutdown_background();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, TokenErrorKind::Cancelled);
    assert_eq!(cache.obtain(WAIT).await.unwrap_err().kind, TokenErrorKind::Cancelled, "and those who come later");
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_forgets_the_failure_that_is_remembered() {
    let engine = Engine::new(|number| if number == 0 { Step::Fail(permanent()) } else { Step::Token(3600) });
    engine.obtain().await.unwrap_err();
    assert_eq!(engine.cache.refresh(WAIT).await.unwrap().generation, 1);
    assert_eq!((engine.asked(), engine.usable()), (2, Some(1)));
    assert!(engine.cache.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_forced_no_more_often_than_people_would() {
    let engine = Engine::new(|_| Step::Token(3600));
    for _ in 0..10 {
        engine.cache.refresh(WAIT).await.unwrap();
    }
    let error = engine.cache.refresh(WAIT).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (TokenErrorKind::Transient, Some(Duration::from_secs(60))));
    assert_eq!((engine.asked(), engine.usable()), (10, Some(10)), "and the token that there is stays");
    advance(Duration::from_secs(60)).await;
    engine.cache.refresh(WAIT).await.unwrap();
    assert_eq!(engine.asked(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_replaces_a_good_token_and_joins_a_request_in_flight() {
    let engine = Engine::new(|_| Step::Slow(1, 3600));
    engine.obtain().await.unwrap();
    let (first, second) = tokio::join!(engine.cache.refresh(WAIT), engine.cache.refresh(WAIT));
    assert_eq!((first.unwrap().generation, second.unwrap().generation), (2, 2));
    assert_eq!((engine.asked(), engine.usable()), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_that_fails_leaves_a_good_token_in_use() {
    let engine = Engine::new(|number| if number == 0 { Step::Token(3600) } else { Step::Fail(permanent()) });
    engine.obtain().await.unwrap();
    engine.cache.refresh(WAIT).await.unwrap_err();
    assert_eq!(engine.obtain().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_cache_asks_for_nothing_more() {
    let settings = RefreshSettings { always: true, ..RefreshSettings::default() };
    let Engine { cache, asked, .. } = Engine::with(settings, |_| Step::Token(100));
    cache.obtain(WAIT).await.unwrap();
    drop(cache);
    wait(1000).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn status_tells_generation_and_time_left_without_the_token() {
    let engine = Engine::new(|_| Step::Token(3600));
    assert_eq!((engine.cache.status().state, engine.cache.status().generation), ("empty", 0));
    engine.obtain().await.unwrap();
    advance(seconds(600)).await;
    let status = engine.cache.status();
    assert_eq!((status.state, status.generation, status.expires_in), ("ready", 1, Some(seconds(3000))));
    let shown = format!("{status:?} {:?} {:?}", engine.cache, engine.cache.usable());
    assert!(!shown.contains("token-1"), "{shown}");
}
