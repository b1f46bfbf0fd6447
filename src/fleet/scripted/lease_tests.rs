//! Who leads, and which token is the newer one. The scripts on a server are held against the same code.

use super::testing::{Fleet, ahead, cold, holding, seconds};
use super::*;
use crate::fleet::protocol::{Lead, Reach};
use crate::token::Why;

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
