//! From nothing to a fleet, and to another one.

use std::time::Duration;

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{Toml, ask_all, start, until_connected, until_one_fleet, url};
use super::store::StoreServer;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_replicas_that_start_in_one_instant_make_one_token_request() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let replicas = start(&Toml::new(&around, &server), 20).await;
        until_connected(&server, 20).await;
        assert_eq!(ask_all(&replicas).await, [1; 20]);
        assert_eq!(around.tokens.requests(), 1);
        let members = server.cli(&["ZCARD", "attache:1:{attache}:members"]);
        assert_eq!(members, "20");
        let led = "attache_token_requests_total{credential=\"api\",outcome=\"success\"} 1\n";
        let mut leaders = 0;
        for replica in &replicas {
            leaders += usize::from(replica.page("/metrics").await.text().contains(led));
        }
        assert_eq!(leaders, 1, "summed over the fleet it is one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_without_the_server_serve_and_join_when_it_is_there() {
    on_each_server(|kind| async move {
        let mut server = StoreServer::start(kind, &[]);
        server.kill();
        let around = Around::start(Script::default()).await;
        let replicas = start(&Toml::new(&around, &server), 3).await;
        let callers = Callers::of(&replicas);
        for replica in &replicas {
            assert_eq!(replica.page("/readyz").await.status, 200, "the cache is no condition");
            replica.ask().await;
        }
        assert_eq!(around.tokens.requests(), 3, "each for itself");
        server.restart();
        until_connected(&server, 3).await;
        until_one_fleet(&replicas).await;
        let before = around.quiet().await;
        assert!(before <= 3 + 1, "{before}");
        around.revoke_all();
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![before + 1; 3], before + 1));
        let seen = callers.finish().await;
        // The first ones wait for a connection for a second.
        assert!(seen.longest < Duration::from_secs(4), "{seen:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_is_added_changed_and_removed_while_callers_are_served() {
    on_each_server(|kind| async move {
        let (first, second) = (StoreServer::start(kind, &[]), StoreServer::start(kind, &[]));
        let around = Around::start(Script::default()).await;
        let shared = Toml::new(&around, &first);
        let alone = shared.clone().cache("");
        let replicas = start(&alone, 3).await;
        let callers = Callers::of(&replicas);
        let mut own = ask_all(&replicas).await;
        own.sort_unstable();
        assert_eq!(own, [1, 2, 3]);

        // Added: tokens stay, and the next one is for all.
        for replica in &replicas {
            replica.reload(&shared).await;
        }
        until_connected(&first, 3).await;
        let before = around.quiet().await;
        assert!(before <= 3 + 1, "{before}");
        around.revoke_all();
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![before + 1; 3], before + 1));

        // Changed: another server, which knows nothing.
        let other = shared.clone().cache(&super::replicas::cache(&url(&second)));
        for replica in &replicas {
            replica.reload(&other).await;
        }
        until_connected(&second, 3).await;
        until_connected(&first, 0).await;
        let before = around.quiet().await;
        assert!(before <= 3 + 3, "{before}");
        around.revoke_all();
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![before + 1; 3], before + 1));

        // Removed: tokens stay, and each gets its own when they end.
        for replica in &replicas {
            replica.reload(&alone).await;
        }
        until_connected(&second, 0).await;
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![before + 1; 3], before + 1));
        around.revoke_all();
        until("each has its own", || async { around.tokens.requests() == before + 1 + 3 }).await;
        callers.finish().await;
    })
    .await;
}
