//! What is left of a replica in whose place the program is another one, or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep};

use super::testing::{Fleet, WAIT, seconds, text};
use super::{SharedCredential, shared_cache};
use crate::fleet::keys::CacheKeys;
use crate::fleet::metrics::FleetMetrics;
use crate::fleet::names::{SharedIdentity, Tag};
use crate::fleet::protocol::{
    Answering, Beat, Fail, FailAnswer, FleetStore, Lead, Lease, Put, PutAnswer, Stored, Take, Taken,
};
use crate::fleet::replica::{Connecting, Replica, ReplicaHandle, ReplicaParts};
use crate::renewal::Evidence;
use crate::secret::{Secret, SecretSource, Secrets};
use crate::store::{Refusal, StoreError};
use crate::token::{Clock, RefreshSettings, TokenCache, TokenMetrics};

#[tokio::test(start_paused = true)]
async fn a_token_that_was_obtained_without_the_fleet_is_not_replaced_by_an_older_one_of_the_fleet() {
    let fleet = Fleet::of(1);
    fleet.all_obtain().await;
    sleep(seconds(60)).await;
    let handle = ReplicaHandle::default();
    let credential = SharedCredential {
        name: "joins".to_owned(),
        identity: SharedIdentity::new(&[0; 32], [], false),
        settings: RefreshSettings::default(),
        timeout: seconds(10),
    };
    let (clock, _) = Clock::scripted();
    let source = fleet.server.line(9, &clock);
    let (control, metrics) = (Handle::current(), TokenMetrics::default());
    let cache = shared_cache(handle.clone(), credential, source, clock, control, metrics);
    let own = cache.obtain(WAIT).await.unwrap();
    assert_eq!((text(&own).as_str(), fleet.server.asked()), ("token-2", 2));
    sleep(seconds(5)).await;
    handle.set(Some(Arc::clone(fleet.replicas[0].simulated.replica())));
    let newer = cache.renew(&own, WAIT, |_| Some(Evidence::Strong)).await.unwrap().unwrap();
    assert_eq!((text(&newer).as_str(), fleet.server.asked()), ("token-3", 3), "and not the first one");
}

/// A store that lets everybody lead and takes no token. Like a real one it counts its own connections.
struct Unwilling {
    made: watch::Sender<u64>,
    error: StoreError,
    /// For a token, whether it is to be led or only looked for.
    asked: AtomicUsize,
}

impl FleetStore for Unwilling {
    fn take<'a>(&'a self, _tag: &'a Tag, _question: &'a Take) -> Answering<'a, Taken> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Taken::Lead(Lead { fence: 1, failures: 0, took_over_from: None, used: 0 })) })
    }
    fn put<'a>(&'a self, _tag: &'a Tag, _put: &'a Put) -> Answering<'a, PutAnswer> {
        Box::pin(async { Err(self.error.clone()) })
    }
    fn fail<'a>(&'a self, _tag: &'a Tag, _fail: &'a Fail) -> Answering<'a, FailAnswer> {
        Box::pin(async { Err(self.error.clone()) })
    }
    fn keep<'a>(&'a self, _tag: &'a Tag, _lease: &'a Lease) -> Answering<'a, bool> {
        Box::pin(async { Ok(true) })
    }
    fn accepted<'a>(&'a self, _tag: &'a Tag, _generation: u64) -> Answering<'a, bool> {
        Box::pin(async { Ok(true) })
    }
    fn beat<'a>(&'a self, _instance: &'a str, _gone_after: Duration) -> Answering<'a, Beat> {
        Box::pin(async { Err(self.error.clone()) })
    }
    fn read<'a>(&'a self, _tag: &'a Tag) -> Answering<'a, Option<Stored>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(None) })
    }
    fn news(&self) -> broadcast::Receiver<String> {
        broadcast::Sender::new(1).subscribe()
    }
}

/// A program whose replica has such a store.
struct Program {
    replica: ReplicaHandle,
    store: Arc<Unwilling>,
    cache: Arc<TokenCache>,
}

impl Program {
    fn start(error: StoreError) -> Self {
        let store = Arc::new(Unwilling { made: watch::Sender::new(1), error, asked: AtomicUsize::new(0) });
        let key = Secret::new("the key of a fleet that is tested".to_owned());
        let keys = CacheKeys::read(&Secrets::one(SecretSource::Literal(key))).unwrap();
        let control = Handle::current();
        let connecting = Connecting { connections: store.made.subscribe(), until: Instant::now() };
        let way: Arc<dyn FleetStore> = Arc::<Unwilling>::clone(&store);
        let metrics = FleetMetrics::default();
        let replica = Replica::new(ReplicaParts {
            instance: "a".into(),
            store: way,
            keys,
            prefix: "tests".to_owned(),
            control: control.clone().into(),
            metrics,
            connecting: Some(connecting),
        });
        let replica = ReplicaHandle::of(replica);
        let credential = SharedCredential {
            name: "a".to_owned(),
            identity: SharedIdentity::new(&[0; 32], [], false),
            settings: RefreshSettings::default(),
            timeout: seconds(10),
        };
        let (clock, _) = Clock::scripted();
        let source = Fleet::of(0).server.line(0, &clock);
        let cache = shared_cache(replica.clone(), credential, source, clock, control, TokenMetrics::default());
        Self { replica, store, cache }
    }

    fn asked(&self) -> usize {
        self.store.asked.load(Ordering::SeqCst)
    }
}

/// The connection is gone.
const LOST: [StoreError; 3] = [StoreError::Away, StoreError::Timeout, StoreError::Broken];

/// It is there and stays.
const KEPT: [StoreError; 3] =
    [StoreError::Refused(Refusal::OutOfMemory), StoreError::Refused(Refusal::NoPermission), StoreError::Unexpected];

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_replaced_ends_though_a_token_could_not_be_put() {
    for error in LOST.into_iter().chain(KEPT) {
        let program = Program::start(error);
        program.cache.obtain(WAIT).await.unwrap();
        sleep(seconds(60)).await;
        let Program { replica: handle, store, cache } = program;
        let (replica, store) = (Arc::downgrade(&handle.current().unwrap()), Arc::downgrade(&{ store }));
        // As a reload does it; the cache and its callers stay.
        handle.set(None);
        assert_eq!((replica.strong_count(), store.strong_count()), (0, 0));
        assert!(cache.usable().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_cannot_be_put_leave_no_more_than_a_few_tasks() {
    for error in LOST.into_iter().chain(KEPT) {
        let alive = || Handle::current().metrics().num_alive_tasks();
        let most = alive() + if KEPT.contains(&error) { 1 } else { 5 };
        let program = Program::start(error);
        for _ in 0..20 {
            program.cache.refresh(WAIT).await.unwrap();
            sleep(seconds(10)).await;
        }
        assert!(alive() <= most, "{} of {most}", alive());
        assert_eq!(program.asked(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_is_looked_for_with_the_next_connection_and_not_after_a_refusal() {
    for (errors, looks) in [(LOST, 1), (KEPT, 0)] {
        for error in errors {
            let program = Program::start(error);
            program.cache.obtain(WAIT).await.unwrap();
            sleep(seconds(60)).await;
            assert_eq!(program.asked(), 1);
            program.store.made.send_modify(|made| *made += 1);
            sleep(seconds(2)).await;
            assert_eq!(program.asked(), 1 + looks);
        }
    }
}
