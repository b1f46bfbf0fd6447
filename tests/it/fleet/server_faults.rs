//! Whatever happens to the server, callers are answered; and when it is over, the replicas are one fleet again.

use std::time::Duration;

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{Replica, Toml, ask_all, start, until_connected, until_one_fleet};
use super::store::{Kind, StoreServer};

/// Replicas with one token, which have callers all the time.
struct Trial {
    server: StoreServer,
    around: Around,
    replicas: Vec<Replica>,
    callers: Callers,
}

/// So many.
const REPLICAS: usize = 3;

/// No caller waits for so long: the server is given up after 250 ms, and the authorization server takes 50 ms. The rest is a busy
/// machine.
const LONGEST: Duration = Duration::from_secs(2);

impl Trial {
    async fn begin(kind: Kind, lines: &[&str], cache: &str) -> Self {
        let server = StoreServer::start(kind, lines);
        let around = Around::start(Script::default()).await;
        let toml = Toml::new(&around, &server);
        let cache =
            if cache.is_empty() { toml.cache.clone() } else { cache.replace("PORT", &server.port().to_string()) };
        let replicas = start(&toml.cache(&cache), REPLICAS).await;
        until_connected(&server, REPLICAS).await;
        assert_eq!(ask_all(&replicas).await, [1; REPLICAS]);
        let callers = Callers::of(&replicas);
        Self { server, around, replicas, callers }
    }

    /// The token is revoked while the server cannot help: each replica gets one of its own, and no more.
    async fn each_for_itself(&self) {
        self.around.revoke_all();
        let tokens = ask_all(&self.replicas).await;
        assert!(tokens.iter().all(|token| *token > 1), "{tokens:?}");
        let requests = self.around.quiet().await;
        assert!(requests <= 1 + REPLICAS, "{requests}");
    }

    /// The token is revoked, and one request gives all of them another.
    async fn one_for_all(&self) {
        until_connected(&self.server, REPLICAS).await;
        until_one_fleet(&self.replicas).await;
        let before = self.around.quiet().await;
        self.around.revoke_all();
        assert_eq!(ask_all(&self.replicas).await, [before + 1; REPLICAS]);
        assert_eq!(self.around.tokens.requests(), before + 1);
    }

    async fn end(self) {
        let seen = self.callers.finish().await;
        assert!(seen.longest < LONGEST, "{seen:?}");
    }
}

/// From one fault to its end.
async fn through(mut trial: Trial, fault: impl FnOnce(&mut StoreServer), end: impl FnOnce(&mut StoreServer)) {
    fault(&mut trial.server);
    trial.each_for_itself().await;
    end(&mut trial.server);
    trial.one_for_all().await;
    trial.end().await;
}

/// What the server forgets, or the connections that it ends, cost no more than one token request.
async fn made_up_for(trial: Trial, fault: impl FnOnce(&StoreServer)) {
    fault(&trial.server);
    trial.one_for_all().await;
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_hangs() {
    on_each_server(|kind| async move {
        through(Trial::begin(kind, &[], "").await, |server| server.stop(), |server| server.go_on()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_and_starts_again_empty() {
    on_each_server(|kind| async move {
        through(Trial::begin(kind, &[], "").await, StoreServer::kill, StoreServer::restart).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_forgets_everything_or_its_scripts() {
    on_each_server(|kind| async move {
        let trial = Trial::begin(kind, &[], "").await;
        trial.server.cli(&["FLUSHALL"]);
        trial.one_for_all().await;
        made_up_for(trial, |server| assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_every_connection() {
    on_each_server(|kind| async move {
        let ends = |server: &StoreServer| {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        };
        made_up_for(Trial::begin(kind, &[], "").await, ends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_made_a_replica_of_another() {
    on_each_server(|kind| async move {
        let of = |host: &'static str, port: &'static str| {
            move |server: &mut StoreServer| assert_eq!(server.cli(&["REPLICAOF", host, port]), "OK")
        };
        through(Trial::begin(kind, &[], "").await, of("127.0.0.1", "1"), of("NO", "ONE")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_loads_for_a_while() {
    on_each_server(|kind| async move {
        let lines = ["enable-debug-command yes", "loading-process-events-interval-bytes 1024", "key-load-delay 2000"];
        let trial = Trial::begin(kind, &lines, "").await;
        trial.server.cli(&["DEBUG", "POPULATE", "1500", "ballast", "100"]);
        assert_eq!(trial.server.cli(&["SAVE"]), "OK");
        let again = |server: &mut StoreServer| {
            server.kill();
            server.restart();
            assert!(server.cli(&["PING"]).starts_with("-LOADING"));
        };
        through(trial, again, |_| {}).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_changed_and_changed_back() {
    on_each_server(|kind| async move {
        let user = "user attache on >right ~attache:1:* &attache:1:* +@all";
        let cache = super::replicas::cache("redis://attache@127.0.0.1:PORT") + "password = \"right\"\n";
        let change = |to: &'static str| {
            move |server: &mut StoreServer| {
                assert_eq!(server.cli(&["ACL", "SETUSER", "attache", "resetpass", to]), "OK");
                server.cli(&["CLIENT", "KILL", "USER", "attache"]);
            }
        };
        through(Trial::begin(kind, &[user], &cache).await, change(">other"), change(">right")).await;
    })
    .await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_full() {
    on_each_server(|kind| async move {
        let set =
            |to: &'static str| move |server: &mut StoreServer| drop(server.cli(&["CONFIG", "SET", "maxmemory", to]));
        through(Trial::begin(kind, &["maxmemory-policy noeviction"], "").await, set("1"), set("0")).await;
    })
    .await;
}
