//! A budget is the fleet's.

use super::around::{Around, Script};
use super::replicas::{Toml, ask_all, start, until_connected};
use super::store::StoreServer;
use super::{key, on_each_server};
use crate::support::{get, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_that_of_all_replicas_together() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { life: 30, ..Script::default() }).await;
        let replicas = start(&Toml::new(&around, &server).credential("budget = \"5/m\""), 4).await;
        until_connected(&server, 4).await;
        ask_all(&replicas).await;
        // A replica that asks while another's token is on its way is given that one.
        while around.tokens.requests() < 4 {
            assert_eq!(replicas[around.tokens.requests() - 1].refresh().await.status, 200);
        }
        // The last one lives for the shortest time.
        around.change(|script| script.life = 5);
        while around.tokens.requests() < 5 {
            assert_eq!(replicas[3].refresh().await.status, 200);
        }
        until("it is put", || async { server.cli(&["HGET", &key(&server), "g"]) == "5" }).await;
        for replica in &replicas {
            let answer = replica.refresh().await;
            assert_eq!(answer.status, 502, "{}", answer.text());
            assert!(answer.text().contains("budget"), "{}", answer.text());
        }
        until("the token of the last one has ended", || async {
            get(replicas[3].api, "localhost", "/").await.status == 503
        })
        .await;
        let answer = get(replicas[3].api, "localhost", "/").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.field("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() <= 65), "{answer:?}");
        assert_eq!(around.tokens.requests(), 5);
    })
    .await;
}
