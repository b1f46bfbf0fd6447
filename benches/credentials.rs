//! Many credentials in one process: what reading one of them costs, what memory each takes, and when they are renewed.
//!
//! The first is a benchmark. The other two are counted once and printed as tables; `cargo bench --bench credentials --
//! tables` prints them only.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot be set up says why, and prints")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use attache::bench::{
    Ask, Budget, Clock, Expires, FetchedToken, Fetching, RefreshSettings, TokenCache, TokenMetrics, TokenSource,
};
use attache::service::Secret;
use criterion::{BenchmarkId, Criterion};
use tokio::runtime::Handle;

const MANY: usize = 10_000;
const HOUR: Duration = Duration::from_secs(3600);
/// A signed access token of usual claims has about so many characters.
const TOKEN: usize = 700;

fn main() {
    // The fresh process first: memory that is free again would be used for what is to be measured.
    memory();
    spread();
    if std::env::args().any(|argument| argument == "tables") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    contended_reads(&mut criterion);
    criterion.final_summary();
}

/// Two threads that do nothing but read, each of them one credential after the other.
fn contended_reads(criterion: &mut Criterion) {
    let control = control();
    let mut group = criterion.benchmark_group("usable_by_two_threads");
    for count in [1, MANY] {
        let caches = caches(count, TOKEN, &RefreshSettings::default(), control.handle());
        control.block_on(obtain(&caches));
        // Of so many, the one that all callers want: what a busy upstream sees.
        let one = &caches[count / 2..=count / 2];
        group.bench_function(BenchmarkId::new("the same one, of", count), |bencher| {
            bencher.iter_custom(|reads| read(one, reads));
        });
        group.bench_function(BenchmarkId::new("another each time, of", count), |bencher| {
            bencher.iter_custom(|reads| read(&caches, reads));
        });
    }
    group.finish();
}

/// How long it takes until both threads have read so many times. They go through the credentials at different places.
fn read(caches: &[Arc<TokenCache>], reads: u64) -> Duration {
    let start = Barrier::new(2);
    let reader = |offset: usize| {
        start.wait();
        let began = Instant::now();
        let mut turn = caches.iter().cycle().skip(offset);
        for _ in 0..reads {
            black_box(turn.next().map(TokenCache::usable));
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let readers = [0, caches.len() / 2].map(|offset| scope.spawn(move || reader(offset)));
        readers.map(|reader| reader.join().unwrap()).into_iter().max().unwrap()
    })
}

/// What the process grows by, for each credential that has a token, its timer and its metrics.
fn memory() {
    println!("memory of each of {MANY} credentials, in bytes\n");
    println!("| | resident | of that its strings | beside them |\n|---|--:|--:|--:|");
    // Warm: the runtime's own memory, and what libraries take at their first use.
    let control = control();
    control.block_on(obtain(&caches(100, TOKEN, &RefreshSettings::default(), control.handle())));
    let budget = Some(Budget { requests: 60, per: HOUR });
    let mut kept = Vec::new();
    for (row, settings) in [
        ("with a token and its timer", RefreshSettings::default()),
        ("the same, with a budget", RefreshSettings { budget, ..RefreshSettings::default() }),
    ] {
        let before = resident();
        let caches = caches(MANY, TOKEN, &settings, control.handle());
        control.block_on(obtain(&caches));
        let each = (resident() - before) / MANY;
        // Its name in the cache and in two families of metrics; the token as it came and as a header value.
        let strings = 3 * allocated(name(0).len()) + allocated(TOKEN) + allocated("Bearer ".len() + TOKEN);
        println!("| {row} | {each} | {strings} | {} |", each.saturating_sub(strings));
        // Not given back, or the next row would be measured in its place.
        kept.push(caches);
    }
    println!();
}

/// Tokens that were all obtained at one time: in which minute each of them is renewed.
fn spread() {
    let control = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let minutes: Arc<Vec<AtomicU32>> = Arc::new((0..=60).map(|_| AtomicU32::new(0)).collect());
    let settings = RefreshSettings { always: true, ..RefreshSettings::default() };
    control.block_on(async {
        let began = tokio::time::Instant::now();
        let caches: Vec<_> = (0..MANY)
            .map(|number| {
                let source = Box::new(Scripted { length: 20, began, minutes: Some(Arc::clone(&minutes)) });
                cache(number, source, &settings, &Handle::current(), &TokenMetrics::default())
            })
            .collect();
        obtain(&caches).await;
        tokio::time::sleep(Duration::from_secs(3599)).await;
    });
    println!("{MANY} tokens of an hour obtained in minute 0, with default settings: token requests in each minute\n");
    println!("| minute | token requests |\n|--:|--:|");
    let counts: Vec<u32> = minutes.iter().map(|minute| minute.load(Ordering::Relaxed)).collect();
    for (minute, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        println!("| {minute} | {count} |");
    }
    println!();
}

fn control() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

fn name(number: usize) -> String {
    format!("credential-{number:05}")
}

fn caches(count: usize, length: usize, settings: &RefreshSettings, control: &Handle) -> Vec<Arc<TokenCache>> {
    let (metrics, began) = (TokenMetrics::default(), tokio::time::Instant::now());
    let source = || Box::new(Scripted { length, began, minutes: None });
    (0..count).map(|number| cache(number, source(), settings, control, &metrics)).collect()
}

fn cache(
    number: usize,
    source: Box<Scripted>,
    settings: &RefreshSettings,
    control: &Handle,
    metrics: &TokenMetrics,
) -> Arc<TokenCache> {
    TokenCache::new(&name(number), source, settings.clone(), Clock::system(), control.clone(), metrics.clone())
}

async fn obtain(caches: &[Arc<TokenCache>]) {
    for cache in caches {
        cache.obtain(HOUR).await.unwrap();
    }
}

/// What the C library's allocator takes for so many bytes: a word more, and a multiple of two words.
const fn allocated(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16)
}

/// Bytes of the process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Tokens of an hour, without a server.
struct Scripted {
    length: usize,
    began: tokio::time::Instant,
    /// Where the requests of each minute are counted.
    minutes: Option<Arc<Vec<AtomicU32>>>,
}

impl TokenSource for Scripted {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        let minute = usize::try_from(self.began.elapsed().as_secs() / 60).unwrap();
        if let Some(counted) = self.minutes.as_ref().and_then(|minutes| minutes.get(minute)) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(async {
            Ok(FetchedToken::bearer(
                Secret::new("t".repeat(self.length)),
                Expires::In(HOUR),
                tokio::time::Instant::now(),
            ))
        })
    }
}
