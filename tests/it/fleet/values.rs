//! What a program that may write in the server, or a clock, makes of what is there.

use std::time::{Duration, Instant};

use super::around::{Around, Script};
use super::callers::Callers;
use super::replicas::{KEY, Replica, Toml, ask_all, start, until_connected, url};
use super::store::StoreServer;
use super::{key, on_each_server};
use crate::support::{Folder, real_time, skipped, until};

/// Another one.
const NEW_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_rolled_out_without_a_token_request() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let old = Toml::new(&around, &server);
        let both =
            old.clone().cache(&format!("[cache]\nshared = \"{}\"\nkey = [\"{NEW_KEY}\", \"{KEY}\"]\n", url(&server)));
        let mut replicas = start(&old, 3).await;
        until_connected(&server, 3).await;
        assert_eq!(ask_all(&replicas).await, [1; 3]);
        let callers = Callers::of(&replicas);
        for replica in &replicas {
            replica.reload(&both).await;
        }
        // A fresh one has nothing but what lies under the old key.
        replicas.push(Replica::start(&both).await);
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![1; 4], 1));
        around.revoke_all();
        assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![2; 4], 2));
        callers.finish().await;
    })
    .await;
}

/// Changes the value; the rest stays.
const FLIP: &str = "local v = redis.call('HGET', KEYS[1], 'v') local at = tonumber(ARGV[1]) \
    if at < 0 then at = #v + 1 + at end \
    local flipped = string.char((string.byte(v, at) + 1) % 256) \
    return redis.call('HSET', KEYS[1], 'v', string.sub(v, 1, at - 1) .. flipped .. string.sub(v, at + 1))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_not_what_it_was_is_counted_and_replaced() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let toml = Toml::new(&around, &server);
        let mut replicas = vec![Replica::start(&toml).await];
        until_connected(&server, 1).await;
        replicas[0].ask().await;
        let place = key(&server);
        // The format's first byte; that of the key's id; the last one, which is of the seal.
        let is_put = || async { server.cli(&["HGET", &place, "g"]) == around.tokens.requests().to_string() };
        for (at, reason) in [("1", "malformed"), ("2", "unknown_key"), ("-1", "forged")] {
            until("it is put", is_put).await;
            let before = around.tokens.requests();
            assert_eq!(server.cli(&["EVAL", FLIP, "1", &place, at]), "0");
            let fresh = Replica::start(&toml).await;
            assert_eq!((fresh.ask().await, around.tokens.requests()), (before + 1, before + 1));
            let counted = format!("attache_cache_rejected_total{{reason=\"{reason}\"}} 1\n");
            let metrics = fresh.page("/metrics").await;
            assert!(metrics.text().contains(&counted), "{at}: {}", rejected(metrics.text()));
            replicas.push(fresh);
        }
        until("it is put", is_put).await;
        assert_eq!(Replica::start(&toml).await.ask().await, around.tokens.requests(), "the last one is good");
    })
    .await;
}

