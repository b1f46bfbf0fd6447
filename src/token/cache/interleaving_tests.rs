//! The cache under a model checker: its own code, lock, snapshot and channel, with threads that take turns at every access
//! to what they share, in thousands of orders.
//!
//! Each scenario runs in as many orders as `explore` says.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::{future, thread};

use super::*;
use crate::renewal::Evidence;
use crate::secret::Secret;
use crate::token::control::Control;
use crate::token::testing::{WAIT, explore, refused_token};
use crate::token::{
    Acquired, Ask, Budget, CachePolicy, Clock, Expires, Fetching, HeaderToken, RefreshSettings, TokenMetrics,
    TokenSource,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A source that takes its time, and sees to it that no two requests of the cache are under way at once.
struct Source {
    asked: Arc<AtomicUsize>,
    under_way: AtomicUsize,
    alone: bool,
    answer: fn(usize) -> Result<u64, TokenErrorKind>,
}

impl TokenSource for Source {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let others = self.under_way.fetch_add(1, Ordering::SeqCst);
            assert!(others == 0 || !self.alone, "two token requests at once");
            let requested_at = Instant::now();
            future::yield_now().await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let seconds = (self.answer)(number).map_err(|kind| TokenError::new(kind, "scripted"))?;
            Ok(FetchedToken::bearer(
                Secret::new(format!("token-{}", number + 1)),
                Expires::In(Duration::from_secs(seconds)),
                requested_at,
            ))
        })
    }
}

#[derive(Clone)]
struct Model {
    cache: Arc<TokenCache>,
    asked: Arc<AtomicUsize>,
}

impl Model {
    fn new(answer: fn(usize) -> Result<u64, TokenErrorKind>) -> Self {
        Self::with(answer, RefreshSettings::default(), false, true)
    }

