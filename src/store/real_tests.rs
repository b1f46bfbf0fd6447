//! The store against real servers, Redis and Valkey.

use std::time::Duration;

use tokio::runtime::Handle;

use super::testing::{Kind, StoreServer};
use super::*;

static ECHO: Script = Script::new("echo", "return ARGV[1]");
static BEAT: Script =
    Script::writing("beat", "redis.call('ZADD', KEYS[1], 1, ARGV[1]) return redis.call('ZCARD', KEYS[1])");

/// Longer than anything here takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn settings(servers: Vec<StoreAddress>) -> StoreSettings {
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

fn probe() -> Probe {
    Probe {
        client_name: "attache test".into(),
        script: &BEAT,
        key: "attache:1:{attache}:members".into(),
        arguments: vec![b"one".to_vec()],
        channel: Some("attache:1:{attache}:news".into()),
    }
}

fn start(settings: StoreSettings) -> Store {
    Store::start(settings, None, probe(), &Handle::current(), StoreMetrics::default())
}

async fn echo(store: &Store) -> Result<Reply, StoreError> {
    store.run(&ECHO, "attache:1:{attache}:x", vec![b"hello".to_vec()]).await
}

fn hello() -> Result<Reply, StoreError> {
    Ok(Reply::Bytes(b"hello".to_vec()))
}

#[tokio::test]
async fn a_store_answers_reads_listens_and_says_who_it_is() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = start(settings(vec![at(&server)]));
        assert!(store.wait_connected(SOON).await);
        assert_eq!(echo(&store).await, hello());
        server.cli(&["HSET", "attache:1:{attache}:x", "a", "1", "b", "2"]);
        let read = store.read("attache:1:{attache}:x", &["b", "none", "a"]).await;
        assert_eq!(read, Ok(vec![Some(b"2".to_vec()), None, Some(b"1".to_vec())]));
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
