//! What the shared cache answers, by the stories that it was made for. The scripts on a server are held against the same code.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;

use super::*;
use crate::fleet::names::Mark;
use crate::fleet::news::News;
use crate::fleet::protocol::{LARGEST, Lead, Reach, SharedFailure};
use crate::token::{Budget, Why};

const LEASE: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(12);

/// A store whose clock is turned by hand, as replicas ask it about one identity.
struct Fleet {
    store: ScriptedStore,
    clock: Arc<AtomicU64>,
    tag: Tag,
}

impl Fleet {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(1_900_000_000_000));
        let read = Arc::clone(&clock);
        let store = ScriptedStore::with_clock(move || Duration::from_millis(read.load(Ordering::Relaxed)));
        Self { store, clock, tag: Tag::scripted("abcdefghijklmnopqrstuv") }
    }

    fn wait(&self, milliseconds: u64) {
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Without latency an answer is there at once.
    fn take(&self, question: &Take) -> Taken {
        self.store.take(&self.tag, question).now_or_never().unwrap().unwrap()
    }

    fn lead(&self, question: &Take) -> Lead {
        match self.take(question) {
            Taken::Lead(lead) => lead,
            other => panic!("{} does not lead: {other:?}", question.owner),
        }
    }

    fn put(&self, fence: u64, mark_of: &str, because_of_401: bool) -> PutAnswer {
        let put = Put {
            fence,
            sealed: mark_of.as_bytes().to_vec(),
            mark: mark(mark_of),
            usable: Duration::from_secs(3600),
            after_unauthorized: because_of_401,
            keep: Duration::from_secs(3600),
        };
        self.store.put(&self.tag, &put).now_or_never().unwrap().unwrap()
    }

    fn fail(&self, owner: &str, fence: u64, failure: Option<(u64, Reach)>) -> FailAnswer {
        let failure = failure.map(|(seconds, reach)| SharedFailure {
            sealed: format!("failure of {owner}").into_bytes(),
            delay: Duration::from_secs(seconds),
            reach,
        });
        let fail = Fail { owner: owner.into(), fence, failure };
        self.store.fail(&self.tag, &fail).now_or_never().unwrap().unwrap()
    }

    fn keep(&self, owner: &str, fence: u64) -> bool {
        let lease = Lease { owner: owner.into(), fence, length: LEASE };
        self.store.keep(&self.tag, &lease).now_or_never().unwrap().unwrap()
    }

    fn accepted(&self, generation: u64) -> bool {
        self.store.accepted(&self.tag, generation).now_or_never().unwrap().unwrap()
    }

    /// This replica renews because of a 401, at once.
    fn renewed(&self, owner: &str, refused: &str, new: &str) -> Lead {
        let lead = self.lead(&holding(owner, Why::Refused, refused, 0));
        assert_eq!(self.put(lead.fence, new, true), PutAnswer::Put);
        lead
    }
}

fn mark(of: &str) -> Mark {
    Mark::from(Arc::from(of))
}

fn cold(owner: &str) -> Take {
    Take {
        owner: owner.into(),
        lease: LEASE,
        lease_max: LONGEST,
        why: Why::Cold,
        held: None,
        known: 0,
        age: None,
        has_taken: true,
        budget: None,
    }
}

/// What it holds is of this age in seconds.
fn holding(owner: &str, why: Why, held: &str, age: u64) -> Take {
    Take { why, held: Some(mark(held)), age: Some(Duration::from_secs(age)), ..cold(owner) }
}

/// Asks ahead for the successor of what it holds, which is the newest that it knows.
fn ahead(owner: &str, held: &str, known: u64) -> Take {
    Take { known, ..holding(owner, Why::Ahead, held, 0) }
}

fn seconds(taken: &Taken) -> f64 {
    match taken {
        Taken::Hold(time) | Taken::Spent(time) | Taken::Wait { left: time, .. } | Taken::Failed { left: time, .. } => {
            time.as_secs_f64()
        }
        other => panic!("{other:?} has no end"),
    }
}

