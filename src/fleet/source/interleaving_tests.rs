//! The protocol under a model checker: replicas with the engine's own code over one store in memory, in thousands of orders. Between
//! any two questions anything may happen, and time passes with each of them, so that leases run out at any moment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::{future, thread};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::testing::{HOUR, WAIT, seconds};
use super::{SharedCredential, shared_cache};
use crate::fleet::ScriptedStore;
use crate::fleet::keys::CacheKeys;
use crate::fleet::listen::listen;
use crate::fleet::metrics::FleetMetrics;
use crate::fleet::names::{SharedIdentity, Tag};
use crate::fleet::protocol::{
    Answering, Beat, Fail, FailAnswer, FleetStore, Lease, Put, PutAnswer, Stored, Take, Taken,
};
use crate::fleet::replica::{Replica, ReplicaHandle, ReplicaParts};
use crate::renewal::Evidence;
use crate::secret::{Secret, SecretSource, Secrets};
use crate::store::StoreError;
use crate::token::{
    Ask, Clock, Control, Expires, FetchedToken, Fetching, HeaderToken, RefreshSettings, TokenCache, TokenError,
    TokenErrorKind, TokenMetrics, TokenSource, explore_part,
};

/// With each question.
const PASSES: u64 = 400;

/// What all replicas have in common.
#[derive(Clone)]
struct World {
    store: ScriptedStore,
    clock: Arc<AtomicU64>,
    /// The mark that was put under each number.
    put: Arc<Mutex<HashMap<u64, Arc<str>>>>,
    asked: Arc<AtomicUsize>,
}

/// One replica's way to the store. It sees to it that no two tokens have one number.
struct Way {
    world: World,
    cut: Arc<AtomicBool>,
}

impl Way {
    async fn ask<T>(&self, answer: Answering<'_, T>) -> Result<T, StoreError> {
        future::yield_now().await;
        self.world.clock.fetch_add(PASSES, Ordering::SeqCst);
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Away);
        }
        let answer = answer.await;
        future::yield_now().await;
        // The connection may have broken behind the question.
        if self.cut.load(Ordering::SeqCst) { Err(StoreError::Broken) } else { answer }
    }
}

impl FleetStore for Way {
    fn take<'a>(&'a self, tag: &'a Tag, question: &'a Take) -> Answering<'a, Taken> {
        Box::pin(self.ask(self.world.store.take(tag, question)))
    }
    fn put<'a>(&'a self, tag: &'a Tag, put: &'a Put) -> Answering<'a, PutAnswer> {
        Box::pin(self.ask(Box::pin(async move {
            let answer = self.world.store.put(tag, put).await?;
            if answer == PutAnswer::Put {
                let before = self.world.put.lock().unwrap().insert(put.fence, put.mark.text());
                assert!(before.is_none_or(|mark| mark == put.mark.text()), "two tokens under the number {}", put.fence);
            }
            Ok(answer)
        })))
    }
    fn fail<'a>(&'a self, tag: &'a Tag, fail: &'a Fail) -> Answering<'a, FailAnswer> {
        Box::pin(self.ask(self.world.store.fail(tag, fail)))
    }
    fn keep<'a>(&'a self, tag: &'a Tag, lease: &'a Lease) -> Answering<'a, bool> {
        Box::pin(self.ask(self.world.store.keep(tag, lease)))
    }
    fn accepted<'a>(&'a self, tag: &'a Tag, generation: u64) -> Answering<'a, bool> {
        Box::pin(self.ask(self.world.store.accepted(tag, generation)))
    }
    fn beat<'a>(&'a self, instance: &'a str, gone_after: Duration) -> Answering<'a, Beat> {
        Box::pin(self.ask(self.world.store.beat(instance, gone_after)))
    }
    fn read<'a>(&'a self, tag: &'a Tag) -> Answering<'a, Option<Stored>> {
        Box::pin(self.ask(self.world.store.read(tag)))
    }
    fn news(&self) -> broadcast::Receiver<String> {
        self.world.store.news()
    }
}

/// The authorization server, as one replica reaches it.
struct Line {
    world: World,
    dead: Arc<AtomicBool>,
    answer: fn(usize) -> Result<u64, TokenErrorKind>,
}

