//! What replicas that share their tokens ask of an authorization server and of their store: hours of virtual time, by the program's own
//! engine over a store in memory. It measures nothing of this machine; the same seed prints the same tables.
//!
//! `cargo bench --bench fleet -- quick` takes a tenth of the replicas.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation that cannot be set up says why, and prints"
)]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::bench::{
    Ask, Clock, Expires, FetchedToken, Fetching, RefreshSettings, ScriptedStore, SimulatedReplica, SimulatedSettings,
    TokenCache, TokenMetrics, TokenSource,
};
use attache::service::Secret;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// From a question to its answer.
const LATENCY: Duration = Duration::from_micros(500);
/// Outages at so many different moments of a token's life.
const SEEDS: u64 = 3;

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let of = |replicas: usize| if quick { replicas / 10 } else { replicas };
    steady_states(of, quick);
    cold_starts(of, quick);
    outages(of);
}

/// The authorization server. It counts.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Instant>>>);

/// How long an answer takes: always the same, or by a log-normal distribution, at times three times as long.
#[derive(Clone, Copy)]
enum Pace {
    Even,
    ByChance,
}

const MEDIAN: Duration = Duration::from_millis(150);

struct Line {
    server: Server,
    life: Duration,
    pace: Pace,
}

impl TokenSource for Line {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(async move {
            let requested_at = Instant::now();
            let number = {
                let mut requests = self.server.0.lock().unwrap();
                requests.push(requested_at);
                requests.len()
            };
            // A sum of chance is normal enough.
            let chance: f64 = (0..12).map(|_| fastrand::f64()).sum::<f64>() - 6.0;
            sleep(match self.pace {
                Pace::Even => MEDIAN,
                Pace::ByChance => MEDIAN.mul_f64((0.4 * chance).exp()),
            })
            .await;
            Ok(FetchedToken::bearer(Secret::new(format!("token-{number}")), Expires::In(self.life), requested_at))
        })
    }
}

impl Server {
    fn since(&self, moment: Instant) -> Vec<Duration> {
        self.0.lock().unwrap().iter().filter_map(|at| at.checked_duration_since(moment)).collect()
    }
}

/// Replicas, and callers who keep their tokens in use.
struct World {
    server: Server,
    store: ScriptedStore,
    caches: Vec<Arc<TokenCache>>,
    replicas: Vec<SimulatedReplica>,
    callers: JoinSet<()>,
    failed: Arc<Mutex<usize>>,
}

impl World {
    fn new(replicas: usize, life: Duration, fleet: bool) -> Self {
        Self::with(replicas, life, fleet, true, Pace::ByChance)
    }

    fn with(replicas: usize, life: Duration, fleet: bool, push: bool, pace: Pace) -> Self {
        let (server, store) = (Server::default(), ScriptedStore::new());
        let settings = SimulatedSettings { push, ..SimulatedSettings::default() };
        let source = || Box::new(Line { server: server.clone(), life, pace });
        let mut members = Vec::new();
        let caches = (0..replicas)
            .map(|number| {
                if fleet {
                    let name = format!("replica-{number}");
                    let replica = SimulatedReplica::start(&name, &store, &settings, source()).unwrap();
                    let cache = Arc::clone(replica.cache());
                    members.push(replica);
                    return cache;
                }
                let (refresh, control, metrics) =
                    (RefreshSettings::default(), Handle::current(), TokenMetrics::default());
                TokenCache::new("alone", source(), refresh, Clock::system(), control, metrics)
            })
            .collect();
        let (callers, failed) = (JoinSet::new(), Arc::default());
        Self { server, store, caches, replicas: members, callers, failed }
    }

    /// Each replica's callers come about so often.
    fn use_tokens(&mut self, each: Duration) {
        for cache in &self.caches {
            let (cache, failed) = (Arc::clone(cache), Arc::clone(&self.failed));
            self.callers.spawn(async move {
                sleep(each.mul_f64(fastrand::f64())).await;
                loop {
                    if cache.usable().is_none() && cache.obtain(WAIT).await.is_err() {
                        *failed.lock().unwrap() += 1;
                    }
                    sleep(each.mul_f64(0.5 + fastrand::f64())).await;
                }
            });
        }
    }

    /// Without heartbeats.
    fn operations(&self) -> u64 {
        let operations = self.store.operations();
        operations.iter().filter(|(name, _)| **name != "beat").map(|(_, count)| count).sum()
    }

    fn no_caller_failed(&self) {
        assert_eq!(*self.failed.lock().unwrap(), 0, "callers failed");
    }
}

/// In virtual time, with the same chance each time.
fn simulate<T>(seed: u64, world: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(world)
}