#[test]
fn one_leads_and_the_others_wait_until_there_is_a_value() {
    let fleet = Fleet::new();
    let lead = fleet.lead(&cold("a"));
    assert_eq!(lead, Lead { fence: 1, failures: 0, took_over_from: None, used: 0 });
    fleet.wait(500);
    let left = Duration::from_millis(2500);
    assert_eq!(fleet.take(&cold("b")), Taken::Wait { left, since: Duration::from_millis(500) });
    assert_eq!(
        fleet.take(&Take { why: Why::Forced, ..cold("b") }),
        Taken::Wait { left, since: Duration::from_millis(500) }
    );
    assert_eq!(fleet.put(1, "first", false), PutAnswer::Put);
    fleet.wait(10);
    let Taken::Value(stored) = fleet.take(&cold("b")) else { panic!("no value") };
    assert_eq!((stored.generation, stored.sealed.as_slice(), stored.renewals), (1, b"first".as_slice(), 0));
    assert_eq!((stored.age.as_millis(), stored.left.as_millis()), (10, 3_599_990));
}

#[test]
fn the_leader_asks_again_and_leads_again() {
    let fleet = Fleet::new();
    assert_eq!(fleet.lead(&cold("a")).fence, 1);
    let again = fleet.lead(&cold("a"));
    assert_eq!((again.fence, again.took_over_from), (2, None));
    assert!(!fleet.keep("a", 1) && fleet.keep("a", 2));
}

#[test]
fn a_lease_goes_on_while_it_is_kept_and_no_longer_than_the_longest() {
    let fleet = Fleet::new();
    let lead = fleet.lead(&cold("a"));
    for second in 1..12 {
        fleet.wait(1000);
        assert!(fleet.keep("a", lead.fence), "{second}");
        assert!(matches!(fleet.take(&cold("b")), Taken::Wait { .. }), "{second}");
    }
    fleet.wait(999);
    assert!((seconds(&fleet.take(&cold("b"))) - 0.001).abs() < 1e-9, "it ends by the longest");
    fleet.wait(1);
    let stolen = fleet.lead(&cold("b"));
    assert_eq!((stolen.fence, stolen.took_over_from.as_deref()), (2, Some("a")));
    assert!(!fleet.keep("a", lead.fence));
}

#[test]
fn a_silent_leader_is_followed_and_what_it_puts_late_is_older() {
    let fleet = Fleet::new();
    assert_eq!(fleet.lead(&cold("a")).fence, 1);
    fleet.wait(2999);
    assert!(matches!(fleet.take(&cold("b")), Taken::Wait { .. }));
    fleet.wait(1);
    assert_eq!(fleet.lead(&cold("b")).took_over_from.as_deref(), Some("a"));
    assert_eq!(fleet.put(2, "of b", false), PutAnswer::Put);
    let PutAnswer::Older(stored) = fleet.put(1, "of a", false) else { panic!("it was put") };
    assert_eq!((stored.generation, stored.sealed.as_slice()), (2, b"of b".as_slice()));
    assert_eq!(fleet.fail("a", 1, Some((10, Reach::All))), FailAnswer::Lost);
}

#[test]
fn what_is_put_in_time_leaves_the_lease_of_who_took_over() {
    let fleet = Fleet::new();
    assert_eq!(fleet.lead(&cold("a")).fence, 1);
    fleet.wait(3000);
    assert_eq!(fleet.lead(&cold("b")).fence, 2);
    assert_eq!(fleet.put(1, "of a", false), PutAnswer::Put);
    assert!(fleet.keep("b", 2));
    assert_eq!(fleet.put(2, "of b", false), PutAnswer::Put);
    assert!(!fleet.keep("b", 2));
}

#[test]
fn what_is_put_twice_because_the_answer_was_lost_is_put() {
    let fleet = Fleet::new();
    let fence = fleet.lead(&cold("a")).fence;
    let mut news = fleet.store.news();
    assert_eq!(fleet.put(fence, "first", false), PutAnswer::Put);
    assert_eq!(fleet.put(fence, "first", false), PutAnswer::Put);
    assert!(news.try_recv().is_ok() && news.try_recv().is_err(), "said once");
    assert!(matches!(fleet.put(fence, "another", false), PutAnswer::Older(_)));
}

