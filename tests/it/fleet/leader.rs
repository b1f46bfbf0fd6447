//! The replica that asks for all, and what may become of it meanwhile.

use std::time::{Duration, Instant};

use super::around::{Around, Script};
use super::replicas::{Replica, Toml, ask_all, start, until_connected, until_one_fleet};
use super::store::{Kind, StoreServer};
use super::{key, on_each_server};
use crate::support::{Caller, until};

/// A leader that is silent for so long is followed by another.
const LEASE: Duration = Duration::from_secs(3);

/// A fleet whose first replica is asking for a token, since it has a caller.
struct Asking {
    server: StoreServer,
    around: Around,
    leader: Replica,
    caller: Caller,
    others: Vec<Replica>,
}

impl Asking {
    /// Its request is answered after this time; later ones soon.
    async fn begin(kind: Kind, delay: Duration) -> Self {
        let server = StoreServer::start(kind, &[]);
        let around = Around::start(Script { delay, ..Script::default() }).await;
        let mut others = start(&Toml::new(&around, &server), 4).await;
        until_connected(&server, 4).await;
        let leader = others.remove(0);
        let mut caller = Caller::connect(leader.api).await;
        caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        until("the leader asks", || async { around.tokens.requests() == 1 }).await;
        around.change(|script| script.delay = Script::default().delay);
        Self { server, around, leader, caller, others }
    }

    /// The leader is silent: one of the others takes over, in time.
    async fn others_are_answered(&self) {
        let began = Instant::now();
        assert_eq!(ask_all(&self.others).await, [2; 3]);
        let took = began.elapsed();
        assert!(took < 2 * LEASE, "{took:?}");
        let log: String = self.others.iter().map(|replica| replica.running.stderr()).collect();
        assert_eq!(log.matches("took over from").count(), 1, "{log}");
        assert_eq!(self.around.tokens.requests(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_followed_by_another() {
    on_each_server(|kind| async move {
        let asking = Asking::begin(kind, Duration::from_secs(60)).await;
        asking.leader.running.signal("KILL");
        asking.others_are_answered().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_and_comes_late_changes_nothing_and_adopts() {
    on_each_server(|kind| async move {
        let mut asking = Asking::begin(kind, Duration::from_secs(2)).await;
        asking.leader.running.signal("STOP");
        asking.others_are_answered().await;
        let there = asking.server.cli(&["HMGET", &key(&asking.server), "g", "mark"]);
        asking.leader.running.signal("CONT");
        assert_eq!(asking.caller.answer().await.status, 200, "its own caller is answered all the same");
        asking.others.push(asking.leader);
        until_one_fleet(&asking.others).await;
        assert_eq!(ask_all(&asking.others).await, [2; 4], "the newer one");
        assert_eq!(asking.server.cli(&["HMGET", &key(&asking.server), "g", "mark"]), there);
        assert_eq!(asking.around.tokens.requests(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_server_that_takes_longer_than_the_lease_is_asked_once() {
    on_each_server(|kind| async move {
        let mut asking = Asking::begin(kind, LEASE + Duration::from_secs(2)).await;
        assert_eq!(ask_all(&asking.others).await, [1; 3]);
        assert_eq!(asking.caller.answer().await.text(), "1");
        assert_eq!(asking.around.tokens.requests(), 1);
    })
    .await;
}