/// How many in an hour, and the most in a second.
fn rate(at: &[Duration], over: Duration) -> (f64, usize) {
    let mut seconds: Vec<u64> = at.iter().map(Duration::as_secs).collect();
    seconds.sort_unstable();
    let peak = seconds.chunk_by(PartialEq::eq).map(<[u64]>::len).max().unwrap_or_default();
    (f64::from(u32::try_from(at.len()).unwrap()) / over.as_secs_f64() * HOUR.as_secs_f64(), peak)
}

fn steady_states(of: impl Fn(usize) -> usize, quick: bool) {
    println!(
        "\n| life of a token | replicas | token requests/h (peak/s) without | with | store operations/h | peak/s |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    let hour = HOUR.as_secs();
    let sizes = [(hour, 1000, 24), (300, 1000, 4), (60, 1000, 1), (hour, 10, 24), (hour, 100, 24), (hour, 10_000, 8)];
    for (seconds, replicas, hours) in sizes {
        let (life, replicas) = (Duration::from_secs(seconds), if quick { of(replicas).max(10) } else { replicas });
        let over = HOUR * hours;
        let (alone, alone_peak) = simulate(1, async {
            let mut world = World::new(replicas, life, false);
            world.use_tokens(life / 30);
            sleep(life * 2).await;
            let began = Instant::now();
            let over = over.min(HOUR * 4);
            sleep(over).await;
            world.no_caller_failed();
            rate(&world.server.since(began), over)
        });
        let (requests, peak, operations, peak_operations) = simulate(1, async {
            let mut world = World::new(replicas, life, true);
            world.use_tokens(life / 30);
            sleep(life * 2).await;
            let (began, first) = (Instant::now(), world.operations());
            let (mut before, mut most) = (first, 0);
            while began.elapsed() < over {
                sleep(Duration::from_secs(1)).await;
                let now = world.operations();
                (before, most) = (now, most.max(now - before));
            }
            world.no_caller_failed();
            let (requests, peak) = rate(&world.server.since(began), over);
            (requests, peak, (before - first) / u64::from(hours), most)
        });
        println!(
            "| {seconds} s | {replicas} | {alone:.0} ({alone_peak}) | **{requests:.2}** ({peak}) | {operations} | {peak_operations} |"
        );
    }
}

fn cold_starts(of: impl Fn(usize) -> usize, quick: bool) {
    println!(
        "\n| all want their first token at once | replicas | token requests | the one that asks | the others, half · 99 % | store operations |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for (replicas, push) in [(1000, true), (1000, false), (10_000, true), (10_000, false)] {
        if quick && replicas > 1000 {
            continue;
        }
        let replicas = of(replicas);
        let (requests, took, operations) = simulate(2, async {
            let world = World::with(replicas, HOUR, true, push, Pace::Even);
            world.store.set_latency(LATENCY);
            // Two heartbeats, so that all know how many they are.
            sleep(Duration::from_secs(70)).await;
            let (began, before) = (Instant::now(), world.operations());
            let mut wanting = JoinSet::new();
            for cache in &world.caches {
                let cache = Arc::clone(cache);
                wanting.spawn(async move {
                    cache.obtain(WAIT).await.unwrap();
                    began.elapsed()
                });
            }
            let mut took = wanting.join_all().await;
            took.sort_unstable();
            sleep(Duration::from_secs(1)).await;
            assert_eq!(world.replicas.len(), replicas);
            (world.server.since(began).len(), took, world.operations() - before)
        });
        let at = |part: usize| took.get((took.len() - 1) * part / 100).unwrap().as_millis();
        let how = if push { "told by a message" } else { "by asking alone" };
        let (leader, half, most) = (at(0), at(50), at(99));
        println!("| {how} | {replicas} | {requests} | {leader} ms | {half} · {most} ms | {operations} |");
    }
}

fn outages(of: impl Fn(usize) -> usize) {
    println!(
        "\n| the store is away for | replicas | life 3600 s: token requests from then to one life after | 300 s | 60 s |"
    );
    println!("|---|--:|--:|--:|--:|");
    let replicas = of(1000);
    for (name, away) in [("1 min", 60), ("10 min", 600), ("1 h", 3600)] {
        let mut cells = Vec::new();
        for seconds in [3600, 300, 60] {
            let life = Duration::from_secs(seconds);
            let total: usize = (0..SEEDS)
                .map(|seed| {
                    simulate(3 + seed, async {
                        let mut world = World::new(replicas, life, true);
                        world.use_tokens(life / 30);
                        sleep(life.mul_f64(1.0 + fastrand::f64())).await;
                        let began = Instant::now();
                        world.store.set_away(true);
                        sleep(Duration::from_secs(away)).await;
                        world.store.set_away(false);
                        sleep(life).await;
                        world.no_caller_failed();
                        world.server.since(began).len()
                    })
                })
                .sum();
            cells.push((total / usize::try_from(SEEDS).unwrap()).to_string());
        }
        println!("| {name} | {replicas} | {} |", cells.join(" | "));
    }
}
