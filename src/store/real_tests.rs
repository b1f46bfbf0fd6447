//! The store against real servers, Redis and Valkey.

use std::time::Duration;

use tokio::runtime::Handle;

use super::testing::{Kind, StoreServer};
use super::*;
use crate::secret::{Secret, SecretSource, Secrets};

static ECHO: Script = Script::new("echo", "return ARGV[1]");
static BEAT: Script =
    Script::writing("beat", "redis.call('ZADD', KEYS[1], 1, ARGV[1]) return redis.call('ZCARD', KEYS[1])");

/// Longer than anything here takes, even on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

pub(super) fn settings(servers: Vec<StoreAddress>) -> StoreSettings {
    StoreSettings {
        servers,
        with_tls: false,
        database: 0,
        username: None,
        password: None,
        sentinel: None,
        tls: StoreTlsSettings::default(),
        timeout: Duration::from_millis(250),
    }
}

fn at(server: &StoreServer) -> StoreAddress {
    StoreAddress::Tcp { host: "127.0.0.1".into(), port: server.port() }
}

pub(super) fn probe() -> Probe {
    Probe {
        client_name: "attache test".into(),
        script: &BEAT,
        key: "attache:1:{attache}:members".into(),
        arguments: vec![b"one".to_vec()],
        channel: Some("attache:1:{attache}:news".into()),
    }
}

fn start(settings: StoreSettings) -> Store {
    Store::start(settings, probe(), &Handle::current(), StoreMetrics::default())
}

pub(super) async fn echo(store: &Store) -> Result<Reply, StoreError> {
    store.run(&ECHO, "attache:1:{attache}:x", vec![b"hello".to_vec()]).await
}

#[expect(clippy::unnecessary_wraps, reason = "an answer as it is compared with others")]
pub(super) fn hello() -> Result<Reply, StoreError> {
    Ok(Reply::Bytes(b"hello".to_vec()))
}

/// Waits for what is to become true.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_store_answers_reads_listens_and_says_who_it_is() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = start(settings(vec![at(&server)]));
        assert!(store.wait_connected(SOON).await);
        assert_eq!(echo(&store).await, hello());
        let mut messages = store.messages();
        assert_eq!(server.cli(&["PUBLISH", "attache:1:{attache}:news", "tag 1"]), "1");
        assert_eq!(messages.recv().await.unwrap(), "tag 1");
        assert_eq!(server.cli(&["ZRANGE", "attache:1:{attache}:members", "0", "-1"]), "one");
        let status = store.status();
        assert_eq!((status.state, status.push, status.tls), (StoreState::Connected, Push::On, false));
        assert_eq!(status.address, Some(at(&server).to_string()));
        let name = kind.name().trim_end_matches("-server");
        assert!(status.server.as_deref().is_some_and(|server| server.starts_with(name)), "{status:?}");
        assert!(status.latency.is_some() && status.last_error.is_none(), "{status:?}");
        assert!(server.cli(&["CLIENT", "LIST"]).contains("name=attache-test"));
    }
}

