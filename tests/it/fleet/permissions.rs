//! A user who may do little, and ways that are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::around::{Around, Script};
use super::on_each_server;
use super::replicas::{Toml, ask_all, cache, start, until_connected};
use super::store::StoreServer;
use crate::support::real_time;

/// What docs/fleet.md says, without these words.
fn user_without(without: &[&str]) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fleet.md")).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).unwrap();
    let allowed: Vec<&str> = line.split(' ').filter(|word| !without.contains(word)).collect();
    assert_eq!(allowed.len() + without.len(), line.split(' ').count());
    format!("user {}", allowed.join(" "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_of_the_documentation_is_enough_and_what_only_speeds_things_up_may_be_missing() {
    on_each_server(|kind| async move {
        for without in [&[][..], &["+publish"], &["+subscribe"], &["+hello"]] {
            let server = StoreServer::start(kind, &[&user_without(without)]);
            let around = Around::start(Script::default()).await;
            let password = "password = \"PASSWORD\"\n";
            let cache = cache(&format!("redis://attache@127.0.0.1:{}", server.port())) + password;
            let replicas = start(&Toml::new(&around, &server).cache(&cache), 3).await;
            let names = server.cli(&["CLIENT", "LIST"]);
            until_connected(&server, 3).await;
            assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![1; 3], 1), "{without:?} {names}");
            around.revoke_all();
            assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![2; 3], 2), "{without:?}");
            let log: String = replicas.iter().map(|replica| replica.running.stderr()).collect();
            assert!(!log.contains("away") && !log.contains("refuses"), "{log}");
        }
    })
    .await;
}
