//! A user who may do little, and ways that are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{Toml, ask_all, cache, start, until_connected, until_one_fleet};
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
            until_connected(&server, 3).await;
            assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![1; 3], 1), "{without:?}");
            around.revoke_all();
            assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![2; 3], 2), "{without:?}");
            let log: String = replicas.iter().map(|replica| replica.running.stderr()).collect();
            assert!(!log.contains("away") && !log.contains("refuses"), "{log}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_way_to_the_server_costs_one_time_limit_and_then_nothing() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let way = SlowWay::to(&server).await;
        let around = Around::start(Script::default()).await;
        let cache = cache(&format!("redis://127.0.0.1:{}", way.port));
        let replicas = start(&Toml::new(&around, &server).cache(&cache), 3).await;
        until_connected(&server, 3).await;
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![1; 3], 1));
        let callers = Callers::of(&replicas);
        way.delay.store(2000, Ordering::SeqCst);
        around.revoke_all();
        let tokens = ask_all(&replicas).await;
        assert!(tokens.iter().all(|token| *token > 1), "{tokens:?}");
        way.delay.store(0, Ordering::SeqCst);
        until_one_fleet(&replicas).await;
        let before = around.quiet().await;
        assert!(before <= 1 + 3 + 1, "{before}");
        around.revoke_all();
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![before + 1; 3], before + 1));
        let seen = callers.finish().await;
        assert!(
            seen.longest < Duration::from_millis(1500),
            "nobody waits for an answer that takes two seconds: {seen:?}"
        );
    })
    .await;
}

/// A way to a server on which everything takes longer.
struct SlowWay {
    port: u16,
    /// In milliseconds, for what comes from now on.
    delay: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl SlowWay {
    async fn to(server: &StoreServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.port());
        let delay: Arc<AtomicU64> = Arc::default();
        let slow = Arc::clone(&delay);
        let task = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let ((from, back), (answers, forth)) = (here.into_split(), there.into_split());
                ways.spawn(carry(from, forth, Arc::clone(&slow)));
                ways.spawn(carry(answers, back, Arc::clone(&slow)));
            }
        });
        Self { port, delay, task }
    }
}

impl Drop for SlowWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Arc<AtomicU64>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let delay = Duration::from_millis(delay.load(Ordering::SeqCst));
        real_time("the network takes its time", delay).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