/// Asks until there is an answer, and says how long that took.
pub(super) async fn until_answered(store: &Store) -> Duration {
    let began = std::time::Instant::now();
    while echo(store).await != hello() {
        assert!(began.elapsed() < SOON, "not in time: {store:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

async fn connected_to(server: &StoreServer) -> Store {
    let store = start(settings(vec![at(server)]));
    assert!(store.wait_connected(SOON).await, "{store:?}");
    store
}

fn literal(secret: &str) -> Secrets {
    Secrets::one(SecretSource::Literal(Secret::new(secret.into())))
}

#[tokio::test]
async fn a_server_that_is_stopped_costs_one_time_limit_and_is_used_again_when_it_goes_on() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = connected_to(&server).await;
        server.stop();
        let began = std::time::Instant::now();
        assert_eq!(echo(&store).await, Err(StoreError::Timeout));
        let after = std::time::Instant::now();
        assert!((after - began) < Duration::from_secs(2), "{:?}", after - began);
        assert_eq!(echo(&store).await, Err(StoreError::Away));
        assert!(after.elapsed() < Duration::from_millis(100), "{:?}", after.elapsed());
        server.go_on();
        until_answered(&store).await;
        assert_eq!(store.state(), StoreState::Connected);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_empty_is_used_again() {
    for kind in Kind::installed() {
        let mut server = StoreServer::start(kind, &[]);
        let store = connected_to(&server).await;
        assert_eq!(echo(&store).await, hello());
        server.kill();
        until("it is away", || store.state() == StoreState::Away).await;
        assert_eq!(echo(&store).await, Err(StoreError::Away));
        server.restart();
        until_answered(&store).await;
        // The script was said whole again, and the channel is listened to again.
        let mut messages = store.messages();
        assert_eq!(server.cli(&["PUBLISH", "attache:1:{attache}:news", "tag 2"]), "1");
        assert_eq!(messages.recv().await.unwrap(), "tag 2");
    }
}

#[tokio::test]
async fn forgotten_scripts_and_killed_connections_are_made_up_for() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = connected_to(&server).await;
        assert_eq!(echo(&store).await, hello());
        server.cli(&["SCRIPT", "FLUSH"]);
        assert_eq!(echo(&store).await, hello());
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until_answered(&store).await;
        let mut made = store.connections();
        made.wait_for(|made| *made == 2).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_is_read_at_each_dial_and_never_shown() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &["requirepass hunter2"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter1").unwrap();
        let password = Secrets::one(SecretSource::File(file.path().to_owned()));
        let store = start(StoreSettings { password: Some(password), ..settings(vec![at(&server)]) });
        let wrong = "the user name or password is wrong (WRONGPASS)";
        until("it is refused", || store.status().last_error.is_some_and(|said| said.contains(wrong))).await;
        assert!(!store.status().last_error.unwrap_or_default().contains("hunter"));
        std::fs::write(file.path(), "hunter2").unwrap();
        until_answered(&store).await;
        // None at all is another word for the same.
        let store = start(settings(vec![at(&server)]));
        until("it is refused", || store.status().last_error.is_some_and(|said| said.contains(wrong))).await;
    }
}

#[tokio::test]
async fn the_narrow_user_of_the_documents_can_do_all_that_is_needed() {
    for kind in Kind::installed() {
        let user = "user attache on >hunter2 resetkeys ~attache:1:* resetchannels &attache:1:* -@all +hello +auth +ping +role \
            +client|setname +eval +evalsha +subscribe +publish +time +hmget +hget +hset +hdel +pexpire +zadd +zcard \
            +zremrangebyscore";
        let server = StoreServer::start(kind, &[user, "user default off"]);
        let narrow = StoreSettings {
            username: Some("attache".into()),
            password: Some(literal("hunter2")),
            ..settings(vec![at(&server)])
        };
        let store = start(narrow);
        assert!(store.wait_connected(SOON).await, "{store:?}");
        assert_eq!(echo(&store).await, hello());
        assert_eq!(store.status().push, Push::On);
        let elsewhere = store.run(&ECHO, "others", Vec::new()).await;
        assert_eq!(elsewhere, Err(StoreError::Refused(Refusal::NoPermission)));
        assert_eq!(store.state(), StoreState::Connected);
    }
}

#[tokio::test]
async fn a_socket_and_another_database_are_used_where_the_settings_say_so() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = start(StoreSettings { database: 3, ..settings(vec![StoreAddress::Unix(server.socket())]) });
        assert!(store.wait_connected(SOON).await, "{store:?}");
        assert_eq!(echo(&store).await, hello());
        assert_eq!(store.status().address, Some(format!("unix:{}", server.socket().display())));
        assert!(server.cli(&["INFO", "keyspace"]).contains("db3:keys=1"));
    }
}

#[tokio::test]
async fn a_full_server_is_read_from_and_its_room_is_noticed() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &["maxmemory-policy noeviction"]);
        let store = connected_to(&server).await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let beat = probe();
        let write = || store.run(beat.script, &beat.key, beat.arguments.clone());
        assert_eq!(write().await, Err(StoreError::Refused(Refusal::OutOfMemory)));
        assert_eq!(store.state(), StoreState::RefusingWrites);
        assert_eq!(echo(&store).await, hello());
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(write().await, Ok(Reply::Integer(1)));
        assert_eq!(store.state(), StoreState::Connected);
    }
}

