//! From nothing to a fleet.

use super::around::{Around, Script};
use super::on_each_server;
use super::replicas::{Toml, ask_all, start, until_connected};
use super::store::StoreServer;

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
