//! What people see of replicas that share tokens: pages, metrics and commands, over real servers.

use serde_json::{Value, json};

use crate::fleet::store::{Kind, StoreServer};
use crate::support::{
    ADMIN, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, credential, get, send, until, upstream,
};

const KEY: &str = "6b657920666f722074657374732c206e6f742061207365637265742061742061";

fn cache(port: u16) -> String {
    format!("[cache]\nshared = \"redis://127.0.0.1:{port}\"\nkey = \"{KEY}\"\n")
}

struct World {
    tokens: TokenServer,
    api: Scripted,
}

impl World {
    async fn new() -> Self {
        Self { tokens: TokenServer::start().await, api: Scripted::start(|_, _| Reply::ok("fine")).await }
    }

    fn toml(&self, port: u16) -> String {
        let (tokens, api) = (credential(&self.tokens), upstream("api", &self.api.origin()));
        let alone = "[credentials.alone]\nkind = \"header\"\nheader = \"X-Key\"\nvalue = \"s3cret\"\n";
        format!("{FORWARD}{ADMIN}{tokens}{api}{alone}{}", cache(port))
    }

    async fn ask(&self, proxy: &TestProxy) {
        let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", self.api.origin(), self.api.address());
        assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
    }
}

async fn status(proxy: &TestProxy) -> Value {
    get(proxy.address("admin"), "localhost", "/api/status").await.json()
}

async fn in_state(proxy: &TestProxy, state: &str) {
    until(state, async || status(proxy).await["cache"]["state"] == state).await;
}

