//! What becomes of a token that an upstream refuses.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, Member, Says, WAIT, down, millis, seconds, text};
use crate::renewal::{Answer, Decision, Evidence, Renewals, RequestPath};
use crate::token::{CachePolicy, TokenErrorKind};

/// What one replica knows of an upstream.
#[derive(Default)]
struct Upstream(Renewals);

/// What a caller met.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    Taken,
    Refused,
    /// No other token is available because of 401s.
    Held,
    NoToken,
}

impl Upstream {
    /// One request as the proxy makes it, to an upstream that takes what `takes` says.
    async fn request(&self, member: &Member, path: &'static str, takes: impl Fn(&str) -> bool) -> Met {
        let place = RequestPath { host: None, path };
        let Ok(token) = member.obtain().await else { return Met::NoToken };
        if takes(&text(&token)) {
            self.accepted(member, token.generation, place);
            return Met::Taken;
        }
        let mut decided = None;
        let newer = member.cache().renew(&token, WAIT, |standing| {
            let decision = self.0.decide(place, standing, Instant::now());
            decided = Some(decision);
            if let Decision::Renew(evidence) = decision { Some(evidence) } else { None }
        });
        match newer.await {
            Ok(Some(newer)) => {
                let taken = takes(&text(&newer));
                let answer = if taken { Answer::Taken } else { Answer::Refused };
                self.0.sent_again(decided, answer, newer.generation, place, Instant::now());
                if !taken {
                    return Met::Refused;
                }
                if let Some(Decision::Renew(evidence)) = decided {
                    member.cache().renewal_helped(evidence);
                }
                self.accepted(member, newer.generation, place);
                Met::Taken
            }
            Ok(None) => Met::Refused,
            Err(error) => {
                if let Some(decided) = decided {
                    self.0.failed(decided, place, Instant::now());
                }
                if error.kind == TokenErrorKind::Held { Met::Held } else { Met::NoToken }
            }
        }
    }

