//! Values that cannot be used are replaced.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, Member, millis, seconds, text};
use crate::fleet::SimulatedSettings;
use crate::fleet::keys::CacheKeys;
use crate::fleet::names::{Mark, SharedIdentity, Tag};
use crate::fleet::protocol::{FleetStore as _, Put, PutAnswer};
use crate::fleet::value::TokenValue;
use crate::secret::{Secret, SecretSource, Secrets};
use crate::token::{Clock, FetchDetail, TokenOrigin, TokenType};

const OLD: &str = "an old key of the fleet, 32 or more";
const NEW: &str = "the new key of the fleet, 32 or more";

fn keys(keys: &[&str]) -> CacheKeys {
    let sources = keys.iter().map(|key| SecretSource::Literal(Secret::new((*key).to_owned()))).collect();
    CacheKeys::read(&Secrets::new(sources).unwrap()).unwrap()
}

fn with(keys: &[&str]) -> SimulatedSettings {
    SimulatedSettings { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..SimulatedSettings::default() }
}

fn tag(key: &str) -> Tag {
    Tag::new(keys(&[key]).first(), "simulated", &SharedIdentity::new(&[0; 32], [], false))
}

fn value(token: &str, lived: Duration, ends: SystemTime) -> TokenValue {
    TokenValue {
        token: Secret::new(token.to_owned()),
        token_type: TokenType::Bearer,
        lifetime: seconds(HOUR),
        age: lived,
        expires_at: ends,
        scope: None,
        missing_scope: Vec::new(),
        detail: FetchDetail::default(),
        by: "another".to_owned(),
    }
}

async fn put(fleet: &Fleet, fence: u64, sealed: Vec<u8>) -> PutAnswer {
    let mark = Mark::from(std::sync::Arc::from("a-mark-that-nobody-had"));
    let put = Put { fence, sealed, mark, usable: seconds(HOUR), after_unauthorized: false, keep: seconds(HOUR) };
    fleet.store.put(&tag(OLD), &put).await.unwrap()
}

fn rejected(member: &Member) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    crate::telemetry::family::register(&mut registry, member.simulated.replica().metrics.families());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("cache_rejected_total"));
    lines.map(str::to_owned).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn what_is_forged_or_ended_or_of_an_unknown_key_is_replaced_for_all_and_counted() {
    let wall = Clock::scripted().0.now().wall;
    let good = wall + seconds(HOUR);
    let cases = [
        ("unknown_key", vec![1; 200]),
        ("forged", {
            let mut sealed = value("x", seconds(0), good).seal(&keys(&[OLD]), &tag(OLD), 3).unwrap();
            *sealed.last_mut().unwrap() ^= 1;
            sealed
        }),
        // Of another number, and of another place.
        ("forged", value("x", seconds(0), good).seal(&keys(&[OLD]), &tag(OLD), 2).unwrap()),
        ("forged", value("x", seconds(0), good).seal(&keys(&[OLD]), &tag(NEW), 3).unwrap()),
        ("unknown_key", value("x", seconds(0), good).seal(&keys(&[NEW]), &tag(OLD), 3).unwrap()),
        ("expired", value("x", seconds(0), wall - seconds(60)).seal(&keys(&[OLD]), &tag(OLD), 3).unwrap()),
        ("expired", value("x", seconds(HOUR), good).seal(&keys(&[OLD]), &tag(OLD), 3).unwrap()),
    ];
    for (number, (reason, sealed)) in cases.into_iter().enumerate() {
        let fleet = Fleet::with(5, with(&[OLD]));
        assert_eq!(put(&fleet, 3, sealed).await, PutAnswer::Put);
        let began = Instant::now();
        let tokens = fleet.all_obtain().await;
        assert!(tokens.iter().all(|token| text(token) == "token-1"), "case {number}");
        assert!(began.elapsed() < millis(250), "case {number}: {:?}", began.elapsed());
        assert_eq!(fleet.server.asked(), 1, "case {number}");
        assert!(fleet.replicas.iter().all(|member| member.shared().generation == 4), "case {number}");
        let counted: Vec<String> = fleet.replicas.iter().map(|member| rejected(member)).collect();
        assert!(counted.iter().any(|line| line.contains(reason)), "case {number}: {counted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_put_back_from_an_old_copy_is_not_used_by_who_knows_better() {
    let fleet = Fleet::with(3, with(&[OLD]));
    let refused = fleet.all_obtain().await;
    let old = fleet.store.read(&tag(OLD)).await.unwrap().unwrap();
    assert_eq!(fleet.tokens().len(), 1, "all use it");
    sleep(seconds(60)).await;
    fleet.replicas[0].renew(&refused[0], crate::renewal::Evidence::Strong).await.unwrap();
    sleep(seconds(2)).await;
    assert_eq!(fleet.tokens().len(), 1);
    fleet.store.wipe();
    put(&fleet, 1, old.sealed).await;
    let token = fleet.replicas[1].obtain().await.unwrap();
    assert_eq!(text(&token), "token-2");
    let newer = fleet.replicas[1].renew(&token, crate::renewal::Evidence::Strong).await.unwrap();
    assert_eq!((text(&newer).as_str(), fleet.server.asked()), ("token-3", 3));
    assert_eq!(fleet.replicas[1].shared().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_key_costs_no_request_at_the_switch() {
    let mut fleet = Fleet::with(4, with(&[OLD]));
    fleet.all_obtain().await;
    let traffic = fleet.traffic();
    sleep(seconds(300)).await;
    fleet.settings = with(&[NEW, OLD]);
    for number in 0..3 {
        let new = fleet.restart(number);
        assert_eq!(text(&new.obtain().await.unwrap()), "token-1");
        assert_eq!((new.shared().origin, &*new.shared().by), (TokenOrigin::Adopted, "replica-0"));
        traffic.of(&new, &fleet.server);
        sleep(seconds(30)).await;
    }
    assert_eq!((fleet.server.asked(), fleet.tokens().len()), (1, 1));
    // While both halves live, each refresh may cost one request for each of them.
    sleep(seconds(HOUR)).await;
    assert!((2..=4).contains(&fleet.server.asked()), "{}", fleet.server.asked());
    traffic.is_content();
}