#[tokio::test]
async fn each_replica_says_whose_token_it_has_and_how_many_there_are() {
    for kind in Kind::installed() {
        let (mut server, world) = (StoreServer::start(kind, &[]), World::new().await);
        let (first, second) =
            (TestProxy::start(&world.toml(server.port())), TestProxy::start(&world.toml(server.port())));
        world.ask(&first).await;
        let put = "attache_cache_operations_total{operation=\"put\",outcome=\"ok\"}";
        until("it is put", async || first.metric(put).await == 1.0).await;
        world.ask(&second).await;
        assert_eq!(world.tokens.requests(), 1);

        let (one, other) = (status(&first).await, status(&second).await);
        let by = one["cache"]["instance"].clone();
        let led = json!({ "generation": 1, "origin": "led", "by": by, "why_not": null });
        let adopted = json!({ "generation": 1, "origin": "adopted", "by": by, "why_not": null });
        assert_eq!((&one["credentials"][0]["shared"], &other["credentials"][0]["shared"]), (&led, &adopted));
        assert_eq!(other["credentials"][1]["shared"]["why_not"], "it is a secret that is there already");
        let cache = &other["cache"];
        assert!(
            cache["server"].as_str().unwrap().starts_with(kind.name().trim_end_matches("server").trim_end_matches('-'))
        );
        assert_eq!(
            (&cache["state"], &cache["tls"], &cache["push"]),
            (&json!("connected"), &json!(false), &json!("on"))
        );
        assert_eq!(cache["address"], format!("127.0.0.1:{}", server.port()));
        assert_eq!((&cache["keys"], cache["clock_skew"].as_i64()), (&one["cache"]["keys"], Some(0)), "{cache}");
        until("both are counted", async || status(&second).await["cache"]["replicas"] == 2).await;

        for (series, value) in [
            ("attache_cache_up", 1.0),
            ("attache_cache_replicas", 2.0),
            ("attache_cache_tokens_total{credential=\"key\",origin=\"adopted\"}", 1.0),
            ("attache_cache_operations_total{operation=\"take\",outcome=\"ok\"}", 1.0),
            ("attache_token_requests_total{credential=\"key\",outcome=\"success\"}", 0.0),
        ] {
            assert_eq!(second.metric(series).await, value, "{series}");
        }
        let text = get(second.address("admin"), "localhost", "/metrics").await.text().to_owned();
        for series in [
            "attache_cache_tokens_total{credential=\"key\",origin=\"alone\"} 0",
            "attache_cache_waits_total{credential=\"key\",outcome=\"gave_up\"} 0",
            "attache_cache_held_total{credential=\"key\"} 0",
            "attache_cache_rejected_total{reason=\"forged\"} 0",
            "attache_cache_operations_total{operation=\"put\",outcome=\"timeout\"} 0",
            "attache_cache_reconnects_total{cause=\"closed\"} 0",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
        assert!(!text.contains("put_off") && !text.contains("outcome=\"held\""), "{text}");

        server.kill();
        in_state(&second, "away").await;
        let ready = get(second.address("admin"), "localhost", "/readyz").await;
        assert_eq!((ready.status, &ready.json()["cache"]), (200, &json!("away")));
        assert_eq!(second.metric("attache_cache_up").await, 0.0);
        world.ask(&second).await;
        server.restart();
        in_state(&second, "connected").await;
    }
}

#[tokio::test]
async fn without_a_shared_cache_nothing_is_said_of_one() {
    let world = World::new().await;
    let toml = world.toml(1);
    let proxy = TestProxy::start(toml.split("[cache]").next().unwrap());
    world.ask(&proxy).await;
    let status = status(&proxy).await;
    assert!(status.get("cache").is_none() && status["credentials"][0].get("shared").is_none(), "{status}");
    let text = get(proxy.address("admin"), "localhost", "/metrics").await.text().to_owned();
    assert!(!text.lines().any(|line| line.starts_with("attache_cache")), "{text}");
    assert!(get(proxy.address("admin"), "localhost", "/readyz").await.json().get("cache").is_none());
}

#[tokio::test]
async fn check_live_tries_the_shared_cache_and_leaves_nothing_there() {
    for kind in Kind::installed() {
        let (server, world) = (StoreServer::start(kind, &[]), World::new().await);
        let folder = Folder::with(&world.toml(server.port()));
        let checked = folder.run(&["check"]).await;
        let address = format!("cache  redis://127.0.0.1:{}", server.port());
        assert!(checked.stdout.contains(&format!("{address}  prefix attache, for 1 credential\n")), "{checked:?}");
        assert_eq!(server.cli(&["KEYS", "*"]), "", "without --live nobody is asked");

        let checked = folder.run(&["check", "--live"]).await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let line =
            checked.stdout.lines().find(|line| line.starts_with(&address)).unwrap_or_else(|| panic!("{checked:?}"));
        assert!(line.contains(", master, ") && line.contains(" ms, scripts ok, publish ok, clock "), "{line}");
        assert!(checked.stdout.contains("key  shared as ") && checked.stdout.contains("…: nothing is there yet\n"));
        assert!(checked.stdout.contains("alone  not shared: it is a secret that is there already\n"), "{checked:?}");
        assert_eq!(world.tokens.requests(), 1, "its own");
        let left = server.cli(&["KEYS", "*"]);
        for key in left.split(' ').filter(|key| !key.is_empty()) {
            assert!(!key.ends_with("members") && server.cli(&["PTTL", key]).parse::<i64>().unwrap() <= 5000, "{key}");
        }

        let proxy = TestProxy::start(&world.toml(server.port()));
        world.ask(&proxy).await;
        until("it is put", async || folder.run(&["check", "--live"]).await.stdout.contains("…: generation 1, ")).await;
        let document = folder.run(&["check", "--live", "--json"]).await.json();
        let (live, shared) = (&document["cache"]["live"], &document["credentials"][0]["shared"]);
        assert_eq!((&live["ok"], &live["scripts"], &live["publish"]), (&json!(true), &json!(true), &json!(true)));
        assert_eq!((&shared["generation"], shared["left"].as_u64() > Some(0)), (&json!(1), true), "{document}");
        assert_eq!(status(&proxy).await["cache"]["replicas"], 1, "who tries is no replica");
    }
}

#[tokio::test]
async fn check_live_says_what_the_server_does_not_let_it_do() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let rights = |less: &str| {
            let all = "on >pw-of-the-cache resetkeys ~attache:1:* resetchannels &attache:1:* -@all +hello +auth +ping +role +client|setname +eval \
                +evalsha +subscribe +publish +time +hmget +hget +hset +hdel +pexpire +zadd +zcard +zremrangebyscore";
            let words: Vec<&str> =
                ["ACL", "SETUSER", "me", "reset"].into_iter().chain(all.split_whitespace()).collect();
            assert_eq!(server.cli(&words), "OK");
            assert_eq!(server.cli(&["ACL", "SETUSER", "me", less]), "OK");
        };
        let world = World::new().await;
        let toml = world.toml(server.port()).replace("redis://127", "redis://me@127");
        let with = |password: &str| Folder::with(&format!("{toml}password = \"{password}\"\n"));
        let check = async |password: &str| {
            let checked = with(password).run(&["check", "--live"]).await;
            assert!(!format!("{checked:?}").contains("pw-of-the-cache"), "{checked:?}");
            checked
        };
        rights("-hdel");
        let checked = check("pw-of-the-cache").await;
        assert!(checked.code == Some(0) && checked.stdout.contains("scripts refused"), "{checked:?}");
        assert!(checked.stderr.contains("next step:    ") && checked.stderr.contains(" +hdel"), "{checked:?}");
        rights("-publish");
        let checked = check("pw-of-the-cache").await;
        assert!(checked.stdout.contains("scripts ok, publish refused"), "{checked:?}");
        assert!(checked.stderr.contains("+subscribe, +publish"), "{checked:?}");
        rights("-zadd");
        let checked = check("pw-of-the-cache").await;
        assert!(
            checked.stdout.contains("  away\n") && checked.stderr.contains("the ACL line in docs/fleet.md"),
            "{checked:?}"
        );
        let checked = check("another").await;
        assert!(checked.stdout.contains("  away\n") && checked.stderr.contains("compare the user"), "{checked:?}");
        assert!(checked.code == Some(1) && checked.stderr.contains("error: the shared cache"), "{checked:?}");
    }
}

