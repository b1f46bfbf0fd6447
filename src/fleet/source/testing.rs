//! Replicas over one store in memory, and the authorization server that they ask, in paused time.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use crate::fleet::names::Tag;
use crate::fleet::protocol::{
    Answering, Beat, Fail, FailAnswer, FleetStore, Lease, Put, PutAnswer, Stored, Take, Taken,
};
use crate::fleet::{ScriptedStore, SimulatedReplica, SimulatedSettings};
use crate::renewal::Evidence;
use crate::secret::Secret;
use crate::store::StoreError;
use crate::token::{
    Ask, Clock, Expires, FetchedToken, Fetching, HeaderToken, Shared, TokenCache, TokenError, TokenErrorKind,
    TokenSource, lock,
};

pub(super) const WAIT: Duration = Duration::from_secs(120);
pub(super) const HOUR: u64 = 3600;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How the authorization server answers one request.
pub(super) enum Says {
    /// A new token that lives for so many seconds.
    Token(u64),
    /// The token that is returned until it ends, at this moment of the test; then the next one, for as long again.
    Same(u64),
    /// This token, for so long.
    This(String, Expires),
    Fail(TokenError),
    Never,
}

/// One request to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// The replica that has sent it.
    pub(super) by: usize,
    /// From 1.
    pub(super) number: usize,
    pub(super) at: Instant,
}

/// The authorization server. It counts.
#[derive(Clone)]
pub(super) struct Server(Arc<Inside>);

type Answer = Box<dyn Fn(Request) -> (Duration, Says) + Send>;

struct Inside {
    began: Instant,
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
    /// When each token ends.
    ends: Mutex<HashMap<String, Instant>>,
}

impl Server {
    /// What it does from now on.
    pub(super) fn answers(&self, answer: impl Fn(Request) -> (Duration, Says) + Send + 'static) {
        *lock(&self.0.answer) = Box::new(answer);
    }

    pub(super) fn asked(&self) -> usize {
        lock(&self.0.requests).len()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        lock(&self.0.requests).clone()
    }

    /// Since that moment.
    pub(super) fn asked_since(&self, moment: Instant) -> usize {
        self.requests().iter().filter(|request| request.at >= moment).count()
    }

    /// How a replica asks it.
    pub(super) fn line(&self, by: usize, clock: &Clock) -> Box<dyn TokenSource> {
        Box::new(Line { server: self.clone(), by, clock: clock.clone() })
    }

    fn is_good(&self, token: &str) -> bool {
        lock(&self.0.ends).get(token).is_some_and(|end| Instant::now() < *end)
    }
}

/// What a replica asks it by.
struct Line {
    server: Server,
    by: usize,
    clock: Clock,
}

impl TokenSource for Line {
    fn fetch(&self, _ask: Ask) -> Fetching<'_> {
        let (server, requested_at) = (&self.server.0, Instant::now());
        let request = {
            let mut requests = lock(&server.requests);
            let request = Request { by: self.by, number: requests.len() + 1, at: requested_at };
            requests.push(request);
            request
        };
        let (takes, says) = (lock(&server.answer))(request);
        Box::pin(async move {
            sleep(takes).await;
            let life = |seconds| Expires::In(Duration::from_secs(seconds));
            let (token, expires) = match says {
                Says::Token(seconds) => (format!("token-{}", request.number), life(seconds)),
                Says::Same(seconds) => {
                    let age = server.began.elapsed().as_secs();
                    (format!("token-of-life-{}", age / seconds), life(seconds - age % seconds))
                }
                Says::This(token, expires) => (token, expires),
                Says::Fail(error) => return Err(error),
                Says::Never => std::future::pending().await,
            };
            let end = match expires {
                Expires::In(life) => requested_at + life + takes,
                Expires::At(at) => Instant::now() + at.duration_since(self.clock.now().wall).unwrap_or_default(),
                Expires::Unsaid => Instant::now() + seconds(300),
            };
            lock(&server.ends).insert(token.clone(), end);
            Ok(FetchedToken::bearer(Secret::new(token), expires, requested_at))
        })
    }
}