    fn with(
        answer: fn(usize) -> Result<u64, TokenErrorKind>,
        settings: RefreshSettings,
        far_moments_come: bool,
        alone: bool,
    ) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let source = Source { asked: Arc::clone(&asked), under_way: AtomicUsize::new(0), alone, answer };
        let control = Control::Model { far_moments_come };
        let metrics = TokenMetrics::default();
        let cache = TokenCache::sharing_budget(
            crate::token::Spent::default(),
            "model",
            Box::new(source),
            settings,
            Clock::system(),
            control,
            metrics,
        );
        Self { cache, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn obtain(&self) -> Result<HeaderToken, Arc<TokenError>> {
        future::block_on(self.cache.obtain(WAIT))
    }

    fn renew(&self, refused: u64) -> Result<HeaderToken, Arc<TokenError>> {
        let newer = future::block_on(self.cache.renew(&refused_token(refused), WAIT, |_| Some(Evidence::Strong)));
        newer.map(|newer| newer.expect("there is always a warrant"))
    }

    fn force(&self) -> Result<HeaderToken, Arc<TokenError>> {
        future::block_on(self.cache.refresh(WAIT))
    }

    fn acquire(&self, policy: CachePolicy) -> Result<Acquired, Arc<TokenError>> {
        future::block_on(self.cache.acquire(policy, WAIT))
    }

    /// A worker that does something with the cache.
    fn worker<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> thread::JoinHandle<T> {
        let model = self.clone();
        thread::spawn(move || work(&model))
    }

    /// Nothing is under way, and this is the token that requests carry now.
    fn at_rest_with(&self, generation: u64) {
        let state = self.cache.lock();
        assert!(!state.flights.is_under_way(), "a flight that never landed");
        assert_eq!(state.generation(), generation);
        drop(state);
        assert_eq!(self.cache.usable().map(|token| token.generation), Some(generation));
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an answer as of those that fail")]
fn always(_: usize) -> Result<u64, TokenErrorKind> {
    Ok(3600)
}

/// Begins to wait: the future has been polled once when this returns.
fn begun<F: Future>(future: F) -> (Pin<Box<F>>, Option<F::Output>) {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => (future, Some(output)),
        Poll::Pending => (future, None),
    }
}

#[test]
fn the_caller_who_started_the_flight_may_go_at_any_moment() {
    explore(|| {
        let model = Model::new(always);
        let (leader, early) = begun(model.cache.obtain(WAIT));
        assert!(early.is_none(), "the flight is a task of its own");
        let waiter = model.worker(Model::obtain);
        thread::yield_now();
        drop(leader);
        assert_eq!(waiter.join().unwrap().unwrap().generation, 1);
        assert_eq!(model.asked(), 1);
        model.at_rest_with(1);
    });
}

#[test]
fn a_caller_who_waits_may_go_at_any_moment() {
    explore(|| {
        let model = Model::new(always);
        let leader = model.worker(Model::obtain);
        let waiting = future::spawn({
            let cache = Arc::clone(&model.cache);
            async move { cache.obtain(WAIT).await.unwrap().generation }
        });
        thread::yield_now();
        waiting.abort();
        // Cancelled, unless the token came first.
        assert_eq!(future::block_on(waiting).unwrap_or(1), 1);
        assert_eq!(leader.join().unwrap().unwrap().generation, 1);
        assert_eq!(model.asked(), 1);
        model.at_rest_with(1);
    });
}

#[test]
fn all_who_wait_share_one_failure() {
    explore(|| {
        let model = Model::new(|_| Err(TokenErrorKind::Permanent));
        let workers: Vec<_> = (0..3).map(|_| model.worker(Model::obtain)).collect();
        for worker in workers {
            let error = worker.join().unwrap().unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (TokenErrorKind::Permanent, "scripted"));
            assert!(error.retry_after.is_some());
        }
        assert_eq!(model.asked(), 1, "who came too late for the flight was told what is remembered");
        assert!(!model.cache.lock().flights.is_under_way());
    });
}

#[test]
fn a_quick_retry_is_part_of_its_flight() {
    explore(|| {
        let model = Model::new(|number| if number == 0 { Err(TokenErrorKind::Transient) } else { Ok(3600) });
        let workers: Vec<_> = (0..3).map(|_| model.worker(Model::obtain)).collect();
        assert!(workers.into_iter().all(|worker| worker.join().unwrap().unwrap().generation == 1));
        assert_eq!(model.asked(), 2);
        model.at_rest_with(1);
    });
}

#[test]
fn a_refresh_ahead_and_a_late_401_about_the_same_token_cost_one_request() {
    explore(|| {
        let model = Model::new(always);
        model.obtain().unwrap();
        let refresh = model.worker(|model| model.cache.refresh_ahead(1));
        let refused = model.worker(|model| model.renew(1).unwrap().generation);
        let late = model.worker(|model| model.renew(1).unwrap().generation);
        refresh.join().unwrap();
        assert_eq!((refused.join().unwrap(), late.join().unwrap()), (2, 2));
        assert_eq!(model.asked(), 2);
        model.at_rest_with(2);
    });
}

#[test]
fn renewals_of_one_token_cost_one_request_and_discard_nothing_newer() {
    explore(|| {
        let model = Model::new(always);
        model.obtain().unwrap();
        let workers: Vec<_> = (0..3).map(|_| model.worker(|model| model.renew(1).unwrap())).collect();
        for worker in workers {
            let token = worker.join().unwrap();
            assert_eq!((token.generation, token.after_unauthorized), (2, true));
        }
        assert_eq!(model.asked(), 2);
        model.at_rest_with(2);
    });
}

#[test]
fn a_401_about_the_new_token_and_one_about_the_old_discard_each_their_own() {
    explore(|| {
        let model = Model::new(always);
        model.obtain().unwrap();
        let twice = model.worker(|model| {
            let second = model.renew(1).unwrap().generation;
            model.renew(second).unwrap().generation
        });
        let late = model.worker(|model| model.renew(1).unwrap().generation);
        assert_eq!(twice.join().unwrap(), 3);
        assert!((2..=3).contains(&late.join().unwrap()));
        assert_eq!(model.asked(), 3);
        model.at_rest_with(3);
    });
}

#[test]
fn who_comes_while_the_token_lands_starts_no_second_flight() {
    explore(|| {
        let model = Model::new(always);
        let workers: Vec<_> = (0..3)
            .map(|_| {
                model.worker(|model| {
                    let waited = model.obtain().unwrap().generation;
                    (waited, model.cache.usable().map(|token| token.generation))
                })
            })
            .collect();
        for worker in workers {
            assert_eq!(worker.join().unwrap(), (1, Some(1)), "who was told of a token can read it");
        }
        assert_eq!(model.asked(), 1);
        model.at_rest_with(1);
    });
}

#[test]
fn a_forced_refresh_a_renewal_and_a_reader_agree_in_the_end() {
    explore(|| {
        let model = Model::new(always);
        model.obtain().unwrap();
        let forced = model.worker(|model| model.force().unwrap().generation);
        let renewed = model.worker(|model| model.renew(1).unwrap().generation);
        let reader = model.worker(|model| {
            let first = model.obtain().unwrap().generation;
            (first, model.obtain().unwrap().generation)
        });
        let (forced, renewed, (first, second)) =
            (forced.join().unwrap(), renewed.join().unwrap(), reader.join().unwrap());
        assert!(first <= second, "no reader goes back to an older token");
        let newest = u64::try_from(model.asked()).unwrap();
        assert!((2..=3).contains(&newest) && forced.max(renewed) == newest && forced >= 2 && renewed >= 2);
        model.at_rest_with(newest);
    });
}

#[test]
fn timers_that_go_off_at_any_moment_never_make_two_requests_at_once() {
    explore(|| {
        let model = Model::with(always, RefreshSettings::default(), true, true);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                model.worker(|model| {
                    let seen: Vec<u64> = (0..3).map(|_| model.obtain().unwrap().generation).collect();
                    assert!(seen.is_sorted(), "{seen:?}");
                    model.renew(seen[2]).unwrap();
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_cache_may_be_dropped_with_a_flight_and_a_timer_under_way() {
    explore(|| {
        let model = Model::with(always, RefreshSettings::default(), true, true);
        let worker = model.worker(|model| {
            let (waiting, _) = begun(model.cache.obtain(WAIT));
            thread::yield_now();
            drop(waiting);
        });
        drop(model);
        worker.join().unwrap();
    });
}

#[test]
fn requests_of_all_kinds_together_stay_within_the_budget() {
    explore(|| {
        let settings =
            RefreshSettings { budget: Some(Budget { requests: 2, per: HOUR }), ..RefreshSettings::default() };
        let model = Model::with(always, settings, false, false);
        let apart = model.worker(|model| model.acquire(CachePolicy::Bypass).is_ok());
        let forced = model.worker(|model| model.acquire(CachePolicy::ForceRefresh).is_ok());
        let read = model.worker(|model| model.acquire(CachePolicy::ReadWrite).is_ok());
        let done = [apart.join().unwrap(), forced.join().unwrap(), read.join().unwrap()];
        assert!(done.iter().filter(|ok| **ok).count() >= 2 && model.asked() == 2, "{done:?}, {}", model.asked());
    });
}