impl TokenSource for Line {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(async move {
            let (number, requested_at) = (self.world.asked.fetch_add(1, Ordering::SeqCst), Instant::now());
            future::yield_now().await;
            future::yield_now().await;
            if self.dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let life = (self.answer)(number).map_err(|kind| TokenError::new(kind, "scripted"))?;
            Ok(FetchedToken::bearer(
                Secret::new(format!("token-{}", number + 1)),
                Expires::In(seconds(life)),
                requested_at,
            ))
        })
    }
}

/// One replica.
#[derive(Clone)]
struct Modelled {
    cache: Arc<TokenCache>,
    cut: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
}

impl World {
    fn new() -> Self {
        // The same chance in each order, so that one that fails can be replayed.
        fastrand::seed(7);
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let reads = Arc::clone(&clock);
        let store = ScriptedStore::with_clock(move || Duration::from_millis(reads.load(Ordering::SeqCst)));
        Self { store, clock, put: Arc::default(), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn replica(&self, number: usize, answer: fn(usize) -> Result<u64, TokenErrorKind>) -> Modelled {
        let (cut, dead) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let way = Arc::new(Way { world: self.clone(), cut: Arc::clone(&cut) });
        let key = SecretSource::Literal(Secret::new("the key of a fleet in a model checker".to_owned()));
        let keys = CacheKeys::read(&Secrets::one(key)).unwrap();
        let control = Control::Model { far_moments_come: false };
        let instance = format!("replica-{number}");
        let replica = Replica::new(ReplicaParts {
            instance: instance.into(),
            store: way,
            keys,
            prefix: "model".to_owned(),
            control: control.clone(),
            metrics: FleetMetrics::default(),
            connecting: None,
        });
        let credential = SharedCredential {
            name: "model".to_owned(),
            identity: SharedIdentity::new(&[0; 32], [], false),
            settings: RefreshSettings::default(),
            timeout: seconds(10),
        };
        let source = Box::new(Line { world: self.clone(), dead: Arc::clone(&dead), answer });
        future::spawn(listen(Arc::clone(&replica), self.store.news()));
        let handle = ReplicaHandle::of(replica);
        let cache = shared_cache(handle, credential, source, Clock::system(), control, TokenMetrics::default());
        Modelled { cache, cut, dead }
    }

    fn replicas(&self, count: usize) -> Vec<Modelled> {
        (0..count).map(|number| self.replica(number, |_| Ok(HOUR))).collect()
    }
}

impl Modelled {
    fn obtain(&self) -> HeaderToken {
        future::block_on(self.cache.obtain(WAIT)).unwrap()
    }

    fn generation(&self) -> u64 {
        self.cache.status().shared.map_or(0, |shared| shared.generation)
    }

    fn worker<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> thread::JoinHandle<T> {
        let replica = self.clone();
        thread::spawn(move || work(&replica))
    }
}

/// Lets the others go on until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        thread::yield_now();
    }
    panic!("never {what}");
}

#[test]
fn replicas_that_want_a_token_at_one_moment_all_get_one_and_end_with_the_newest() {
    explore_part(4, || {
        let world = World::new();
        let replicas = world.replicas(3);
        let workers: Vec<_> = replicas.iter().map(|replica| replica.worker(Modelled::obtain)).collect();
        for worker in workers {
            worker.join().unwrap();
        }
        // A lease that ran out costs a request, and no more than that.
        assert!((1..=3).contains(&world.asked()));
        until("has the newest been put", || {
            let newest = world.put.lock().unwrap().keys().max().copied();
            newest.is_some_and(|newest| replicas.iter().any(|replica| replica.generation() == newest))
        });
    });
}

#[test]
fn a_leader_that_dies_at_any_moment_keeps_nobody_waiting_for_ever() {
    explore_part(4, || {
        let world = World::new();
        let replicas = world.replicas(3);
        let dying = replicas[0].clone();
        let leader = replicas[0].worker(|replica| {
            drop(future::spawn({
                let cache = Arc::clone(&replica.cache);
                async move { cache.obtain(WAIT).await }
            }));
        });
        let death = thread::spawn(move || {
            thread::yield_now();
            dying.dead.store(true, Ordering::SeqCst);
            dying.cut.store(true, Ordering::SeqCst);
        });
        let others: Vec<_> = replicas[1..].iter().map(|replica| replica.worker(Modelled::obtain)).collect();
        for other in others {
            other.join().unwrap();
        }
        leader.join().unwrap();
        death.join().unwrap();
    });
}

