//! The rule as a state machine, against the oracle of [`super::oracle`].
//!
//! `ATTACHE_HISTORIES` is how many histories, 512 unless it says otherwise. A failure is shrunk and printed; what was found
//! has become a named test below.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::event::Event::{Request as Ask, Revoke, Wait};
use super::event::{Event, Path, Upstream};
use super::oracle::{World, seconds};

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        6 => (0_u8..3).prop_map(Path::Good),
        3 => Just(Path::Item),
        2 => (0_u8..3).prop_map(Path::Bad),
        1 => Just(Path::BadItem),
        1 => Just(Path::BadOf),
        1 => Just(Path::Upload),
        1 => Just(Path::BadUpload),
        1 => Just(Path::Down),
        1 => Just(Path::Public),
        1 => Just(Path::Shaky),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0_usize..3, path()).prop_map(|(upstream, path)| Ask(upstream, path)),
        2 => (0_usize..3, path(), 0_u8..5).prop_map(|(upstream, path, left)| Event::Slow(upstream, path, left)),
        2 => Just(Revoke),
        1 => (0_u8..20).prop_map(Event::Restart),
        4 => (1_u32..3000).prop_map(Wait),
        1 => (3000_u32..120_000).prop_map(Wait),
    ]
}

fn kinds() -> impl Strategy<Value = Vec<Upstream>> {
    let kind = prop_oneof![4 => Just(Upstream::Good), 1 => Just(Upstream::Bad), 1 => Just(Upstream::OneBadServer)];
    proptest::collection::vec(kind, 1..4)
}

#[test]
fn whatever_happens_the_four_points_hold() {
    let set = std::env::var("ATTACHE_HISTORIES").ok();
    let cases = set.map_or(512, |cases| cases.parse().expect("ATTACHE_HISTORIES is a number"));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let histories = (kinds(), proptest::collection::vec(event(), 1..300));
    let run =
        |(kinds, events): (Vec<Upstream>, Vec<Event>)| World::new(&kinds).run(&events).map_err(TestCaseError::fail);
    if let Err(found) = runner.run(&histories, run) {
        panic!("{found}");
    }
}

/// Token requests because of 401s in so many seconds of these events, over and over.
fn cost(kinds: &[Upstream], round: &[Event], for_seconds: u64) -> usize {
    let mut world = World::new(kinds);
    let began = world.now;
    while world.now - began < seconds(for_seconds) {
        world.run(round).unwrap();
    }
    world.all.len()
}

#[test]
fn an_upstream_that_takes_no_token_costs_at_most_three_in_the_first_minute() {
    assert!(cost(&[Upstream::Bad], &[Ask(0, Path::Good(0)), Wait(50)], 60) <= 3);
    let many = [Ask(0, Path::Good(0)), Ask(0, Path::Good(1)), Ask(0, Path::Item), Wait(50)];
    assert!(cost(&[Upstream::Bad], &many, 60) <= 3);
}

#[test]
fn an_upstream_that_stops_taking_tokens_costs_at_most_three_in_the_first_minute() {
    let mut world = World::new(&[Upstream::Good]);
    let paths = [Ask(0, Path::Good(0)), Ask(0, Path::Good(1)), Ask(0, Path::Good(2)), Ask(0, Path::Item), Wait(100)];
    world.run(&[Ask(0, Path::Bad(0))]).unwrap();
    world.run(&paths).unwrap();
    world.peers[0].kind = Upstream::Bad;
    let (before, began) = (world.all.len(), world.now);
    while world.now - began < seconds(60) {
        world.run(&paths).unwrap();
    }
    assert!(world.all.len() - before <= 3, "{}", world.all.len() - before);
}

#[test]
fn one_bad_server_of_two_costs_no_more_than_it_takes_to_know_it() {
    assert!(cost(&[Upstream::OneBadServer], &[Ask(0, Path::Good(0)), Wait(11)], 600) <= 6);
}

#[test]
fn one_bad_path_costs_one_renewal_while_the_others_are_in_use() {
    let round = [Ask(0, Path::Good(0)), Ask(0, Path::Bad(0)), Wait(100)];
    assert!(cost(&[Upstream::Good], &round, 600) <= 2);
    let items = [Ask(0, Path::Item), Ask(0, Path::BadItem), Wait(100)];
    assert!(cost(&[Upstream::Good], &items, 600) <= 2);
    let of = [Ask(0, Path::Item), Ask(0, Path::BadOf), Wait(100)];
    assert!(cost(&[Upstream::Good], &of, 600) <= 2);
}

#[test]
fn a_token_that_is_revoked_every_two_and_a_half_seconds_is_replaced_each_time() {
    let round: Vec<Event> = [Ask(0, Path::Good(0)), Ask(0, Path::Item), Wait(2500), Revoke].to_vec();
    assert_eq!(cost(&[Upstream::Good], &round, 25), 9);
}

#[test]
fn a_bad_neighbour_costs_a_good_upstream_nothing() {
    let round = [Ask(0, Path::Good(0)), Ask(1, Path::Good(0)), Wait(100)];
    assert!(cost(&[Upstream::Good, Upstream::Bad], &round, 60) <= 3);
}