#[test]
fn numbers_rise_after_everything_was_lost() {
    let fleet = Fleet::new();
    fleet.store.wipe();
    let lead = fleet.lead(&Take { known: 12, ..holding("a", Why::Ahead, "twelfth", 3000) });
    assert_eq!(lead.fence, 13);
    fleet.store.wipe();
    assert_eq!(fleet.put(13, "thirteenth", false), PutAnswer::Put);
    assert_eq!(fleet.lead(&ahead("b", "thirteenth", 13)).fence, 14);
}

#[test]
fn who_asks_ahead_is_told_that_the_token_was_put_again_and_who_was_refused_is_not() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "the one", false);
    fleet.put(fleet.lead(&ahead("a", "the one", 1)).fence, "the one", false);
    let told = fleet.take(&ahead("b", "the one", 1));
    assert!(matches!(&told, Taken::Value(value) if value.generation == 2), "{told:?}");
    assert_eq!(fleet.lead(&ahead("b", "the one", 2)).fence, 3, "it has been told");
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "the one", false);
    fleet.put(fleet.lead(&ahead("a", "the one", 1)).fence, "the one", false);
    assert_eq!(fleet.lead(&Take { known: 1, ..holding("b", Why::Refused, "the one", 0) }).fence, 3);
}

#[test]
fn those_who_asked_alone_agree_on_the_first_token_that_is_younger_than_theirs() {
    let fleet = Fleet::new();
    fleet.wait(100_000);
    let lead = fleet.lead(&Take { known: 7, ..holding("a", Why::Ahead, "of a", 50) });
    assert_eq!(fleet.put(lead.fence, "new", false), PutAnswer::Put);
    fleet.wait(10_000);
    for (owner, known) in [("b", 7), ("c", 20)] {
        let taken = fleet.take(&Take { known, ..holding(owner, Why::Ahead, "own", 40) });
        assert!(matches!(taken, Taken::Value(_)), "{owner} {taken:?}");
    }
    let younger = Take { known: 20, ..holding("d", Why::Ahead, "own", 10) };
    assert_eq!(fleet.lead(&younger).fence, 21, "the one that is there is no younger than its own");
}

#[test]
fn a_late_401_about_a_token_that_was_replaced_gets_the_newer_one() {
    let fleet = Fleet::new();
    let lead = fleet.lead(&cold("a"));
    fleet.put(lead.fence, "first", false);
    fleet.wait(5000);
    fleet.renewed("a", "first", "second");
    let late = Take { known: 1, ..holding("b", Why::Refused, "first", 5) };
    let Taken::Value(stored) = fleet.take(&late) else { panic!("no value") };
    assert_eq!((stored.sealed.as_slice(), stored.renewals), (b"second".as_slice(), 1));
}

#[test]
fn who_holds_a_younger_token_that_was_refused_is_not_given_an_older_one() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "first", false);
    fleet.wait(60_000);
    // Obtained 30 s ago, without the store, by a replica that has just joined.
    assert_eq!(fleet.lead(&holding("b", Why::Refused, "own", 30)).fence, 2);
}

#[test]
fn renewals_that_do_not_help_are_held_for_30_seconds_doubling_to_10_minutes() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    fleet.renewed("a", "0", "1");
    let mut holds = Vec::new();
    for n in 1..8 {
        let hold = seconds(&fleet.take(&holding("b", Why::Refused, &n.to_string(), 0)));
        holds.push(hold);
        fleet.wait(u64::try_from(Duration::from_secs_f64(hold).as_millis()).unwrap() - 1);
        let refused = holding("b", Why::Refused, &n.to_string(), 0);
        assert!((seconds(&fleet.take(&refused)) - 0.001).abs() < 1e-9);
        fleet.wait(1);
        fleet.renewed("b", &n.to_string(), &(n + 1).to_string());
    }
    assert_eq!(holds, [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]);
}

