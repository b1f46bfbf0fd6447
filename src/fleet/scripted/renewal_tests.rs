//! How often the fleet renews because of 401s. The scripts on a server are held against the same code.

use super::testing::{Fleet, cold, holding, seconds};
use super::*;
use crate::token::Why;

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
