//! The budget, what answers tell besides the token, and what is remembered of failures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{advance, sleep};

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::token::testing::{Engine, Step, WAIT, captured};
use crate::token::{Budget, RefreshSettings};

const HOUR: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn transient() -> TokenError {
    TokenError::new(TokenErrorKind::Transient, "scripted")
}

fn budget(requests: u32, per: Duration) -> RefreshSettings {
    RefreshSettings { budget: Some(Budget { requests, per }), ..RefreshSettings::default() }
}

fn lines(log: &str, with: &str) -> usize {
    log.lines().filter(|line| line.contains(with)).count()
}

#[tokio::test(start_paused = true)]
async fn no_request_is_sent_once_the_budget_is_spent_and_the_error_says_when() {
    let engine = Engine::with(budget(3, HOUR), |_| Step::Token(1));
    for _ in 0..3 {
        engine.obtain().await.unwrap();
        sleep(seconds(60)).await;
    }
    let failed = engine.obtain().await.unwrap_err();
    assert_eq!((failed.kind, engine.asked()), (TokenErrorKind::Transient, 3));
    assert_eq!(failed.retry_after, Some(seconds(3600 - 180)));
    assert!(
        failed.message.contains("the token budget of 3/h is spent") && failed.message.contains("in 3420 s"),
        "{failed}"
    );
    advance(seconds(3419)).await;
    assert_eq!(
        engine.obtain().await.unwrap_err().retry_after,
        Some(seconds(1)),
        "hot callers have their own time left"
    );
    advance(seconds(1)).await;
    engine.obtain().await.unwrap();
    assert_eq!(engine.asked(), 4);
    assert_eq!(
        engine.metric("token_requests_withheld_total"),
        ["token_requests_withheld_total{credential=\"test\"} 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_a_day_is_waited_for_longer_than_a_server_may_ask() {
    let engine = Engine::with(budget(1, HOUR * 24), |_| Step::Token(1));
    engine.obtain().await.unwrap();
    sleep(seconds(1)).await;
    assert_eq!(engine.obtain().await.unwrap_err().retry_after, Some(seconds(86_399)));
    advance(HOUR * 2).await;
    engine.obtain().await.unwrap_err();
    assert_eq!(
        engine.metric("token_requests_withheld_total"),
        ["token_requests_withheld_total{credential=\"test\"} 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_is_used_on_while_the_budget_has_no_room_for_its_successor() {
    let engine = Engine::with(budget(1, seconds(90)), |_| Step::Token(100));
    engine.obtain().await.unwrap();
    // Due from the 40th to the 50th second; allowed from the 90th.
    for second in 0..90 {
        assert_eq!(engine.usable(), Some(1), "{second}");
        sleep(seconds(1)).await;
    }
    sleep(seconds(1)).await;
    assert_eq!((engine.usable(), engine.asked()), (Some(2), 2), "and it is replaced as soon as there is room");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_used_again_though_the_budget_is_spent() {
    let engine = Engine::with(budget(1, HOUR), |_| Step::Token(100));
    engine.obtain().await.unwrap();
    assert_eq!(engine.renew(1).await.unwrap_err().retry_after, Some(HOUR));
    assert_eq!((engine.usable(), engine.asked()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn the_quick_retry_counts_and_is_left_out_where_the_budget_has_no_room_for_it() {
    let engine = Engine::with(budget(3, HOUR), |_| Step::Fail(transient()));
    assert_eq!(engine.obtain().await.unwrap_err().message, "scripted");
    assert_eq!(engine.asked(), 2);
    sleep(seconds(1)).await;
    let failed = engine.obtain().await.unwrap_err();
    assert_eq!((failed.message.as_str(), engine.asked()), ("scripted", 3), "its own failure, not that of the budget");
    sleep(seconds(2)).await;
    assert!(engine.obtain().await.unwrap_err().message.contains("budget"));
    assert_eq!(engine.asked(), 3);
    assert_eq!(
        engine.metric("token_requests_withheld_total"),
        ["token_requests_withheld_total{credential=\"test\"} 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_counts_and_is_withheld_too() {
    let engine = Engine::with(budget(2, HOUR), |_| Step::Token(7200));
    engine.obtain().await.unwrap();
    engine.cache.refresh(WAIT).await.unwrap();
    assert!(engine.cache.refresh(WAIT).await.unwrap_err().message.contains("budget"));
    assert_eq!((engine.asked(), engine.usable()), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn four_fifths_of_the_budget_are_warned_of_once_in_a_window() {
    let (log, _guard) = captured();
    let engine = Engine::with(budget(10, HOUR), |_| Step::Token(7200));
    for _ in 0..7 {
        engine.cache.refresh(WAIT).await.unwrap();
    }
    assert_eq!(lines(&log.text(), "four fifths"), 0);
    for _ in 0..3 {
        engine.cache.refresh(WAIT).await.unwrap();
    }
    let text = log.text();
    assert_eq!(lines(&text, "four fifths"), 1, "{text}");
    let told = text.lines().find(|line| line.contains("four fifths")).unwrap();
    assert!(told.contains(" WARN ") && told.contains("credential=test used=8 budget=\"10/h\""), "{told}");
    sleep(HOUR).await;
    for _ in 0..10 {
        engine.cache.refresh(WAIT).await.unwrap();
    }
    assert_eq!(lines(&log.text(), "four fifths"), 2, "armed again");
}

#[tokio::test(start_paused = true)]
async fn a_narrower_scope_is_counted_and_stands_in_the_status_until_it_is_granted() {
    let engine = Engine::new(|number| if number < 2 { Step::Token(3600) } else { Step::FullScope });
    assert_eq!(engine.cache.status().missing_scope, None);
    engine.obtain().await.unwrap();
    engine.cache.refresh(WAIT).await.unwrap();
    assert_eq!(engine.cache.status().missing_scope.as_deref(), Some("orders.write orders.all"));
    engine.cache.refresh(WAIT).await.unwrap();
    assert_eq!(engine.cache.status().missing_scope, None);
    assert_eq!(engine.metric("token_scope_narrowed_total"), ["token_scope_narrowed_total{credential=\"test\"} 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_is_warned_of_once_and_again_after_it_was_right() {
    let (log, _guard) = captured();
    let engine = Engine::new(|number| Step::Ahead([20, 100, 200, 0, -100, -100][number]));
    let mut seen = Vec::new();
    for _ in 0..6 {
        engine.cache.refresh(WAIT).await.unwrap();
        seen.push((
            engine.cache.status().clock_skew.unwrap(),
            lines(&log.text(), "the clock of the authorization server"),
        ));
    }
    assert_eq!(seen, [(20, 0), (100, 1), (200, 1), (0, 1), (-99, 2), (-99, 2)]);
    assert!(log.text().contains("credential=test clock_skew=-99"), "{}", log.text());
    assert_eq!(engine.metric("token_clock_skew_seconds"), ["token_clock_skew_seconds{credential=\"test\"} -99"]);
}

#[tokio::test(start_paused = true)]
async fn a_servers_date_changes_no_expiry() {
    let mut moments = Vec::new();
    for skew in [0, 100_000, -100_000] {
        let settings = RefreshSettings { ahead: None, ..RefreshSettings::default() };
        let engine = Engine::with(settings, move |_| Step::Ahead(skew));
        engine.obtain().await.unwrap();
        let status = engine.cache.status();
        let expiry = engine.cache.snapshot.load_full().unwrap().expiry;
        let now = Instant::now();
        moments.push((status.expires_in, status.lifetime, expiry.expires_at - now));
        advance(seconds(3563)).await;
        assert_eq!(engine.usable(), Some(1), "{skew}");
        advance(seconds(1)).await;
        assert_eq!(engine.usable(), None, "{skew}");
    }
    assert_eq!(moments, [(Some(HOUR), Some(HOUR), HOUR); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_date_has_no_skew() {
    let engine = Engine::new(|_| Step::Token(3600));
    engine.obtain().await.unwrap();
    assert_eq!(engine.cache.status().clock_skew, None);
    assert_eq!(engine.metric("token_clock_skew_seconds"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_when_the_last_refresh_ended_and_how_long_it_took() {
    let engine = Engine::new(|number| if number == 0 { Step::Slow(2, 100) } else { Step::SlowFail(3, transient()) });
    let status = engine.cache.status();
    assert_eq!((status.fetched_at, status.last_refresh_at, status.last_refresh_took), (None, None, None));
    engine.obtain().await.unwrap();
    let first = engine.cache.status();
    assert_eq!((first.fetched_at, first.last_refresh_took), (first.last_refresh_at, Some(seconds(2))));
    advance(seconds(10)).await;
    engine.cache.refresh(WAIT).await.unwrap_err();
    let second = engine.cache.status();
    let took = second.last_refresh_took.unwrap();
    assert!(took > seconds(6) && took < seconds(7), "with its quick retry: {took:?}");
    assert_eq!(second.fetched_at, first.fetched_at, "the token is still the first one");
    let apart = second.last_refresh_at.unwrap().duration_since(first.last_refresh_at.unwrap()).unwrap();
    assert_eq!(apart, seconds(10) + took);
}

#[tokio::test(start_paused = true)]
async fn a_mended_configuration_is_asked_with_at_once_and_other_failures_stay() {
    for (kind, forgotten) in
        [(TokenErrorKind::Configuration, true), (TokenErrorKind::Permanent, false), (TokenErrorKind::Transient, false)]
    {
        let failing = move |number| number < if kind == TokenErrorKind::Transient { 2 } else { 1 };
        let engine = Engine::new(move |number| {
            if failing(number) { Step::Fail(TokenError::new(kind, "scripted")) } else { Step::Token(3600) }
        });
        engine.obtain().await.unwrap_err();
        assert_eq!(engine.cache.forget_misconfiguration(), forgotten, "{kind:?}");
        assert_eq!(engine.obtain().await.is_ok(), forgotten, "{kind:?}");
        assert!(!engine.cache.forget_misconfiguration(), "once");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_failure_has_its_own_back_off_and_hot_callers_their_own_time() {
    for (kind, shortest, longest) in [
        (TokenErrorKind::Permanent, 24.0, 30.0),
        (TokenErrorKind::Configuration, 24.0, 30.0),
        (TokenErrorKind::Transient, 0.8, 1.0),
        (TokenErrorKind::InvalidResponse, 0.8, 1.0),
        (TokenErrorKind::Timeout, 0.8, 1.0),
    ] {
        let engine = Engine::new(move |_| Step::Fail(TokenError::new(kind, "scripted")));
        let first = engine.obtain().await.unwrap_err().retry_after.unwrap();
        assert!((shortest..=longest).contains(&first.as_secs_f64()), "{kind:?}: {first:?}");
        let asked = engine.asked();
        for quarter in 1..4 {
            advance(first / 4).await;
            let left = engine.obtain().await.unwrap_err().retry_after.unwrap();
            let expected = first.saturating_sub(first / 4 * quarter);
            assert!(left <= expected && left + seconds(1) / 100 > expected, "{kind:?}: {left:?} of {first:?}");
        }
        assert_eq!(engine.asked(), asked, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_cache_is_none_of_another() {
    // A changed secret is another identity, and so another cache.
    let failing = Engine::new(|_| Step::Fail(transient()));
    failing.obtain().await.unwrap_err();
    let mended = Engine::new(|_| Step::Token(3600));
    assert_eq!(mended.obtain().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_forward_and_back_again_extends_nothing_and_loses_nothing() {
    let engine = Engine::new(|_| Step::Token(3600));
    engine.obtain().await.unwrap();
    engine.wall.store(7200, Ordering::Relaxed);
    assert_eq!(engine.usable(), None, "for all we know the machine slept");
    engine.wall.store(0, Ordering::Relaxed);
    assert_eq!(engine.usable(), Some(1), "it did not");
    advance(seconds(3565)).await;
    assert_eq!(engine.usable(), None);
    assert_eq!(engine.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_while_the_wall_clock_was_wrong_is_not_extended_when_it_is_set_right() {
    let engine = Engine::new(|_| Step::Token(100));
    engine.wall.store(100_000, Ordering::Relaxed);
    engine.obtain().await.unwrap();
    engine.wall.store(0, Ordering::Relaxed);
    assert_eq!(engine.cache.status().expires_in, Some(seconds(100)));
    advance(seconds(99)).await;
    assert_eq!(engine.usable(), None);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_during_the_flight_leaves_the_life_as_it_is() {
    for jump in [100_000, -100_000] {
        let engine = Engine::new(|_| Step::Slow(10, 100));
        let cache = Arc::clone(&engine.cache);
        let flight = tokio::spawn(async move { cache.obtain(WAIT).await });
        sleep(seconds(5)).await;
        engine.wall.store(jump, Ordering::Relaxed);
        flight.await.unwrap().unwrap();
        assert_eq!(engine.cache.status().expires_in, Some(seconds(90)), "counted from when it was sent: {jump}");
        advance(seconds(87)).await;
        assert_eq!(engine.usable(), Some(1), "{jump}");
        advance(seconds(2)).await;
        assert_eq!(engine.usable(), None, "{jump}");
    }
}
