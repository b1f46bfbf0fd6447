//! The shared cache in memory: it answers as the scripts on a server do, fails as it is told, and its clock is settable. For tests, for
//! simulations and under the model checker; without latency no answer waits for anything.

mod hash;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::names::Tag;
use super::protocol::{Answering, Beat, Fail, FailAnswer, FleetStore, Lease, Put, PutAnswer, Stored, Take, Taken};
use crate::store::{Refusal, StoreError};
use crate::sync::lock;
use hash::{Hash, millis};

/// Replicas that are slower than this miss the oldest news.
const NEWS: usize = 1024;

/// What the store's clock shows, since the Unix epoch.
type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A shared cache in memory. Its clones are one.
#[derive(Clone)]
pub struct ScriptedStore(Arc<Inside>);

struct Inside {
    clock: Clock,
    state: Mutex<State>,
    news: broadcast::Sender<String>,
    connections: watch::Sender<u64>,
    /// News on their way; they end with the store.
    on_the_way: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    hashes: HashMap<Tag, Hash>,
    members: Members,
    faults: Faults,
    operations: BTreeMap<&'static str, u64>,
    /// What came while it hung, to be done when it goes on.
    late: Vec<Work>,
}

type Work = Box<dyn FnOnce(&mut State, u64) -> Option<String> + Send>;

/// How it fails.
#[derive(Debug, Clone, Default)]
struct Faults {
    away: bool,
    hangs_until: Option<Duration>,
    loses_answers: bool,
    refuses_writes: bool,
    timeout: Duration,
    latency: Duration,
    news_delay: Duration,
}

impl ScriptedStore {
    /// Empty, with tokio's clock, which tests may pause.
    #[must_use]
    pub fn new() -> Self {
        let (began, epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Self::with_clock(move || epoch + began.elapsed())
    }

    /// Empty, with this clock.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let faults = Faults { timeout: Duration::from_millis(250), ..Faults::default() };
        let state = State { faults, ..State::default() };
        let (news, _) = broadcast::channel(NEWS);
        let on_the_way = Mutex::new(JoinSet::new());
        let connections = watch::Sender::new(1);
        Self(Arc::new(Inside { clock: Arc::new(clock), state: Mutex::new(state), news, connections, on_the_way }))
    }

    /// There is no connection, until it is said otherwise.
    pub fn set_away(&self, away: bool) {
        let was_away = std::mem::replace(&mut self.state().faults.away, away);
        if was_away && !away {
            self.0.connections.send_modify(|made| *made += 1);
        }
    }

    /// Counts the connections that were made, as if each replica made one when it is back.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.0.connections.subscribe()
    }

    /// It answers nothing for so long, by its own clock, and then does what it was asked for meanwhile.
    pub fn hang(&self, time: Duration) {
        let until = (self.0.clock)() + time;
        self.state().faults.hangs_until = Some(until);
    }

    /// It does what it is asked for, and the connection breaks before the answer, until it is said otherwise.
    pub fn set_losing_answers(&self, loses: bool) {
        self.state().faults.loses_answers = loses;
    }

    /// Its memory is full, until it is said otherwise.
    pub fn set_refusing_writes(&self, refuses: bool) {
        self.state().faults.refuses_writes = refuses;
    }

    /// One question waits so long for its answer; 250 ms at first.
    pub fn set_timeout(&self, timeout: Duration) {
        self.state().faults.timeout = timeout;
    }

    /// From a question to its answer, half of it each way.
    pub fn set_latency(&self, latency: Duration) {
        self.state().faults.latency = latency;
    }

    /// From what is put to who hears of it.
    pub fn set_news_delay(&self, delay: Duration) {
        self.state().faults.news_delay = delay;
    }

    /// It has lost everything.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.hashes.clear();
        state.members = Members::default();
    }

    /// One who may write into it says that a 401 has brought a token of this generation, for every identity there is.
    #[cfg(test)]
    pub(crate) fn forge_news(&self, generation: u64) {
        let tags: Vec<Tag> = self.state().hashes.keys().cloned().collect();
        for tag in tags {
            self.say(message(&tag, generation, true), Duration::ZERO);
        }
    }

    /// How often it was asked for what, whatever came of it.
    #[must_use]
    pub fn operations(&self) -> BTreeMap<&'static str, u64> {
        self.state().operations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn now(&self) -> u64 {
        millis((self.0.clock)())
    }

    /// One question, its answer, and what is said on the channel.
    async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State, u64) -> Result<(T, Option<String>), StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let faults = {
            let mut state = self.state();
            *state.operations.entry(name).or_default() += 1;
            state.faults.clone()
        };
        if faults.away {
            return Err(StoreError::Away);
        }
        pause(faults.latency / 2).await;
        // It has gone while the question was on its way.
        if self.state().faults.away {
            return Err(StoreError::Broken);
        }
        let Some(answer) = self.work(work) else {
            pause(faults.timeout).await;
            return Err(StoreError::Timeout);
        };
        pause(faults.latency / 2).await;
        if faults.loses_answers { Err(StoreError::Broken) } else { answer }
    }

    /// Does it now, or when it hangs no more.
    fn work<T>(
        &self,
        work: impl FnOnce(&mut State, u64) -> Result<(T, Option<String>), StoreError> + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let now = self.now();
        let mut state = self.state();
        if let Some(until) = state.faults.hangs_until.map(millis) {
            if now < until {
                state.late.push(Box::new(move |state, now| work(state, now).ok()?.1));
                return None;
            }
            state.faults.hangs_until = None;
            for late in std::mem::take(&mut state.late) {
                if let Some(message) = late(&mut state, until) {
                    self.say(message, state.faults.news_delay);
                }
            }
        }
        let done = work(&mut state, now);
        Some(done.map(|(answer, message)| {
            if let Some(message) = message {
                self.say(message, state.faults.news_delay);
            }
            answer
        }))
    }

    fn say(&self, message: String, delay: Duration) {
        let news = self.0.news.clone();
        // Nobody may be listening.
        let send = move || drop(news.send(message));
        if delay.is_zero() {
            return send();
        }
        let mut on_the_way = lock(&self.0.on_the_way);
        while on_the_way.try_join_next().is_some() {}
        on_the_way.spawn(async move {
            sleep(delay).await;
            send();
        });
    }
}