#[tokio::test]
async fn sentinels_are_asked_at_each_dial_and_a_failover_is_followed() {
    for kind in Kind::installed() {
        let mut primary = StoreServer::start(kind, &[]);
        let replica = StoreServer::start(kind, &[&format!("replicaof 127.0.0.1 {}", primary.port())]);
        let sentinel = StoreServer::start_sentinel(
            kind,
            &[
                &format!("sentinel monitor main 127.0.0.1 {} 1", primary.port()),
                "sentinel down-after-milliseconds main 1000",
                "sentinel failover-timeout main 5000",
            ],
        );
        until("the replica is known", || sentinel.cli(&["SENTINEL", "replicas", "main"]).contains("slave")).await;
        // One that is not there is passed over.
        let gone = StoreAddress::Tcp { host: "127.0.0.1".into(), port: testing::free_port() };
        let by = |master: &str| StoreSettings {
            sentinel: Some(SentinelSettings { master: master.into(), username: None, password: None }),
            ..settings(vec![gone.clone(), at(&sentinel)])
        };
        let store = start(by("main"));
        assert!(store.wait_connected(SOON).await, "{store:?}");
        assert_eq!(store.status().address, Some(at(&primary).to_string()));
        until("the replica follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up")).await;
        primary.kill();
        let took = {
            until("the primary is missed", || store.state() == StoreState::Away).await;
            until_answered(&store).await
        };
        assert_eq!(store.status().address, Some(at(&replica).to_string()));
        assert!(took < Duration::from_secs(15), "{took:?}");
        let unknown = start(by("other"));
        until("it is said", || unknown.status().last_error.is_some_and(|said| said.contains("knows no primary"))).await;
        // A replica that is named as the server is none.
        primary.restart();
        primary.cli(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
        let wrong = start(settings(vec![at(&primary)]));
        until("it is said", || wrong.status().last_error.is_some_and(|said| said.contains("not a primary"))).await;
        let wrong = start(settings(vec![at(&sentinel)]));
        until("it is said", || wrong.status().last_error.is_some_and(|said| said.contains("is a sentinel"))).await;
    }
}

#[tokio::test]
async fn in_a_cluster_the_slot_is_found_and_followed_when_it_moves() {
    for kind in Kind::installed() {
        let nodes = cluster(kind);
        let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", "{attache}"]);
        let store = start(settings(nodes.iter().map(at).collect()));
        assert!(store.wait_connected(SOON).await, "{store:?}");
        assert_eq!(echo(&store).await, hello());
        let mut messages = store.messages();
        let address = |store: &Store| store.status().address.unwrap_or_default();
        let owner = nodes.iter().position(|node| at(node).to_string() == address(&store)).unwrap();
        let (from, to, third) = (&nodes[owner], &nodes[(owner + 1) % 3], &nodes[(owner + 2) % 3]);
        third.cli(&["PUBLISH", "attache:1:{attache}:news", "tag 3"]);
        assert_eq!(messages.recv().await.unwrap(), "tag 3", "whichever node it is put on");
        let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
        assert_eq!(to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
        // On its way: a key that is not there may be here or there.
        assert_eq!(echo(&store).await, Err(StoreError::Refused(Refusal::NotReady("ASK".into()))));
        assert_eq!(store.state(), StoreState::Connected);
        let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
        let port = to.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", port.as_str(), "", "0", "5000", "KEYS"];
        migrate.extend(keys.split(' '));
        assert_eq!(from.cli(&migrate), "OK");
        for node in [to, from, third] {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
        }
        assert_eq!(echo(&store).await, Err(StoreError::Refused(Refusal::NotReady("MOVED".into()))));
        until_answered(&store).await;
        assert_eq!(address(&store), at(to).to_string());
    }
}

/// Three primaries that share the slots.
fn cluster(kind: Kind) -> Vec<StoreServer> {
    let lines = ["cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 5000"];
    let nodes: Vec<StoreServer> = (0..3).map(|_| StoreServer::start(kind, &lines)).collect();
    for (node, (first, last)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
        let (first, last) = (first.to_string(), last.to_string());
        assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]), "OK");
        assert_eq!(node.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port().to_string()]), "OK");
    }
    let deadline = std::time::Instant::now() + SOON;
    let is_whole = |node: &StoreServer| {
        let info = node.cli(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") && info.contains("cluster_size:3")
    };
    while !nodes.iter().all(is_whole) {
        assert!(std::time::Instant::now() < deadline, "{}", nodes[0].cli(&["CLUSTER", "NODES"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    nodes
}
