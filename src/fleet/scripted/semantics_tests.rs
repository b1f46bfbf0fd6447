//! Failures, budgets, clocks and faults of a shared cache. The scripts on a server are held against the same code.

use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;

use super::testing::{Fleet, LONGEST, ahead, cold, holding, mark, seconds};
use super::*;
use crate::fleet::news::News;
use crate::fleet::protocol::{LARGEST, Lead, Reach};
use crate::token::{Budget, Why};

#[test]
fn a_failure_counts_for_all_when_a_second_replica_has_seen_it() {
    let fleet = Fleet::new();
    let first = fleet.lead(&cold("a"));
    assert_eq!(fleet.fail("a", first.fence, Some((10, Reach::Confirmed))), FailAnswer::Noted);
    let again = fleet.lead(&cold("a"));
    assert_eq!(
        (again.failures, fleet.fail("a", again.fence, Some((10, Reach::Confirmed)))),
        (1, FailAnswer::Noted),
        "the same one"
    );
    let second = fleet.lead(&cold("b"));
    assert_eq!(fleet.fail("b", second.fence, Some((10, Reach::Confirmed))), FailAnswer::Shared);
    let failed = fleet.take(&cold("c"));
    let sealed = b"failure of b".to_vec();
    assert_eq!(failed, Taken::Failed { sealed, fence: second.fence, left: Duration::from_secs(10) });
    let forced = fleet.lead(&Take { why: Why::Forced, ..cold("c") });
    assert_eq!((forced.failures, fleet.fail("c", forced.fence, None)), (3, FailAnswer::Released));
    fleet.wait(10_000);
    let next = fleet.lead(&cold("c"));
    assert_eq!(fleet.fail("c", next.fence, Some((20, Reach::Confirmed))), FailAnswer::Shared, "and so does the next");
    fleet.wait(20_000);
    fleet.put(fleet.lead(&cold("a")).fence, "first", false);
    assert_eq!(fleet.lead(&ahead("a", "first", 9)).failures, 0);
}

#[test]
fn two_caches_of_one_replica_have_not_seen_a_failure_twice() {
    let fleet = Fleet::new();
    for owner in ["orders-7f6d~0", "orders-7f6d~1", "orders-7f6d~12"] {
        let lead = fleet.lead(&cold(owner));
        assert_eq!(fleet.fail(owner, lead.fence, Some((10, Reach::Confirmed))), FailAnswer::Noted, "{owner}");
    }
    let lead = fleet.lead(&cold("orders-7f6e~0"));
    assert_eq!(
        (lead.failures, fleet.fail("orders-7f6e~0", lead.fence, Some((10, Reach::Confirmed)))),
        (3, FailAnswer::Shared)
    );
}

#[test]
fn that_each_asks_for_itself_is_told_to_all_and_is_no_failure() {
    let fleet = Fleet::new();
    let lead = fleet.lead(&cold("a"));
    assert_eq!(fleet.fail("a", lead.fence, Some((10, Reach::Confirmed))), FailAnswer::Noted);
    let lead = fleet.lead(&cold("b"));
    assert_eq!(fleet.fail("b", lead.fence, Some((600, Reach::EachForItself))), FailAnswer::Shared);
    assert!((seconds(&fleet.take(&cold("c"))) - 600.0).abs() < 1e-9);
    fleet.wait(600_000);
    let lead = fleet.lead(&cold("c"));
    assert_eq!((lead.failures, fleet.fail("c", lead.fence, Some((10, Reach::Confirmed)))), (0, FailAnswer::Noted));
    let lead = fleet.lead(&cold("c"));
    assert_eq!(fleet.fail("c", lead.fence, Some((600, Reach::EachForItself))), FailAnswer::Shared);
    let forced = fleet.lead(&Take { why: Why::Forced, ..cold("c") });
    assert_eq!(fleet.put(forced.fence, "shared again", false), PutAnswer::Put);
    assert!(matches!(fleet.take(&cold("b")), Taken::Value(_)));
}