fn holds(kinds: &[Upstream], history: &[Event]) {
    World::new(kinds).run(history).unwrap();
}

#[test]
fn a_renewal_that_found_the_authorization_server_away_holds_nothing_up() {
    holds(
        &[Upstream::Good, Upstream::Good],
        &[Ask(1, Path::Good(0)), Event::Restart(1), Ask(0, Path::Good(0)), Wait(1000), Ask(0, Path::Good(0))],
    );
}

#[test]
fn a_place_that_nothing_is_known_against_is_not_held_up_by_a_bad_one() {
    let history = [
        [Ask(0, Path::Bad(0)), Ask(0, Path::Item), Wait(14_000), Revoke].as_slice(),
        &[Ask(0, Path::Good(0)), Wait(46_000), Ask(0, Path::Bad(0)), Ask(0, Path::Bad(1)), Revoke],
        &[Wait(60_000), Ask(0, Path::Item)],
    ];
    holds(&[Upstream::Good], &history.concat());
}

#[test]
fn a_late_answer_about_two_dead_tokens_is_not_held_against_its_place() {
    let history = [
        [Event::Slow(0, Path::Item, 0), Revoke, Event::Slow(0, Path::Good(0), 2), Ask(0, Path::Item), Revoke]
            .as_slice(),
        &[Wait(3000), Ask(0, Path::Bad(0)), Revoke, Ask(0, Path::Good(0)), Wait(1000), Ask(0, Path::Good(0))],
    ];
    holds(&[Upstream::Good], &history.concat());
}

#[test]
fn where_waiting_has_shown_the_token_to_be_dead_the_next_death_is_not_waited_for() {
    let mut world = World::new(&[Upstream::Good]);
    // One caller may not do with this path what others may: it is refused and taken in turn.
    world.run(&[Ask(0, Path::Item), Ask(0, Path::BadOf), Ask(0, Path::Good(0))]).unwrap();
    world.run(&[Revoke, Ask(0, Path::Good(1)), Wait(1000), Ask(0, Path::Good(1))]).unwrap();
    let before = world.all.len();
    world.run(&[Wait(70_000), Revoke, Ask(0, Path::Good(2))]).unwrap();
    assert_eq!(world.all.len(), before + 1, "the first refusal is enough");
}

#[test]
fn a_path_that_never_looks_at_tokens_keeps_no_dead_one_in_use() {
    let mut world = World::new(&[Upstream::Good]);
    let path = Ask(0, Path::Good(0));
    world.run(&[path]).unwrap();
    // An outage, in which a new token is refused as well.
    world.peers[0].kind = Upstream::Bad;
    world.run(&[path]).unwrap();
    world.peers[0].kind = Upstream::Good;
    world.run(&[path, Wait(60_000), Revoke]).unwrap();
    for _ in 0..20 {
        world.run(&[Ask(0, Path::Public), Ask(0, Path::Down), path, Wait(500)]).unwrap();
    }
    assert!(world.token.is_some_and(|token| !token.revoked));
}

#[test]
fn refused_requests_that_cannot_be_sent_again_cost_little_and_hold_up_nobody() {
    let mut world = World::new(&[Upstream::Good]);
    let path = Ask(0, Path::Good(0));
    world.run(&[path]).unwrap();
    for _ in 0..600 {
        world.run(&[Ask(0, Path::BadUpload), path, Wait(1000)]).unwrap();
    }
    assert!(world.all.len() <= 8, "{}", world.all.len());
    world.run(&[Revoke, path]).unwrap();
    assert!(world.token.is_some_and(|token| !token.revoked), "the first refusal of a good path is enough");
}

#[test]
fn a_bad_path_costs_a_quiet_good_one_nothing() {
    let mut world = World::new(&[Upstream::Good]);
    world.run(&[Ask(0, Path::Good(0))]).unwrap();
    for minute in 0..60 {
        for _ in 0..60 {
            world.run(&[Ask(0, Path::Bad(0)), Wait(1000)]).unwrap();
        }
        let dies = if minute % 5 == 4 { Revoke } else { Wait(1) };
        world.run(&[dies, Ask(0, Path::Good(0))]).unwrap();
        assert!(world.token.is_some_and(|token| !token.revoked), "replaced at its first refusal");
    }
}

#[test]
fn one_bad_server_behind_one_path_keeps_no_dead_token_in_use_for_another() {
    let mut world = World::new(&[Upstream::Good]);
    for tick in 0..6000_u32 {
        if tick % 300 == 299 {
            world.run(&[Revoke]).unwrap();
        }
        let shaky = if tick % 2 == 0 { Ask(0, Path::Shaky) } else { Wait(1) };
        world.run(&[Ask(0, Path::Good(0)), shaky, Wait(100)]).unwrap();
        // Within a second and a half of each death, and mostly at its first refusal.
        let healed = world.token.is_some_and(|token| !token.revoked);
        assert!(healed || tick % 300 == 299 || tick % 300 < 15, "tick {tick}");
    }
}
