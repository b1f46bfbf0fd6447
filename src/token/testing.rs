//! A scripted token source and the engine around it, for tests in paused time; and the model checker.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{
    Ask, Clock, Expires, FetchedToken, Fetching, HeaderToken, RefreshSettings, TokenCache, TokenError, TokenMetrics,
    TokenSource,
};
use crate::renewal::Evidence;
use crate::secret::Secret;

/// Longer than any scripted request, unless a test says otherwise.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// What a scripted source does with one token request.
pub(super) enum Step {
    /// A token that lives for so many seconds.
    Token(u64),
    /// The same, after a while.
    Slow(u64, u64),
    /// A token of which this is said, after a while.
    Says(u64, Expires),
    /// A token of an hour from a server whose clock is ahead by so many seconds.
    Ahead(i64),
    /// A token of an hour with all the scope that was asked for.
    FullScope,
    Fail(TokenError),
    SlowFail(u64, TokenError),
    /// The token that is returned until it ends, at this moment of the test; then the next one, for as long again.
    Same(u64),
    /// The one token that there is, without a word about its end.
    OnlyOne,
    /// Panics while it is polled.
    Panic,
    /// Panics before there is a future.
    PanicAtOnce,
    Never,
}

pub(super) struct Scripted<F> {
    pub(super) script: F,
    pub(super) asked: Arc<AtomicUsize>,
    pub(super) clock: Clock,
    pub(super) began: Instant,
}

/// A token as it may come.
pub(super) fn fetched(requested_at: Instant) -> FetchedToken {
    FetchedToken::bearer(Secret::new("token".into()), Expires::Unsaid, requested_at)
}

impl<F: Fn(usize) -> Step + Send + Sync + 'static> TokenSource for Scripted<F> {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let step = (self.script)(number);
        assert!(!matches!(step, Step::PanicAtOnce), "scripted");
        let (requested_at, wall, began) = (Instant::now(), self.clock.now().wall, self.began);
        let age = began.elapsed().as_secs();
        let (kind, which, step) = match step {
            Step::Same(life) => ("token-of-life", age / life, Step::Token(life - age % life)),
            Step::OnlyOne => ("the-token", 1, Step::Says(0, Expires::Unsaid)),
            step => ("token", number as u64 + 1, step),
        };
        let says = move |expires| {
            Ok(FetchedToken {
                access_token: Secret::new(format!("{kind}-{which}")),
                expires,
                missing_scope: vec!["orders.write".into(), "orders.all".into()],
                ..fetched(requested_at)
            })
        };
        let granted = move |seconds| says(Expires::In(Duration::from_secs(seconds)));
        Box::pin(async move {
            match step {
                Step::Token(seconds) => granted(seconds),
                Step::Same(_) | Step::OnlyOne => unreachable!("told above"),
                Step::Slow(wait, seconds) => {
                    sleep(Duration::from_secs(wait)).await;
                    granted(seconds)
                }
                Step::Says(wait, expires) => {
                    sleep(Duration::from_secs(wait)).await;
                    says(expires)
                }
                Step::Ahead(seconds) => {
                    let by = Duration::from_secs(seconds.unsigned_abs());
                    let date = if seconds < 0 { wall - by } else { wall + by };
                    granted(3600).map(|fetched| FetchedToken { server_date: Some(date), ..fetched })
                }
                Step::FullScope => granted(3600).map(|fetched| FetchedToken { missing_scope: Vec::new(), ..fetched }),
                Step::Fail(error) => Err(error),
                Step::SlowFail(wait, error) => {
                    sleep(Duration::from_secs(wait)).await;
                    Err(error)
                }
                Step::Panic | Step::PanicAtOnce => panic!("scripted"),
                Step::Never => std::future::pending().await,
            }
        })
    }
}

pub(super) struct Engine {
    pub(super) cache: Arc<TokenCache>,
    pub(super) asked: Arc<AtomicUsize>,
    pub(super) wall: Arc<AtomicI64>,
    metrics: TokenMetrics,
}

impl Engine {
    pub(super) fn new(script: impl Fn(usize) -> Step + Send + Sync + 'static) -> Self {
        Self::with(RefreshSettings::default(), script)
    }

    pub(super) fn with(settings: RefreshSettings, script: impl Fn(usize) -> Step + Send + Sync + 'static) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let (clock, wall) = Clock::scripted();
        let source =
            Box::new(Scripted { script, asked: Arc::clone(&asked), clock: clock.clone(), began: Instant::now() });
        let metrics = TokenMetrics::default();
        let cache = TokenCache::new("test", source, settings, clock, Handle::current(), metrics.clone());
        Self { cache, asked, wall, metrics }
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) async fn obtain(&self) -> Result<HeaderToken, Arc<TokenError>> {
        self.cache.obtain(WAIT).await
    }

    pub(super) async fn renew(&self, refused: u64) -> Result<HeaderToken, Arc<TokenError>> {
        let newer = self.cache.renew(&refused_token(refused), WAIT, |_| Some(Evidence::Strong)).await;
        newer.map(|newer| newer.expect("there is always a warrant"))
    }

    /// The lines of `/metrics` that begin with this.
    pub(super) fn metric(&self, name: &str) -> Vec<String> {
        let mut registry = prometheus_client::registry::Registry::default();
        crate::telemetry::family::register(&mut registry, self.metrics.families());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    /// The generation that a request would carry now.
    pub(super) fn usable(&self) -> Option<u64> {
        self.cache.usable().map(|token| token.generation)
    }
}

/// What a request had, whose token was refused.
pub(super) fn refused_token(generation: u64) -> HeaderToken {
    let value = http::HeaderValue::from_static("Bearer refused");
    HeaderToken { value, generation, after_unauthorized: generation > 1, type_is_known: true }
}

/// What is logged on this thread while the guard lives.
pub(super) fn captured() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    (log, tracing::subscriber::set_default(subscriber.finish()))
}

/// Lines of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a scenario under the model checker, by a scheduler that chooses at random and by one that looks for rare orders (PCT).
/// `ATTACHE_INTERLEAVINGS` is how many of each, 1000 unless it says otherwise. A failure prints the seed or schedule that replays
/// it.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    explore_part(1, scenario);
}

/// The same for one that takes long: in so many times fewer orders.
pub(crate) fn explore_part(part: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let set = std::env::var("ATTACHE_INTERLEAVINGS").ok();
    let orders = set.map_or(1000_usize, |orders| orders.parse().expect("ATTACHE_INTERLEAVINGS is a number"));
    let orders = (orders / part).max(1);
    let scenario = Arc::new(scenario);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        // Random numbers and metrics want more than the 32 KiB that a model's thread has.
        config.stack_size = 256 * 1024;
        let scenario = Arc::clone(&scenario);
        Runner::new(scheduler, config).run(move || scenario());
    };
    run(Box::new(RandomScheduler::new(orders)));
    run(Box::new(PctScheduler::new(3, orders)));
}