#[test]
fn after_the_largest_number_they_begin_again() {
    let fleet = Fleet::new();
    let known = LARGEST - 1;
    assert_eq!(fleet.lead(&Take { known, ..cold("a") }).fence, LARGEST);
    assert_eq!(fleet.put(LARGEST, "last", false), PutAnswer::Put);
    let held = |owner: &str| Take { age: Some(Duration::from_secs(3)), ..ahead(owner, "last", LARGEST) };
    assert_eq!(fleet.lead(&held("a")).fence, 1);
    assert_eq!(fleet.put(1, "first", false), PutAnswer::Put);
    let told = fleet.take(&held("b"));
    assert!(matches!(&told, Taken::Value(value) if value.generation == 1), "{told:?}");
    assert_eq!(fleet.lead(&ahead("b", "first", 1)).fence, 2);
    let beyond = Fleet::new();
    assert_eq!(beyond.lead(&Take { known: 1_000_000_000_000_000_000, ..cold("a") }).fence, 1);
}

#[test]
fn a_failure_is_for_all_at_once_where_it_says_so_and_a_token_is_given_all_the_same() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "first", false);
    let lead = fleet.lead(&ahead("a", "first", 1));
    assert_eq!(fleet.fail("a", lead.fence, Some((5, Reach::All))), FailAnswer::Shared);
    assert!((seconds(&fleet.take(&ahead("b", "first", 1))) - 5.0).abs() < 1e-9);
    assert!(matches!(fleet.take(&cold("c")), Taken::Value(_)));
}

#[test]
fn a_budget_is_the_fleets_in_grains_of_a_sixteenth() {
    let fleet = Fleet::new();
    let budget = Some(Budget { requests: 3, per: Duration::from_secs(60) });
    let forced = |owner: &str| Take { why: Why::Forced, budget, ..cold(owner) };
    for (n, owner) in ["a", "b", "c"].into_iter().enumerate() {
        let lead = fleet.lead(&forced(owner));
        assert_eq!(lead.used, u32::try_from(n).unwrap() + 1);
        fleet.fail(owner, lead.fence, None);
        fleet.wait(5000);
    }
    let left = seconds(&fleet.take(&forced("d")));
    assert!((45.0..=49.0).contains(&left), "{left}");
    assert!(matches!(fleet.take(&Take { why: Why::Apart, budget, ..cold("d") }), Taken::Spent(_)));
    fleet.wait(u64::try_from(Duration::from_secs_f64(left).as_millis()).unwrap());
    assert_eq!(fleet.lead(&forced("d")).used, 3);
}

#[test]
fn a_budget_with_another_window_does_not_lock_the_fleet_out() {
    let fleet = Fleet::new();
    let forced = |requests, seconds| Take {
        why: Why::Forced,
        budget: Some(Budget { requests, per: Duration::from_secs(seconds) }),
        ..cold("a")
    };
    for used in 1..=5 {
        assert_eq!(fleet.lead(&forced(5, 60)).used, used);
        fleet.wait(4000);
    }
    let left = seconds(&fleet.take(&forced(5, 3600)));
    assert!((3500.0..=3900.0).contains(&left), "what was sent counts in the longer window: {left}");
    fleet.wait(3_900_000);
    assert_eq!(fleet.lead(&forced(5, 3600)).used, 1);
}

#[test]
fn a_token_apart_is_of_the_budget_and_leads_nobody() {
    let fleet = Fleet::new();
    let budget = Some(Budget { requests: 2, per: Duration::from_secs(60) });
    let apart = Take { why: Why::Apart, budget, ..cold("a") };
    fleet.lead(&cold("b"));
    assert_eq!(fleet.lead(&apart), Lead { fence: 0, failures: 0, took_over_from: None, used: 1 });
    assert!(matches!(fleet.take(&cold("c")), Taken::Wait { .. }), "b leads");
    assert_eq!(fleet.lead(&apart).used, 2);
    assert!(matches!(fleet.take(&apart), Taken::Spent(_)));
    assert_eq!(fleet.lead(&Take { budget: None, ..apart }).used, 0);
}

#[test]
fn an_identity_that_nobody_asks_for_is_forgotten() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "first", false);
    fleet.wait(3_599_999);
    assert!(matches!(fleet.take(&cold("b")), Taken::Value(_)));
    fleet.wait(1);
    assert_eq!(fleet.lead(&cold("b")).fence, 1);
}

