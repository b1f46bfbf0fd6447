//! Reading the current token, which every request with a credential does, by several threads at once.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up says why")]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use attache::bench::{
    Ask, Clock, Expires, FetchedToken, Fetching, RefreshSettings, TokenCache, TokenMetrics, TokenSource,
};
use attache::service::Secret;
use criterion::{BenchmarkId, Criterion};

const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let (settings, metrics) = (RefreshSettings::default(), TokenMetrics::default());
    let cache =
        TokenCache::new("scripted", Box::new(Scripted), settings, Clock::system(), control.handle().clone(), metrics);
    control.block_on(cache.obtain(HOUR)).unwrap();

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("usable");
    for threads in [1, 2, 4] {
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter_custom(|reads| read(&cache, threads, reads));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// How long it takes until every thread has read the token so many times.
fn read(cache: &Arc<TokenCache>, threads: usize, reads: u64) -> Duration {
    let start = Barrier::new(threads);
    let reader = || {
        start.wait();
        let began = Instant::now();
        for _ in 0..reads {
            black_box(cache.usable());
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).max().unwrap()
    })
}

/// Tokens of an hour, without a server.
struct Scripted;

impl TokenSource for Scripted {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(async {
            Ok(FetchedToken::bearer(Secret::new("t".repeat(700)), Expires::In(HOUR), tokio::time::Instant::now()))
        })
    }
}