#[test]
fn a_token_that_was_accepted_is_renewed_at_once_and_begins_the_series_anew() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    fleet.renewed("a", "0", "1");
    assert!(matches!(fleet.take(&holding("b", Why::Refused, "1", 0)), Taken::Hold(_)));
    assert!(!fleet.accepted(1), "an older one");
    assert!(fleet.accepted(2));
    fleet.renewed("b", "1", "2");
    assert!((seconds(&fleet.take(&holding("c", Why::Refused, "2", 0))) - 30.0).abs() < 1e-9);
}

#[test]
fn a_fleet_renews_six_times_in_ten_seconds_and_thirty_times_in_ten_minutes() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    let (mut in_time, mut held) = (Vec::new(), 0);
    for step in 0..700 {
        let n = in_time.len();
        match fleet.take(&holding(&format!("r{}", step % 8), Why::Refused, &n.to_string(), 0)) {
            Taken::Lead(lead) => {
                fleet.put(lead.fence, &(n + 1).to_string(), true);
                // A good path takes each of them.
                assert!(fleet.accepted(lead.fence));
                in_time.push(step);
            }
            Taken::Hold(_) => held += 1,
            other => panic!("{other:?}"),
        }
        fleet.wait(1000);
    }
    let most = |span| (0..700).map(|from| in_time.iter().filter(|at| (from..from + span).contains(*at)).count()).max();
    assert_eq!((most(10), most(600)), (Some(6), Some(30)));
    assert!(held > 600 && in_time.len() > 30);
}

#[test]
fn what_never_took_a_token_renews_twice_in_ten_seconds_and_a_real_revocation_still_heals() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    let stranger = |n: u32| Take { has_taken: false, ..holding("a", Why::Refused, &n.to_string(), 0) };
    for n in 0..2 {
        let lead = fleet.lead(&stranger(n));
        fleet.put(lead.fence, &(n + 1).to_string(), true);
        assert!(fleet.accepted(lead.fence));
        fleet.wait(1000);
    }
    assert!((seconds(&fleet.take(&stranger(2))) - 8.0).abs() < 1e-9);
    fleet.renewed("b", "2", "3");
}

#[test]
fn however_often_strangers_are_refused_what_took_tokens_is_healed_at_any_time() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    let (mut newest, mut in_ten_minutes, mut in_a_minute) = (0, 0, 0);
    for second in 0..1800_u32 {
        let stranger = Take { has_taken: false, ..holding("a", Why::Refused, &newest.to_string(), 0) };
        if let Taken::Lead(lead) = fleet.take(&stranger) {
            newest += 1;
            fleet.put(lead.fence, &newest.to_string(), true);
            assert!(fleet.accepted(lead.fence), "elsewhere");
            in_ten_minutes += u32::from(second < 600);
            in_a_minute += u32::from(second < 60);
        }
        if second % 600 == 599 {
            fleet.renewed("b", &newest.to_string(), &(newest + 1).to_string());
            newest += 1;
            let taken = fleet.take(&cold("c"));
            let Taken::Value(value) = taken else { panic!("{taken:?}") };
            assert!(fleet.accepted(value.generation));
        }
        fleet.wait(1000);
    }
    assert_eq!((in_a_minute, in_ten_minutes), (4, 20));
}

#[test]
fn the_quick_retry_of_a_renewal_is_the_same_renewal() {
    let fleet = Fleet::new();
    fleet.put(fleet.lead(&cold("a")).fence, "0", false);
    let stranger = Take { has_taken: false, ..holding("a", Why::Refused, "0", 0) };
    for _ in 0..5 {
        fleet.lead(&stranger);
        fleet.wait(100);
    }
    let other = Take { has_taken: false, ..holding("b", Why::Refused, "0", 0) };
    assert!(matches!(fleet.take(&other), Taken::Wait { .. }), "a token is on its way");
    fleet.fail("a", 6, None);
    fleet.lead(&other);
}

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