#[test]
fn a_clock_that_is_set_back_neither_hands_on_a_lease_nor_holds_for_ever() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    fleet.renewed("a", "0", "1");
    fleet.lead(&ahead("a", "1", 2));
    fleet.clock.fetch_sub(3_600_000, Ordering::Relaxed);
    assert!((seconds(&fleet.take(&holding("b", Why::Refused, "1", 0))) - 30.0).abs() < 1e-9);
    assert_eq!(fleet.lead(&ahead("b", "1", 2)).took_over_from.as_deref(), Some("a"));
}

#[test]
fn a_full_store_gives_what_it_has_and_takes_nothing() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "first", false);
    fleet.store.set_refusing_writes(true);
    assert!(matches!(fleet.take(&cold("b")), Taken::Value(_)));
    let lead = fleet.store.take(&fleet.tag, &ahead("b", "first", 1)).now_or_never().unwrap();
    assert_eq!(lead, Err(FULL));
    assert!(fleet.store.beat("b", LONGEST).now_or_never().unwrap().is_err());
    fleet.store.set_refusing_writes(false);
    assert_eq!(fleet.lead(&ahead("b", "first", 1)).fence, 2);
}

#[test]
fn what_was_asked_while_it_hung_is_done_when_it_goes_on() {
    let fleet = Fleet::new();
    fleet.store.set_timeout(Duration::ZERO);
    fleet.store.hang(Duration::from_secs(60));
    assert_eq!(fleet.store.take(&fleet.tag, &cold("a")).now_or_never().unwrap(), Err(StoreError::Timeout));
    fleet.wait(61_000);
    let left = Duration::from_secs(2);
    assert_eq!(fleet.take(&cold("b")), Taken::Wait { left, since: Duration::from_secs(1) });
    assert_eq!(fleet.store.operations()["take"], 2);
}

#[test]
fn a_store_that_is_away_or_loses_its_answers_says_so() {
    let fleet = Fleet::new();
    fleet.store.set_away(true);
    assert_eq!(fleet.store.take(&fleet.tag, &cold("a")).now_or_never().unwrap(), Err(StoreError::Away));
    fleet.store.set_away(false);
    fleet.store.set_losing_answers(true);
    assert_eq!(fleet.store.take(&fleet.tag, &cold("a")).now_or_never().unwrap(), Err(StoreError::Broken));
    fleet.store.set_losing_answers(false);
    assert!(matches!(fleet.take(&cold("b")), Taken::Wait { .. }), "it has done what it was asked for");
}

#[test]
fn replicas_are_counted_while_they_say_that_they_are_there() {
    let fleet = Fleet::new();
    let beat = |instance| fleet.store.beat(instance, Duration::from_secs(90)).now_or_never().unwrap().unwrap();
    assert_eq!(beat("a").replicas, 1);
    assert_eq!(beat("b"), Beat { now: Duration::from_millis(1_900_000_000_000), replicas: 2 });
    fleet.wait(89_999);
    assert_eq!(beat("a").replicas, 2);
    fleet.wait(1);
    assert_eq!(beat("a").replicas, 1);
}

#[tokio::test(start_paused = true)]
async fn news_come_after_their_delay_and_name_their_cause() {
    let store = ScriptedStore::new();
    let tag = Tag::scripted("abcdefghijklmnopqrstuv");
    store.set_latency(Duration::from_millis(2));
    store.set_news_delay(Duration::from_millis(5));
    let mut news = store.news();
    let began = Instant::now();
    let Ok(Taken::Lead(lead)) = store.take(&tag, &cold("a")).await else { panic!("it does not lead") };
    assert_eq!(began.elapsed(), Duration::from_millis(2));
    let put = Put {
        fence: lead.fence,
        sealed: Vec::new(),
        mark: mark("first"),
        usable: LONGEST,
        after_unauthorized: true,
        keep: LONGEST,
    };
    assert_eq!(store.put(&tag, &put).await, Ok(PutAnswer::Put));
    let heard = News::read(&news.recv().await.unwrap());
    assert_eq!(heard, Some(News { tag: tag.clone(), generation: 1, after_unauthorized: true }));
    assert_eq!(began.elapsed(), Duration::from_millis(8));
    assert_eq!(store.read(&tag).await.unwrap().map(|stored| stored.generation), Some(1));
}