#[test]
fn a_leader_whose_connection_breaks_and_comes_back_puts_nothing_over_a_newer_token() {
    explore_part(4, || {
        let world = World::new();
        let replicas = world.replicas(3);
        let stalls = replicas[0].clone();
        let breaks = thread::spawn(move || {
            thread::yield_now();
            stalls.cut.store(true, Ordering::SeqCst);
            for _ in 0..4 {
                thread::yield_now();
            }
            stalls.cut.store(false, Ordering::SeqCst);
        });
        let workers: Vec<_> = replicas
            .iter()
            .map(|replica| {
                replica.worker(|replica| {
                    let mut seen = Vec::new();
                    for _ in 0..3 {
                        replica.obtain();
                        seen.push(replica.generation());
                        // What is there is adopted, if it is newer; and asked for, if it is not.
                        replica.cache.adopt_newer();
                        thread::yield_now();
                    }
                    seen.push(replica.generation());
                    // Of those that are numbered at all.
                    seen.retain(|generation| *generation > 0);
                    assert!(seen.is_sorted(), "back to an older token: {seen:?}");
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        breaks.join().unwrap();
    });
}

#[test]
fn refusals_of_one_token_everywhere_end_with_one_token_that_is_newer() {
    explore_part(4, || {
        let world = World::new();
        let replicas = world.replicas(3);
        for replica in &replicas {
            replica.obtain();
            until("is it in use", || replica.generation() > 0);
        }
        let before = world.asked();
        let workers: Vec<_> = replicas
            .iter()
            .map(|replica| {
                replica.worker(|replica| {
                    let (refused, before) = (replica.obtain(), replica.generation());
                    let newer = future::block_on(replica.cache.renew(&refused, WAIT, |_| Some(Evidence::Strong)));
                    match newer {
                        Ok(newer) => assert!(newer.unwrap().generation > refused.generation),
                        // The one that came meanwhile was refused already: no third one at once.
                        Err(error) => assert_eq!(error.kind, TokenErrorKind::Held),
                    }
                    assert!(replica.generation() >= before);
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert!((1..=3).contains(&(world.asked() - before)));
        assert!(replicas.iter().all(|replica| replica.cache.usable().is_some()));
    });
}

#[test]
fn failures_reach_all_who_wait_and_the_next_try_mends_them() {
    explore_part(4, || {
        let world = World::new();
        let answer = |number| if number < 3 { Err(TokenErrorKind::Permanent) } else { Ok(HOUR) };
        let replicas: Vec<_> = (0..2).map(|number| world.replica(number, answer)).collect();
        let workers: Vec<_> = replicas
            .iter()
            .map(|replica| {
                replica.worker(|replica| {
                    for _ in 0..8 {
                        if future::block_on(replica.cache.obtain(WAIT)).is_ok() {
                            return;
                        }
                        // A person has mended it.
                        replica.cache.forget_failure();
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(world.asked() >= 2);
    });
}

#[test]
fn one_process_serves_all_its_callers_whatever_the_store_says() {
    explore_part(4, || {
        let world = World::new();
        let replicas = world.replicas(2);
        let (ours, other) = (replicas[0].clone(), replicas[1].clone());
        let first = ours.obtain();
        // What the store says to this process: value, wait and lead by what the other replica does meanwhile, and away.
        let elsewhere = other.worker(|other| {
            other.obtain();
            future::block_on(other.cache.refresh(WAIT)).unwrap();
        });
        let breaks = ours.worker(|ours| {
            ours.cut.store(true, Ordering::SeqCst);
            thread::yield_now();
            ours.cut.store(false, Ordering::SeqCst);
        });
        let looks = ours.worker(|ours| ours.cache.look_for_newer());
        let forced = ours.worker(|ours| future::block_on(ours.cache.refresh(WAIT)).unwrap().generation);
        let renewed = ours.worker(move |ours| {
            match future::block_on(ours.cache.renew(&first, WAIT, |_| Some(Evidence::Strong))) {
                Ok(newer) => assert!(newer.unwrap().generation > first.generation),
                Err(error) => assert_eq!(error.kind, TokenErrorKind::Held),
            }
        });
        let reads = ours.worker(|ours| {
            let seen: Vec<u64> = (0..2).map(|_| ours.obtain().generation).collect();
            assert!(seen.is_sorted(), "{seen:?}");
        });
        elsewhere.join().unwrap();
        breaks.join().unwrap();
        looks.join().unwrap();
        assert!(forced.join().unwrap() >= 2);
        renewed.join().unwrap();
        reads.join().unwrap();
        assert!(ours.cache.usable().is_some());
    });
}
