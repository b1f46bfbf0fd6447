//! Servers that take each other's place, and servers that share the names.

use std::time::Duration;

use super::around::{Around, Script};
use super::callers::Callers;
use super::on_each_server;
use super::replicas::{KEY, Replica, Toml, ask_all, start, until_one_fleet};
use super::store::{Kind, StoreServer};
use crate::support::until;

/// The token is revoked; when that is over, all have one token that cost one request, and callers have waited for nothing.
async fn one_for_all(around: &Around, replicas: &[Replica]) {
    until_one_fleet(replicas).await;
    let before = around.quiet().await;
    around.revoke_all();
    assert_eq!(ask_all(replicas).await, vec![before + 1; replicas.len()]);
    assert_eq!(around.tokens.requests(), before + 1);
}

/// Until this server has so many replicas.
async fn until_at(server: &StoreServer, count: usize) {
    until("they have followed", || async {
        let clients = server.try_cli(&["CLIENT", "LIST"]).unwrap_or_default();
        clients.lines().filter(|line| line.contains("name=attache")).count() >= count
    })
    .await;
}

async fn failover(kind: Kind, fault: impl FnOnce(&mut StoreServer)) {
    let mut primary = StoreServer::start(kind, &[]);
    let second = StoreServer::start(kind, &[&format!("replicaof 127.0.0.1 {}", primary.port())]);
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", primary.port());
    let soon = ["sentinel down-after-milliseconds main 1000", "sentinel failover-timeout main 5000"];
    let sentinel = StoreServer::start_sentinel(kind, &[&monitor, soon[0], soon[1]]);
    until("the second is known", || async { sentinel.cli(&["SENTINEL", "replicas", "main"]).contains("slave") }).await;
    until("it follows", || async { second.cli(&["INFO", "replication"]).contains("master_link_status:up") }).await;

    let around = Around::start(Script::default()).await;
    let by_sentinel = format!(
        "[cache]\nshared = [\"redis://127.0.0.1:{}\"]\nkey = \"{KEY}\"\nsentinel = {{ master = \"main\" }}\n",
        sentinel.port()
    );
    let replicas = start(&Toml::new(&around, &primary).cache(&by_sentinel), 3).await;
    until_at(&primary, 3).await;
    assert_eq!(ask_all(&replicas).await, [1; 3]);
    let callers = Callers::of(&replicas);
    fault(&mut primary);
    around.revoke_all();
    until_at(&second, 3).await;
    one_for_all(&around, &replicas).await;
    let seen = callers.finish().await;
    assert!(seen.longest < Duration::from_secs(2), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_is_followed_by_another() {
    on_each_server(|kind| failover(kind, StoreServer::kill)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_followed_by_another() {
    on_each_server(|kind| failover(kind, |primary| primary.stop())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_the_fleet_follows_its_slot() {
    on_each_server(|kind| async move {
        let nodes = cluster(kind).await;
        let around = Around::start(Script::default()).await;
        let seeds: Vec<String> = nodes.iter().map(super::replicas::url).collect();
        let cache = format!("[cache]\nshared = {seeds:?}\nkey = \"{KEY}\"\n");
        let replicas = start(&Toml::new(&around, &nodes[0]).cache(&cache), 4).await;
        let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", "{attache}"]);
        let of_slot = |node: &&StoreServer| node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) != "0";
        let from = nodes.iter().find(of_slot).unwrap();
        let to = nodes.iter().find(|node| node.port() != from.port()).unwrap();
        until_at(from, 4).await;
        assert_eq!(ask_all(&replicas).await, [1; 4]);
        assert_eq!(around.tokens.requests(), 1);

        let callers = Callers::of(&replicas);
        move_slot(&nodes, &slot, from, to);
        around.revoke_all();
        until_at(to, 4).await;
        until_one_fleet(&replicas).await;
        // At the worst each was sent on while it asked, and asked for itself; then one asked for all, and at worst another one.
        assert!(around.tokens.requests() <= 1 + 4 + 2, "{}", around.tokens.requests());
        one_for_all(&around, &replicas).await;
        callers.finish().await;
    })
    .await;
}

/// As one does it by hand.
fn move_slot(nodes: &[StoreServer], slot: &str, from: &StoreServer, to: &StoreServer) {
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    assert_eq!(to.cli(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]), "OK");
    assert_eq!(from.cli(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]), "OK");
    let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", slot, "10"]);
    let port = to.port().to_string();
    let mut migrate = vec!["MIGRATE", "127.0.0.1", port.as_str(), "", "0", "5000", "KEYS"];
    migrate.extend(keys.split(' '));
    assert_eq!(from.cli(&migrate), "OK");
    for node in nodes {
        assert_eq!(node.cli(&["CLUSTER", "SETSLOT", slot, "NODE", &to_id]), "OK");
    }
}

/// Three primaries that share the slots.
async fn cluster(kind: Kind) -> Vec<StoreServer> {
    let lines = ["cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 5000"];
    let nodes: Vec<StoreServer> = (0..3).map(|_| StoreServer::start(kind, &lines)).collect();
    for (node, (first, last)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
        assert_eq!(node.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port().to_string()]), "OK");
    }
    let is_whole = |node: &StoreServer| {
        let info = node.cli(&["CLUSTER", "INFO"]);
        ["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"].iter().all(|word| info.contains(word))
    };
    until("the cluster is whole", || async { nodes.iter().all(is_whole) }).await;
    nodes
}
