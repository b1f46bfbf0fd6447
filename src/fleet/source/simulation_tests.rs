//! Hours of a hundred replicas, whose figures are those that the design promises. The benchmark `fleet` has more of them.

use tokio::time::{Instant, sleep};

use super::testing::{Fleet, HOUR, millis, seconds};

#[tokio::test(start_paused = true)]
async fn a_hundred_replicas_ask_for_one_token_after_the_other() {
    let fleet = Fleet::of(100);
    fleet.store.set_latency(millis(0));
    let traffic = fleet.traffic_each(seconds(60));
    sleep(seconds(2 * HOUR)).await;
    let began = Instant::now();
    let operations = |fleet: &Fleet| {
        let operations = fleet.store.operations();
        operations.iter().filter(|(name, _)| **name != "beat").map(|(_, count)| count).sum::<u64>()
    };
    let before = operations(&fleet);
    let hours = 12;
    sleep(seconds(hours * HOUR)).await;
    // A token is replaced after 2,592 s on average, and a moment later by the first of all who ask for the next.
    let asked = u32::try_from(fleet.server.asked_since(began)).unwrap();
    let each_hour = f64::from(asked) / 12.0;
    assert!((1.20..1.47).contains(&each_hour), "{each_hour} token requests an hour");
    let each_hour = (operations(&fleet) - before) / hours;
    assert!((120..160).contains(&each_hour), "{each_hour} store operations an hour");
    traffic.is_content();
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_costs_a_hundred_replicas_few_requests() {
    let fleet = Fleet::of(100);
    fleet.store.set_latency(millis(0));
    let traffic = fleet.traffic_each(seconds(60));
    sleep(seconds(2 * HOUR + 900)).await;
    let began = Instant::now();
    fleet.store.set_away(true);
    sleep(seconds(600)).await;
    fleet.store.set_away(false);
    sleep(seconds(HOUR)).await;
    let asked = fleet.server.asked_since(began);
    assert!(asked <= 40, "{asked} token requests");
    assert_eq!(fleet.tokens().len(), 1, "{:?}", fleet.tokens());
    traffic.is_content();
}