    fn accepted(&self, member: &Member, generation: u64, place: RequestPath<'_>) {
        member.cache().accepted(generation);
        self.0.accepted(generation, self.0.sent_at(), place);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_elsewhere_costs_nothing() {
    let fleet = Fleet::of(2);
    let refused = fleet.all_obtain().await;
    let newer = fleet.replicas[0].renew(&refused[0], Evidence::Strong).await.unwrap();
    assert_eq!(text(&newer), "token-2");
    sleep(seconds(5)).await;
    let late = fleet.replicas[1].renew(&refused[1], Evidence::Strong).await.unwrap();
    assert_eq!((text(&late).as_str(), fleet.server.asked()), ("token-2", 2));
    assert!(late.after_unauthorized, "who adopts it knows of the 401 too");
}

#[tokio::test(start_paused = true)]
async fn replicas_whose_token_is_refused_at_one_moment_make_one_request() {
    let fleet = Fleet::of(100);
    let refused = fleet.all_obtain().await;
    assert_eq!(refused.len(), 100);
    let newer = fleet
        .all(|member| async move {
            let token = member.obtain().await.unwrap();
            text(&member.renew(&token, Evidence::Strong).await.unwrap())
        })
        .await;
    assert!(newer.iter().all(|token| token == "token-2"), "{newer:?}");
    assert_eq!(fleet.server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_replaced_everywhere_before_most_have_met_the_refusal() {
    let fleet = Fleet::of(20);
    fleet.all_obtain().await;
    let token = fleet.replicas[3].obtain().await.unwrap();
    assert_eq!(fleet.tokens().len(), 1, "all use it");
    fleet.replicas[3].renew(&token, Evidence::Strong).await.unwrap();
    sleep(millis(100)).await;
    assert_eq!(fleet.tokens(), HashSet::from([Some("token-2".to_owned())]), "by what is said on the channel");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_takes_a_token_costs_three_requests_in_its_first_minute_also_where_replicas_restart() {
    let mut fleet = Fleet::of(8);
    fleet.all_obtain().await;
    let began = Instant::now();
    let mut upstreams: Vec<Upstream> = (0..8).map(|_| Upstream::default()).collect();
    let mut held = 0;
    for second in 0..180_usize {
        if second == 20 || second == 90 {
            for number in [1, 5] {
                fleet.restart(number);
                upstreams[number] = Upstream::default();
            }
        }
        for (member, upstream) in fleet.replicas.iter().zip(&upstreams) {
            let met = upstream.request(member, "/bad", |_| false).await;
            assert!(matches!(met, Met::Refused | Met::Held), "{met:?}");
            held += usize::from(met == Met::Held);
            assert!(member.token().is_some(), "a token that is held back comes into use again");
        }
        sleep(seconds(1)).await;
        if second == 59 {
            assert!(fleet.server.asked() <= 1 + 3, "{}", fleet.server.asked());
        }
    }
    assert!(held > 0);
    let at: Vec<f32> = fleet.server.requests().iter().map(|request| (request.at - began).as_secs_f32()).collect();
    assert!(at.len() <= 1 + 4, "renewals in three minutes: {at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_takes_the_token_sees_nothing_of_one_that_does_not() {
    let fleet = Fleet::of(8);
    fleet.all_obtain().await;
    let upstreams: Vec<Arc<Upstream>> = (0..8).map(|_| Arc::default()).collect();
    let began = Instant::now();
    for second in 0..120 {
        for (member, upstream) in fleet.replicas.iter().zip(&upstreams) {
            let asked = Instant::now();
            assert_eq!(upstream.request(member, "/good", |_| true).await, Met::Taken);
            assert!(asked.elapsed() < millis(1), "no wait, second {second}");
            upstream.request(member, "/bad", |_| false).await;
        }
        sleep(seconds(1)).await;
    }
    let renewals = fleet.server.asked_since(began);
    assert!(renewals <= 12, "{renewals} renewals in two minutes");
}

#[tokio::test(start_paused = true)]
async fn a_real_revocation_heals_while_another_upstream_takes_nothing() {
    let fleet = Fleet::of(4);
    fleet.all_obtain().await;
    let (good, bad): (Vec<Upstream>, Vec<Upstream>) = (0..4).map(|_| Default::default()).unzip();
    let mut revoked = HashSet::new();
    let mut healed_after = Vec::new();
    for second in 0..120_u64 {
        if second % 40 == 30 {
            revoked.insert(fleet.replicas[0].token().unwrap());
        }
        for (number, member) in fleet.replicas.iter().enumerate() {
            let began = Instant::now();
            let met = good[number].request(member, "/good", |token| !revoked.contains(token)).await;
            assert_eq!(met, Met::Taken, "second {second}, replica {number}");
            healed_after.push(began.elapsed());
            bad[number].request(member, "/bad", |_| false).await;
        }
        sleep(seconds(1)).await;
    }
    assert!(healed_after.iter().max().unwrap() < &millis(400));
}

#[tokio::test(start_paused = true)]
async fn plain_refusals_are_held_back_and_those_who_join_meanwhile_get_what_they_came_for() {
    let fleet = Fleet::of(2);
    fleet.all_obtain().await;
    let member = &fleet.replicas[0];
    let first = member.obtain().await.unwrap();
    let second = member.renew(&first, Evidence::Strong).await.unwrap();
    fleet.store.set_latency(millis(40));
    // Under a flight that will be told to hold: one who wants any token, and one who wants a new one whatever there is.
    let renewal = tokio::spawn({
        let (member, second) = (Arc::clone(member), second.clone());
        async move { member.renew(&second, Evidence::Strong).await }
    });
    sleep(millis(5)).await;
    let cold = tokio::spawn({
        let member = Arc::clone(member);
        async move { member.obtain().await }
    });
    sleep(millis(5)).await;
    assert_eq!(text(&cold.await.unwrap().unwrap()), "token-2", "the refused one, which is all that there is to be");
    assert_eq!(renewal.await.unwrap().unwrap_err(), TokenErrorKind::Held);
    assert_eq!((fleet.server.asked(), member.token()), (2, Some("token-2".to_owned())));
    let again = member.cache().renew(&second, WAIT, |_| Some(Evidence::Strong)).await.unwrap_err();
    assert!(again.kind == TokenErrorKind::Held && again.retry_after.unwrap() > seconds(28), "{again:?}");
    assert_eq!(fleet.server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_forces_a_new_token_under_a_flight_that_is_held_back_gets_one() {
    let fleet = Fleet::of(1);
    let member = Arc::clone(&fleet.replicas[0]);
    let first = member.obtain().await.unwrap();
    let second = member.renew(&first, Evidence::Strong).await.unwrap();
    fleet.store.set_latency(millis(40));
    let renewal = tokio::spawn({
        let member = Arc::clone(&member);
        async move { member.renew(&second, Evidence::Strong).await.map(|token| text(&token)) }
    });
    sleep(millis(5)).await;
    let forced = member.cache().refresh(WAIT).await.unwrap();
    assert_eq!((text(&forced).as_str(), fleet.server.asked()), ("token-3", 3));
    assert_eq!(renewal.await.unwrap().unwrap(), "token-3", "who was refused has it too");
    let apart = member.cache().acquire(CachePolicy::ReadWrite, WAIT).await;
    assert!(apart.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_the_refused_token_has_ended_meanwhile_a_hold_keeps_nobody_without_a_token() {
    let fleet = Fleet::of(1);
    let member = Arc::clone(&fleet.replicas[0]);
    fleet.server.answers(|_| (millis(10), Says::Token(6)));
    for _ in 0..12 {
        // Seven of them within ten seconds are more than 401s may cause.
        let token = member.obtain().await.unwrap();
        let before = fleet.server.asked();
        match member.renew(&token, Evidence::Strong).await {
            Ok(_) => assert!(fleet.server.asked() >= before),
            Err(kind) => assert_eq!(kind, TokenErrorKind::Held),
        }
        sleep(millis(800)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_nobody_waiting_and_is_tried_again() {
    let fleet = Fleet::of(3);
    let refused = fleet.all_obtain().await;
    fleet.server.answers(|request| match request.number {
        2..=4 => (millis(50), Says::Fail(down())),
        _ => (millis(50), Says::Token(HOUR)),
    });
    let error = fleet.replicas[0].renew(&refused[0], Evidence::Strong).await.unwrap_err();
    assert_eq!(error, TokenErrorKind::Transient);
    sleep(seconds(10)).await;
    fleet.all_obtain().await;
    assert_eq!(fleet.replicas[0].token().unwrap(), format!("token-{}", fleet.server.asked()));
}
