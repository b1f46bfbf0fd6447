//! No token for anybody, or for one replica.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::around::{Around, Script};
use super::on_each_server;
use super::replicas::{Replica, Toml, ask_all, start, until_connected};
use super::store::StoreServer;
use crate::support::{Answer, get, until};

async fn answers(replicas: &[Replica]) -> Vec<Answer> {
    join_all(replicas.iter().map(|replica| get(replica.api, "localhost", "/"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_server_that_is_down_is_not_asked_by_each_replica() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { failure: Some((500, "")), ..Script::default() }).await;
        let replicas = start(&Toml::new(&around, &server), 6).await;
        until_connected(&server, 6).await;
        for answer in answers(&replicas).await {
            assert_eq!(answer.status, 503, "{}", answer.text());
        }
        // Two replicas have to see it, and each tries twice.
        assert!(around.tokens.requests() <= 4, "{}", around.tokens.requests());
        around.change(|script| script.failure = None);
        until("all are answered", || async { answers(&replicas).await.iter().all(|answer| answer.status == 200) })
            .await;
        let tokens = ask_all(&replicas).await;
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_server_that_asks_for_a_pause_is_given_it_by_all() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { failure: Some((429, "retry-after: 3\r\n")), ..Script::default() }).await;
        let replicas = start(&Toml::new(&around, &server), 6).await;
        until_connected(&server, 6).await;
        let began = Instant::now();
        for answer in answers(&replicas).await {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.field("retry-after").is_some());
        }
        assert_eq!(around.tokens.requests(), 1);
        around.change(|script| script.failure = None);
        until("all are answered", || async { answers(&replicas).await.iter().all(|answer| answer.status == 200) })
            .await;
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![2; 6], 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_reach_the_authorization_server_lives_on_the_tokens_of_others() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let toml = Toml::new(&around, &server);
        let others = start(&toml, 2).await;
        // The same identity, by a way on which nobody is.
        let cut = Replica::start(&toml.clone().credential("proxy = \"http://127.0.0.1:1\"")).await;
        until_connected(&server, 3).await;
        assert_eq!(get(cut.api, "localhost", "/").await.status, 503, "alone it has none");
        assert_eq!((ask_all(&others).await, around.tokens.requests()), (vec![1; 2], 1), "it stops nobody");
        until("it has their token", || async { get(cut.api, "localhost", "/").await.status == 200 }).await;
        assert_eq!(cut.ask().await, 1);
        around.revoke_all();
        assert_eq!((ask_all(&others).await, around.tokens.requests()), (vec![2; 2], 2));
        assert_eq!(cut.ask().await, 2);
    })
    .await;
}
