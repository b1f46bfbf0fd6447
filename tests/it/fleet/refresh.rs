//! A token's successor, for all.

use std::time::{Duration, Instant};

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{Toml, ask_all, start, until_connected};
use super::store::StoreServer;
use crate::support::until;

/// A life of 12 s ends its first part after 4.8 s at the earliest, and the replica that is to wait longest asks after 7 s.
const LIFE: u64 = 12;
const EARLIEST: Duration = Duration::from_millis(4800);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_life_of_a_token_costs_the_fleet_one_request_and_no_caller_notices() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { life: LIFE, ..Script::default() }).await;
        let replicas = start(&Toml::new(&around, &server), 4).await;
        until_connected(&server, 4).await;
        let began = Instant::now();
        let callers = Callers::of(&replicas);
        until("three successors", || async { around.tokens.requests() >= 4 }).await;
        let took = began.elapsed();
        until("all have the last one", || async { ask_all(&replicas).await == [4; 4] }).await;
        let seen = callers.finish().await;
        assert_eq!(around.tokens.requests(), 4, "after {took:?}");
        assert!(took >= 3 * EARLIEST, "a request for each replica: {took:?}");
        // Nobody has waited for a refresh. (They come by the hundred, on a busy machine.)
        assert!(seen.requests > 100 && seen.longest < Duration::from_secs(2), "{seen:?}");
    })
    .await;
}