/// A replica's way to the store, which may be cut for it alone.
pub(super) struct Way {
    store: ScriptedStore,
    cut: AtomicBool,
}

impl Way {
    fn ask<'a, T>(&self, answer: Answering<'a, T>) -> Answering<'a, T> {
        if self.cut.load(Ordering::SeqCst) { Box::pin(async { Err(StoreError::Away) }) } else { answer }
    }
}

impl FleetStore for Way {
    fn take<'a>(&'a self, tag: &'a Tag, question: &'a Take) -> Answering<'a, Taken> {
        self.ask(self.store.take(tag, question))
    }
    fn put<'a>(&'a self, tag: &'a Tag, put: &'a Put) -> Answering<'a, PutAnswer> {
        self.ask(self.store.put(tag, put))
    }
    fn fail<'a>(&'a self, tag: &'a Tag, fail: &'a Fail) -> Answering<'a, FailAnswer> {
        self.ask(self.store.fail(tag, fail))
    }
    fn keep<'a>(&'a self, tag: &'a Tag, lease: &'a Lease) -> Answering<'a, bool> {
        self.ask(self.store.keep(tag, lease))
    }
    fn accepted<'a>(&'a self, tag: &'a Tag, generation: u64) -> Answering<'a, bool> {
        self.ask(self.store.accepted(tag, generation))
    }
    fn beat<'a>(&'a self, instance: &'a str, gone_after: Duration) -> Answering<'a, Beat> {
        self.ask(self.store.beat(instance, gone_after))
    }
    fn read<'a>(&'a self, tag: &'a Tag) -> Answering<'a, Option<Stored>> {
        self.ask(self.store.read(tag))
    }
    fn news(&self) -> broadcast::Receiver<String> {
        self.store.news()
    }
}

/// One replica.
pub(super) struct Member {
    pub(super) simulated: SimulatedReplica,
    /// Its wall clock is ahead by so many seconds.
    pub(super) ahead_by: Arc<AtomicI64>,
    way: Arc<Way>,
}

impl Member {
    pub(super) fn cache(&self) -> &Arc<TokenCache> {
        self.simulated.cache()
    }

    pub(super) async fn obtain(&self) -> Result<HeaderToken, Arc<TokenError>> {
        self.cache().obtain(WAIT).await
    }

    /// For an upstream that has refused this token.
    pub(super) async fn renew(&self, refused: &HeaderToken, evidence: Evidence) -> Result<HeaderToken, TokenErrorKind> {
        match self.cache().renew(refused, WAIT, |_| Some(evidence)).await {
            Ok(newer) => Ok(newer.expect("there is a warrant")),
            Err(error) => Err(error.kind),
        }
    }

    /// The token that a request would have now.
    pub(super) fn token(&self) -> Option<String> {
        self.cache().usable().map(|token| text(&token))
    }

    pub(super) fn shared(&self) -> Shared {
        self.cache().status().shared.expect("there is one that is shared")
    }

    /// Its connection is cut, or it is dead as far as others see.
    pub(super) fn cut(&self, cut: bool) {
        self.way.cut.store(cut, Ordering::SeqCst);
    }
}

