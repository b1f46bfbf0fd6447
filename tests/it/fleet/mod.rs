//! "One token request for all replicas" (docs/fleet.md): real processes, real servers, real faults. Whatever happens to the server
//! or to a replica, no caller fails.

mod around;
mod callers;
mod replicas;
#[path = "../../../src/store/testing.rs"]
#[expect(dead_code, reason = "the tests of the connection itself use the rest")]
pub(crate) mod store;

mod budget;
mod demo;
mod failures;
mod leader;
mod leaks;
mod permissions;
mod refresh;
mod server_faults;
mod start;
mod topologies;
mod unauthorized;
mod values;

use std::collections::HashMap;
use std::future::Future;

use tokio::task::JoinSet;

use self::store::{Kind, StoreServer};
use crate::support::skipped;

/// Plays the scenario on Redis and on Valkey, at the same time: most of it is waiting.
async fn on_each_server<F>(scenario: impl Fn(Kind) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut playing = JoinSet::new();
    let of: HashMap<_, _> =
        Kind::installed().into_iter().map(|kind| (playing.spawn(scenario(kind)).id(), kind)).collect();
    while let Some(ended) = playing.join_next_with_id().await {
        if let Err(failed) = ended {
            panic!("on {}: see above", of[&failed.id()].name());
        }
    }
}

/// The name of the only identity that is in the server.
fn key(server: &StoreServer) -> String {
    let keys = server.cli(&["KEYS", "attache:1:*"]);
    let mut identities = keys.split(' ').filter(|key| !key.ends_with(":members"));
    let (one, none) = (identities.next(), identities.next());
    assert_eq!(none, None, "{keys}");
    one.unwrap().to_owned()
}