#[tokio::test]
async fn a_shared_cache_that_is_away_is_a_warning_with_its_next_step() {
    let world = World::new().await;
    let folder = Folder::with(&world.toml(1));
    let checked = folder.run(&["check", "--live"]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("cache  redis://127.0.0.1:1  away\n"), "{checked:?}");
    for said in ["warning: the shared cache: it is away", "likely cause: ", "next step:    see that the server runs"] {
        assert!(checked.stderr.contains(said), "{said}: {checked:?}");
    }
    let live = &folder.run(&["check", "--live", "--json"]).await.json()["cache"]["live"];
    assert_eq!((&live["ok"], live["cause"].is_string()), (&json!(false), true), "{live}");
}

#[tokio::test]
async fn explain_says_where_the_token_is_looked_for_and_as_whom_it_does_not() {
    let world = World::new().await;
    let toml = world.toml(6379).replace("redis://", "redis://me:pw-of-the-cache@");
    let folder = Folder::with(&toml);
    let url = format!("{}/", world.api.origin());
    let explained = folder.run(&["explain", "GET", &url]).await;
    let line = "token      from the shared cache (redis://127.0.0.1:6379), else asked for\n";
    assert!(explained.stdout.contains(line), "{explained:?}");
    assert!(!explained.stdout.contains("pw-of-the-cache") && !explained.stdout.contains("me@"), "{explained:?}");
    let document = folder.run(&["explain", "GET", &url, "--json"]).await.json();
    assert_eq!(document.as_object().unwrap().len(), 7, "{document}");
    let without = Folder::with(&toml.replace("[credentials.key]\n", "[credentials.key]\nshared = false\n"));
    let explained = without.run(&["explain", "GET", &url]).await;
    assert!(explained.code == Some(0) && !explained.stdout.contains("shared cache"), "{explained:?}");
}