/// Without its scheme.
pub(super) fn text(token: &HeaderToken) -> String {
    token.value.to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

/// All of them.
pub(super) struct Fleet {
    pub(super) store: ScriptedStore,
    pub(super) server: Server,
    pub(super) replicas: Vec<Arc<Member>>,
    pub(super) settings: SimulatedSettings,
    /// The store's clock has been set back by so many seconds: all ends that lie there are far ahead.
    pub(super) set_back: Arc<AtomicU64>,
}

impl Fleet {
    /// So many replicas; the server takes 150 ms, and its tokens live for an hour.
    pub(super) fn of(replicas: usize) -> Self {
        Self::with(replicas, SimulatedSettings::default())
    }

    pub(super) fn with(replicas: usize, settings: SimulatedSettings) -> Self {
        fastrand::seed(7);
        let (began, set_back) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let by = Arc::clone(&set_back);
        let store = ScriptedStore::with_clock(move || {
            (epoch + began.elapsed()).saturating_sub(seconds(by.load(Ordering::SeqCst)))
        });
        store.set_latency(millis(1));
        let server = Server(Arc::new(Inside {
            began: Instant::now(),
            answer: Mutex::new(Box::new(|_| (millis(150), Says::Token(HOUR)))),
            requests: Mutex::default(),
            ends: Mutex::default(),
        }));
        let mut fleet = Self { store, server, replicas: Vec::new(), settings, set_back };
        for _ in 0..replicas {
            fleet.start();
        }
        fleet
    }

    /// One more; its number.
    pub(super) fn start(&mut self) -> usize {
        let by = self.replicas.len();
        let (clock, ahead_by) = Clock::scripted();
        let source = self.server.line(by, &clock);
        let way = Arc::new(Way { store: self.store.clone(), cut: AtomicBool::new(false) });
        let to_store = (Arc::clone(&way) as Arc<dyn FleetStore>, &self.store);
        let started = SimulatedReplica::over(&format!("replica-{by}"), to_store, &self.settings, source, clock);
        self.replicas.push(Arc::new(Member { simulated: started.unwrap(), ahead_by, way }));
        by
    }

    /// A new process in the place of this one.
    pub(super) fn restart(&mut self, number: usize) -> Arc<Member> {
        let new = self.start();
        self.replicas.swap_remove(number);
        assert_eq!(new, self.replicas.len());
        Arc::clone(&self.replicas[number])
    }

    /// All of them do it at once; what came of it, and when the last one was done.
    pub(super) async fn all<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        act: impl Fn(Arc<Member>) -> F,
    ) -> Vec<T> {
        let tasks: Vec<_> = self.replicas.iter().map(|member| tokio::spawn(act(Arc::clone(member)))).collect();
        let mut done = Vec::new();
        for task in tasks {
            done.push(task.await.unwrap());
        }
        done
    }

    /// All want a token at once; each of them gets one.
    pub(super) async fn all_obtain(&self) -> Vec<HeaderToken> {
        self.all(|member| async move { member.obtain().await.unwrap() }).await
    }

    /// The tokens that are in use.
    pub(super) fn tokens(&self) -> HashSet<Option<String>> {
        self.replicas.iter().map(|member| member.token()).collect()
    }

    /// Callers of each replica, who use its token once a second from now on.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic_each(seconds(1))
    }

    pub(super) fn traffic_each(&self, each: Duration) -> Traffic {
        let traffic = Traffic { each: Some(each), ..Traffic::default() };
        for member in &self.replicas {
            traffic.of(member, &self.server);
        }
        traffic
    }
}

/// Callers, and what they have met.
#[derive(Clone, Default)]
pub(super) struct Traffic {
    each: Option<Duration>,
    failed: Arc<AtomicUsize>,
    slowest: Arc<Mutex<Duration>>,
    tasks: Arc<Mutex<tokio::task::JoinSet<()>>>,
}

impl Traffic {
    /// This replica's callers.
    pub(super) fn of(&self, member: &Arc<Member>, server: &Server) {
        let (member, server, traffic) = (Arc::downgrade(member), server.clone(), self.clone());
        lock(&self.tasks).spawn(async move {
            while let Some(member) = member.upgrade() {
                let began = Instant::now();
                match member.obtain().await {
                    Ok(token) => assert!(server.is_good(&text(&token)), "a token was used after its end"),
                    Err(_) => drop(traffic.failed.fetch_add(1, Ordering::SeqCst)),
                }
                traffic.note(began.elapsed());
                drop(member);
                sleep(traffic.each.unwrap_or(seconds(1))).await;
            }
        });
    }

    fn note(&self, waited: Duration) {
        let mut slowest = lock(&self.slowest);
        *slowest = waited.max(*slowest);
    }

    /// No caller has met an error, and none has used a token that had ended.
    pub(super) fn is_content(&self) {
        assert_eq!(self.failed(), 0, "callers failed");
        let mut tasks = lock(&self.tasks);
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }

    /// The longest that one of them has waited.
    pub(super) fn slowest(&self) -> Duration {
        *lock(&self.slowest)
    }
}

/// An answer of 500.
pub(super) fn down() -> TokenError {
    TokenError::new(TokenErrorKind::Transient, "the authorization server answered 500")
}