fn rejected(metrics: &str) -> String {
    metrics.lines().filter(|line| line.contains("cache_rejected")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_another_identity_and_an_old_one_are_not_taken() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        let toml = Toml::new(&around, &server);
        let replica = Replica::start(&toml).await;
        until_connected(&server, 1).await;
        assert_eq!(replica.ask().await, 1);
        let place = key(&server);
        let other = Replica::start(&toml.clone().credential("scope = [\"other\"]")).await;
        assert_eq!(other.ask().await, 2, "another identity");
        let places = server.cli(&["KEYS", "attache:1:*"]);
        let of_other = places.split(' ').find(|one| *one != place && !one.ends_with(":members")).unwrap();
        until("it is put", || async { server.cli(&["HGET", of_other, "g"]) == "1" }).await;
        assert_eq!(server.cli(&["COPY", of_other, &place, "REPLACE"]), "1");
        let fresh = Replica::start(&toml).await;
        assert_eq!(fresh.ask().await, 3);
        until("it is put", || async { server.cli(&["HGET", &place, "g"]) == "2" }).await;
        assert!(fresh.page("/metrics").await.text().contains("attache_cache_rejected_total{reason=\"forged\"} 1\n"));

        // The one of before, as if it had just been put.
        assert_eq!(server.cli(&["COPY", &place, "kept", "REPLACE"]), "1");
        around.revoke_all();
        assert_eq!(fresh.ask().await, 4);
        until("it is put", || async { server.cli(&["HGET", &place, "g"]) == "3" }).await;
        assert_eq!(server.cli(&["COPY", "kept", &place, "REPLACE"]), "1");
        let touch = "local t = redis.call('TIME') return redis.call('HSET', KEYS[1], 'at', t[1] * 1000 + 5000)";
        assert_eq!(server.cli(&["EVAL", touch, "1", &place]), "0");
        around.revoke_all();
        assert_eq!((fresh.ask().await, around.tokens.requests()), (5, 5));
        let metrics = fresh.page("/metrics").await;
        assert!(
            metrics.text().contains("attache_cache_rejected_total{reason=\"older\"} 1\n"),
            "{}",
            rejected(metrics.text())
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_never_ends_costs_one_wait() {
    on_each_server(|kind| async move {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script::default()).await;
        // A token request may take a second.
        let replicas = start(&Toml::new(&around, &server).credential("timeout = \"1s\""), 2).await;
        until_connected(&server, 2).await;
        assert_eq!(ask_all(&replicas).await, [1; 2]);
        let place = key(&server);
        let hog = "local t = redis.call('TIME') return redis.call('HSET', KEYS[1], 'lo', 'hog~0', 'ls', t[1] * 1000, 'lu', t[1] * 1000 + 3000)";
        let hogging = async {
            loop {
                server.cli(&["EVAL", hog, "1", &place]);
                real_time("the lease is taken again and again", Duration::from_millis(100)).await;
            }
        };
        let asking = async {
            around.revoke_all();
            let began = Instant::now();
            assert_eq!(ask_all(&replicas).await.len(), 2);
            let first = began.elapsed();
            assert!(first > Duration::from_secs(2), "they wait for a leader: {first:?}");
            assert_eq!(around.tokens.requests(), 3, "and ask for themselves");
            around.revoke_all();
            let began = Instant::now();
            assert_eq!(ask_all(&replicas).await.len(), 2);
            assert!(began.elapsed() < Duration::from_secs(2), "once: {:?}", began.elapsed());
        };
        tokio::select! {
            () = asking => {}
            () = hogging => {}
        }
    })
    .await;
}

/// A replica whose clock differs by so much, as `faketime` says it.
async fn with_clock(faketime: &str, toml: &Toml, differs: &str) -> Replica {
    let folder = Folder::with(&toml.text());
    let arguments = ["--exclude-monotonic", "-f", differs, env!("CARGO_BIN_EXE_attache"), "run"];
    let running = folder.start_program(faketime, &arguments, "");
    Replica::started(folder, running).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_by_minutes_make_no_token_live_too_long() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(faketime) = std::env::split_paths(&path).map(|folder| folder.join("faketime")).find(|file| file.is_file())
    else {
        return skipped("there is no faketime");
    };
    let faketime = faketime.to_str().unwrap().to_owned();
    on_each_server(|kind| {
        let faketime = faketime.clone();
        async move {
            let server = StoreServer::start(kind, &[]);
            let around = Around::start(Script::default()).await;
            let toml = Toml::new(&around, &server);
            let replicas = [
                Replica::start(&toml).await,
                with_clock(&faketime, &toml, "+10m").await,
                with_clock(&faketime, &toml, "-10m").await,
            ];
            until_connected(&server, 3).await;
            assert_eq!((ask_all(&replicas).await, around.tokens.requests()), (vec![1; 3], 1), "an hour is long enough");
            for replica in &replicas[1..] {
                replica.running.says("clock differs").await;
            }
            // Tokens that end before the clocks agree. Who sees them as old asks for itself.
            around.change(|script| script.life = 8);
            around.revoke_all();
            let callers = Callers::of(&replicas);
            let refused = around.refused();
            until("some lives have passed", || async { around.tokens.requests() >= 8 }).await;
            callers.finish().await;
            // Each has met its revoked token once at most.
            assert!(around.refused() - refused <= 3, "{}", around.refused() - refused);
        }
    })
    .await;
}