impl Default for ScriptedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedStore").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

const FULL: StoreError = StoreError::Refused(Refusal::OutOfMemory);

impl State {
    fn hash(&mut self, tag: &Tag, now: u64) -> &mut Hash {
        let hash = self.hashes.entry(tag.clone()).or_default();
        if hash.is_forgotten(now) {
            *hash = Hash::default();
        }
        hash
    }

    /// That of a question whose every answer is a write.
    fn written(&mut self, tag: &Tag, now: u64) -> Result<&mut Hash, StoreError> {
        if self.faults.refuses_writes { Err(FULL) } else { Ok(self.hash(tag, now)) }
    }

    fn beat(&mut self, instance: String, gone_after: u64, now: u64) -> Beat {
        self.members.insert(instance, now);
        self.members.forget_until(now.saturating_sub(gone_after));
        let replicas = u32::try_from(self.members.when.len()).unwrap_or(u32::MAX);
        Beat { now: Duration::from_millis(now), replicas }
    }
}

/// When each replica said last that it is there; by time as well, since there may be many.
#[derive(Default)]
struct Members {
    when: HashMap<String, u64>,
    by_time: BTreeSet<(u64, String)>,
}

impl Members {
    fn insert(&mut self, instance: String, now: u64) {
        if let Some(before) = self.when.insert(instance.clone(), now) {
            self.by_time.remove(&(before, instance.clone()));
        }
        self.by_time.insert((now, instance));
    }

    fn forget_until(&mut self, moment: u64) {
        while let Some((at, gone)) = self.by_time.pop_first() {
            if at > moment {
                self.by_time.insert((at, gone));
                return;
            }
            self.when.remove(&gone);
        }
    }
}

fn message(tag: &Tag, generation: u64, after_unauthorized: bool) -> String {
    format!("{} {generation}{}", tag.as_str(), if after_unauthorized { " refused" } else { "" })
}

impl FleetStore for ScriptedStore {
    fn take<'a>(&'a self, tag: &'a Tag, question: &'a Take) -> Answering<'a, Taken> {
        let (tag, question) = (tag.clone(), question.clone());
        Box::pin(self.ask("take", move |state, now| {
            let may_write = !state.faults.refuses_writes;
            let taken = state.hash(&tag, now).take(&question, now, may_write).ok_or(FULL)?;
            Ok((taken, None))
        }))
    }

    fn put<'a>(&'a self, tag: &'a Tag, put: &'a Put) -> Answering<'a, PutAnswer> {
        let (tag, put) = (tag.clone(), put.clone());
        Box::pin(self.ask("put", move |state, now| {
            let (answer, is_news) = state.written(&tag, now)?.put(&put, now);
            Ok((answer, is_news.then(|| message(&tag, put.fence, put.after_unauthorized))))
        }))
    }

    fn fail<'a>(&'a self, tag: &'a Tag, fail: &'a Fail) -> Answering<'a, FailAnswer> {
        let (tag, fail) = (tag.clone(), fail.clone());
        Box::pin(self.ask("fail", move |state, now| {
            let answer = state.written(&tag, now)?.fail(&fail, now);
            Ok((answer, (answer != FailAnswer::Lost).then(|| message(&tag, 0, false))))
        }))
    }

    fn keep<'a>(&'a self, tag: &'a Tag, lease: &'a Lease) -> Answering<'a, bool> {
        let (tag, lease) = (tag.clone(), lease.clone());
        Box::pin(self.ask("keep", move |state, now| Ok((state.written(&tag, now)?.keep(&lease, now), None))))
    }

    fn accepted<'a>(&'a self, tag: &'a Tag, generation: u64) -> Answering<'a, bool> {
        let tag = tag.clone();
        Box::pin(self.ask("accepted", move |state, now| Ok((state.written(&tag, now)?.accepted(generation), None))))
    }

    fn beat<'a>(&'a self, instance: &'a str, gone_after: Duration) -> Answering<'a, Beat> {
        let instance = instance.to_owned();
        Box::pin(self.ask("beat", move |state, now| {
            if state.faults.refuses_writes {
                return Err(FULL);
            }
            Ok((state.beat(instance, millis(gone_after), now), None))
        }))
    }

    fn read<'a>(&'a self, tag: &'a Tag) -> Answering<'a, Option<Stored>> {
        let tag = tag.clone();
        Box::pin(self.ask("read", move |state, now| Ok((state.hash(&tag, now).read(now), None))))
    }

    fn news(&self) -> broadcast::Receiver<String> {
        self.0.news.subscribe()
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod lease_tests;

#[cfg(test)]
mod renewal_tests;

#[cfg(test)]
mod semantics_tests;
