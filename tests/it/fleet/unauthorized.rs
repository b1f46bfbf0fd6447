//! A token that an upstream refuses.

use std::time::{Duration, Instant};

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{Replica, Toml, ask_all, start, until_connected};
use super::store::StoreServer;
use crate::support::{get, real_time, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_under_load_is_renewed_once_and_late_for_nobody() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { delay: Duration::from_millis(300), ..Script::default() }).await;
        let toml = Toml::new(&around, &server);
        let replicas = start(&toml, 5).await;
        // One that is not told, and has no callers until long after.
        let late = Replica::start(&toml.clone().cache(&format!("{}push = false\n", toml.cache))).await;
        until_connected(&server, 6).await;
        assert_eq!((ask_all(&replicas).await, late.ask().await), (vec![1; 5], 1));
        let callers = Callers::of(&replicas);
        around.revoke_all();
        until("all have the next token", || async { ask_all(&replicas).await == [2; 5] }).await;
        let refused = around.api.requests();
        assert_eq!(late.ask().await, 2, "another 401, and the token that is there");
        assert!(around.api.requests() >= refused + 2);
        callers.finish().await;
        assert_eq!(around.tokens.requests(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_refuses_every_token_is_not_made_up_for_by_restarts() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let toml = Toml::new(&around, &server);
        let mut replicas = start(&toml, 3).await;
        until_connected(&server, 3).await;
        ask_all(&replicas).await;
        around.refuse_everything();
        for restarted in 0..3 {
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                for replica in &replicas {
                    assert_eq!(get(replica.api, "localhost", "/").await.status, 401);
                }
                real_time("callers go on", Duration::from_millis(50)).await;
            }
            if restarted < 2 {
                replicas[restarted] = Replica::start(&toml).await;
                until_connected(&server, 3).await;
            }
        }
        // Each for itself, with what a fresh process is allowed, they would have made a dozen.
        assert!(around.tokens.requests() <= 4, "{}", around.tokens.requests());
    })
    .await;
}
