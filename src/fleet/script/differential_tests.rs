//! The scripts on real servers against the store in memory: the same questions in any order have the same answers and the same news.
//!
//! The servers' clock is a key, so that both have the same, and what would be forgotten is noted rather than timed: an hour passes in no
//! time, and clocks are set back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::*;
use crate::fleet::names::Mark;
use crate::fleet::protocol::{LARGEST, Lead, Reach, SharedFailure};
use crate::fleet::scripted::ScriptedStore;
use crate::secret::{Secret, SecretSource, Secrets};
use crate::store::testing::{Kind, StoreServer};
use crate::store::{StoreAddress, StoreMetrics, StoreSettings, StoreTlsSettings};
use crate::token::{Budget, Why};

/// For each seed.
const STEPS: u64 = 700;

/// A busy machine answers within it.
const PATIENCE: Duration = Duration::from_secs(20);

/// In front of each script: its clock, and what is forgotten when.
const SCRIPTED_TIME: &str = r"
local server = redis
local function clock() return tonumber(server.call('GET', 'clock')) end
local redis = {pcall = server.pcall, call = function(name, key, ...)
  if name == 'TIME' then return {tostring(math.floor(clock() / 1000)), tostring(clock() % 1000 * 1000 + 999)} end
  if name == 'PEXPIRE' then return server.call('SET', 'forgotten:' .. key, string.format('%.0f', clock() + ...)) end
  return server.call(name, key, ...)
end}
";

/// Turns the clock, and forgets what is due.
static TURN: Script = Script::new(
    "turn",
    r"
redis.call('SET', 'clock', ARGV[1])
if tonumber(redis.call('GET', 'forgotten:' .. KEYS[1]) or ARGV[1] + 1) <= tonumber(ARGV[1]) then redis.call('DEL', KEYS[1], 'forgotten:' .. KEYS[1]) end
return 1",
);

fn with_scripted_time() -> &'static Scripts {
    let scripted = |script: &Script| {
        let text: &'static str = Box::leak(format!("{SCRIPTED_TIME}{}", script.text).into_boxed_str());
        Script::new(script.name, text)
    };
    Box::leak(Box::new(Scripts {
        take: scripted(&SCRIPTS.take),
        put: scripted(&SCRIPTS.put),
        fail: scripted(&SCRIPTS.fail),
        keep: scripted(&SCRIPTS.keep),
        accepted: scripted(&SCRIPTS.accepted),
        read: scripted(&SCRIPTS.read),
        beat: scripted(&SCRIPTS.beat),
    }))
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn time(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

#[derive(Debug)]
enum Question {
    Take(Take),
    Put(Put),
    Fail(Fail),
    Keep(Lease),
    Accepted(u64),
    Read,
    Beat(String, Duration),
}

/// What may be asked next, by what was answered before.
struct Replicas {
    dice: Dice,
    /// Who led last, and under which number.
    led: (String, u64),
    /// What was put last.
    newest: (u64, String),
    tokens: u64,
}

impl Replicas {
    fn ask(&mut self) -> Question {
        let (owner, fence) = self.led.clone();
        // Mostly what makes sense.
        let owner = if self.dice.one_in(10) { self.owner() } else { owner };
        let fence = if self.dice.one_in(10) { self.dice.below(fence + 3) } else { fence };
        match self.dice.below(100) {
            0..55 => Question::Take(self.take()),
            55..73 => Question::Put(self.put(fence)),
            73..81 => Question::Fail(self.fail(owner, fence)),
            81..87 => Question::Keep(Lease { owner, fence, length: self.dice.time(5000) }),
            87..93 => {
                let off = self.dice.below(2);
                Question::Accepted(self.newest.0.saturating_sub(off))
            }
            93..97 => Question::Read,
            _ => Question::Beat(self.owner(), Duration::from_secs(90)),
        }
    }

    fn owner(&mut self) -> String {
        self.dice.of(&["a~0", "a~1", "b~0", "c"]).to_owned()
    }

    fn take(&mut self) -> Take {
        let held = match self.dice.below(4) {
            0 => None,
            1 => Some(self.dice.below(self.tokens + 1).to_string()),
            _ => Some(self.newest.1.clone()),
        };
        let budgets = [(2, 7), (4, 60), (20, 60), (30, 3600), (30, 7201)];
        let budget = (!self.dice.one_in(3)).then(|| self.dice.of(&budgets));
        let known = self.newest.0;
        Take {
            owner: self.owner(),
            lease: Duration::from_secs(3),
            lease_max: Duration::from_secs(self.dice.of(&[4, 12])),
            why: self.dice.of(&[
                Why::Ahead,
                Why::Cold,
                Why::Refused,
                Why::Refused,
                Why::Refused,
                Why::Forced,
                Why::Apart,
            ]),
            age: held.as_ref().map(|_| self.dice.time(20_000)),
            held: held.map(mark),
            known: match self.dice.below(60) {
                0 => self.dice.of(&[LARGEST - 1, LARGEST, LARGEST + 1, LARGEST + 2, u64::MAX]),
                _ => self.dice.of(&[0, known, known, known + 1, known + 7]),
            },
            has_taken: !self.dice.one_in(3),
            budget: budget.map(|(requests, seconds)| Budget { requests, per: Duration::from_secs(seconds) }),
        }
    }

    fn put(&mut self, fence: u64) -> Put {
        let again = self.dice.one_in(12);
        self.tokens += u64::from(!again);
        Put {
            fence,
            sealed: [b"sealed \x00\xff\r\n", self.tokens.to_string().as_bytes()].concat(),
            mark: mark(self.tokens.to_string()),
            usable: self.dice.of(&[Duration::from_millis(1500), Duration::from_secs(60), Duration::from_secs(3600)]),
            after_unauthorized: !self.dice.one_in(3),
            keep: Duration::from_secs(3600),
        }
    }

    fn fail(&mut self, owner: String, fence: u64) -> Fail {
        let failure = (!self.dice.one_in(3)).then(|| SharedFailure {
            sealed: format!("failure {}", self.dice.below(1000)).into_bytes(),
            delay: self.dice.time(30_000),
            reach: self.dice.of(&[Reach::Confirmed, Reach::Confirmed, Reach::All, Reach::EachForItself]),
        });
        Fail { owner, fence, failure }
    }

    fn hear(&mut self, question: &Question, answer: &Said) {
        match (question, answer) {
            (Question::Take(take), Said::Taken(Ok(Taken::Lead(lead)))) if lead.fence > 0 => {
                self.led = (take.owner.clone(), lead.fence);
            }
            (Question::Put(put), Said::Put(Ok(PutAnswer::Put))) => {
                self.newest = (put.fence, put.mark.as_str().to_owned());
            }
            _ => {}
        }
    }

    /// A good upstream beside one that refuses each token: one renewal after the other.
    fn renew(&mut self, step: u64) -> Question {
        match step % 3 {
            0 => Question::Take(Take {
                why: Why::Refused,
                held: Some(mark(self.newest.1.clone())),
                age: Some(Duration::ZERO),
                budget: None,
                has_taken: true,
                ..self.take()
            }),
            1 => Question::Put(Put { usable: Duration::from_secs(3600), ..self.put(self.led.1) }),
            _ => Question::Accepted(self.newest.0),
        }
    }

    /// How far the clock is turned between renewals.
    fn little(&mut self) -> u64 {
        if self.dice.one_in(40) { 30_000 } else { self.dice.below(800) }
    }

    /// How far the clock is turned, and whether back.
    fn turn(&mut self) -> (u64, bool) {
        let far = match self.dice.below(100) {
            0..20 => 0,
            20..60 => self.dice.below(500),
            60..85 => self.dice.below(4000),
            85..95 => self.dice.below(31_000),
            95..98 => self.dice.below(700_000),
            98 => self.dice.below(4_000_000),
            _ => return (self.dice.below(20_000), true),
        };
        (far, false)
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Taken(Result<Taken, StoreError>),
    Put(Result<PutAnswer, StoreError>),
    Failed(Result<FailAnswer, StoreError>),
    Yes(Result<bool, StoreError>),
    Read(Result<Option<Stored>, StoreError>),
    Beat(Result<Beat, StoreError>),
}

async fn said(store: &dyn FleetStore, tag: &Tag, question: &Question) -> Said {
    match question {
        Question::Take(take) => Said::Taken(store.take(tag, take).await),
        Question::Put(put) => Said::Put(store.put(tag, put).await),
        Question::Fail(fail) => Said::Failed(store.fail(tag, fail).await),
        Question::Keep(lease) => Said::Yes(store.keep(tag, lease).await),
        Question::Accepted(generation) => Said::Yes(store.accepted(tag, *generation).await),
        Question::Read => Said::Read(store.read(tag).await),
        Question::Beat(instance, gone_after) => Said::Beat(store.beat(instance, *gone_after).await),
    }
}

fn mark(of: String) -> Mark {
    Mark::from(Arc::from(of))
}

fn names() -> StoreNames {
    StoreNames::new("attache")
}

/// As a user of the server, or as anybody.
async fn connected_as(user: Option<(&str, &str)>, server: &StoreServer) -> Store {
    let literal = |password: &str| Secrets::one(SecretSource::Literal(Secret::new(password.into())));
    let settings = StoreSettings {
        servers: vec![StoreAddress::Tcp { host: "127.0.0.1".into(), port: server.port() }],
        with_tls: false,
        database: 0,
        username: user.map(|(name, _)| name.to_owned()),
        password: user.map(|(_, password)| literal(password)),
        sentinel: None,
        tls: StoreTlsSettings::default(),
        timeout: PATIENCE,
    };
    let mut probe = FleetScripts::probe(&names(), "probe", Duration::from_secs(90), true);
    // Who is counted on the scripted clock is not mixed with who is counted on the server's own.
    probe.key = "attache:1:{probe}:members".into();
    let store = Store::start(settings, probe, &Handle::current(), StoreMetrics::default());
    assert!(store.wait_connected(PATIENCE).await);
    store
}

async fn connected(server: &StoreServer) -> Store {
    connected_as(None, server).await
}

/// How often each kind of answer was given, so that a walk that never leaves its first room is noticed.
type Seen = std::collections::BTreeMap<String, u32>;

async fn walk(store: &Store, seed: u64, seen: &mut Seen) {
    let clock = Arc::new(AtomicU64::new(1_900_000_000_000));
    let read = Arc::clone(&clock);
    let scripted = ScriptedStore::with_clock(move || Duration::from_millis(read.load(Ordering::Relaxed)));
    let server = FleetScripts { store: store.clone(), names: names(), scripts: with_scripted_time() };
    // Each walk has places of its own.
    let tags = ["first", "second"].map(|name| Tag::scripted(&format!("{name:_<18}{seed:04}")));
    let mut news = (scripted.news(), server.news());
    let mut replicas = Replicas { dice: Dice(seed), led: ("a".into(), 1), newest: (0, "0".into()), tokens: 0 };
    let turn =
        |key: String, now: u64| store.run(&TURN, Box::leak(key.into_boxed_str()), vec![now.to_string().into_bytes()]);
    for step in 0..STEPS {
        let renews = seed.is_multiple_of(4);
        let (far, back) = if renews { (replicas.little(), false) } else { replicas.turn() };
        let now = if back { clock.load(Ordering::Relaxed) - far } else { clock.load(Ordering::Relaxed) + far };
        clock.store(now, Ordering::Relaxed);
        let tag = if replicas.dice.one_in(8) { &tags[1] } else { &tags[0] };
        for key in [server.names.identity(tag), server.names.members()] {
            turn(key, now).await.unwrap();
        }
        // Left to chance, a fleet would hardly renew thirty times in ten minutes.
        let question = if renews { replicas.renew(step) } else { replicas.ask() };
        let (expected, found) = (said(&scripted, tag, &question).await, said(&server, tag, &question).await);
        assert_eq!(found, expected, "seed {seed}, step {step}: {question:?}");
        replicas.hear(&question, &found);
        while let Ok(message) = news.0.try_recv() {
            let heard = timeout(PATIENCE, news.1.recv()).await.expect("the server says it, too");
            assert_eq!(heard.unwrap(), message, "seed {seed}, step {step}: {question:?}");
        }
        let shown = format!("{found:?}");
        let kind = shown.split([' ', '{']).next().unwrap_or_default().split('(').take(3).collect::<Vec<_>>().join(" ");
        *seen.entry(kind).or_default() += 1;
    }
    assert!(news.1.try_recv().is_err(), "the server says no more than that");
}

#[tokio::test]
async fn scripts_on_a_server_answer_as_the_store_in_memory_does() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = connected(&server).await;
        let mut seen = Seen::new();
        for seed in 1..=8 {
            server.cli(&["FLUSHALL"]);
            walk(&store, seed, &mut seen).await;
        }
        for kind in
            ["Value", "Hold", "Failed", "Wait", "Spent", "Lead", "Older", "Put", "Lost", "Released", "Noted", "Shared"]
        {
            let times: u32 = seen.iter().filter(|(shown, _)| shown.contains(kind)).map(|(_, times)| times).sum();
            assert!(times >= 10, "{kind} was answered {times} times: {seen:?}");
        }
    }
}

/// What a writer puts into a field, and how the life of tokens goes on: all have the same, and there is one request for each.
#[tokio::test]
async fn a_number_that_no_script_has_written_costs_a_request_and_no_more() {
    let top = LARGEST.to_string();
    let numbers =
        ["1e18", "9.3e18", "1e308", "inf", "nan", "-5", "2.5", "x", "9007199254740993", "9007199254740989", &top];
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let store = connected(&server).await;
        for (place, (field, number)) in ["g", "f", "e", "at", "k", "ls", "lu", "xu", "xf", "xn"]
            .iter()
            .flat_map(|field| numbers.map(|number| (field, number)))
            .enumerate()
        {
            let scripts = FleetScripts::new(store.clone(), names());
            let tag = Tag::scripted(&format!("numbers-{place:0>14}"));
            let mut replicas = Replicas { dice: Dice(1), led: ("a".into(), 1), newest: (0, "0".into()), tokens: 0 };
            let take = Take { why: Why::Cold, budget: None, held: None, age: None, known: 0, ..replicas.take() };
            // What two replicas know; one of them asks for the other, too.
            let (mut known, mut held, mut written) = (0, None, false);
            let mut requests = 0;
            for life in 0..6 {
                let ahead = |known: u64, held: &Option<Mark>| {
                    let why = if held.is_some() { Why::Ahead } else { Why::Cold };
                    Take {
                        why,
                        known,
                        held: held.clone(),
                        age: held.as_ref().map(|_| Duration::from_secs(3)),
                        ..take.clone()
                    }
                };
                let what = format!("{field} = {number}, life {life}");
                let fence = match scripts.take(&tag, &ahead(known, &held)).await {
                    Ok(Taken::Lead(lead)) => lead.fence,
                    // Sealed under another number, it does not open.
                    Ok(Taken::Value(stored)) if written && stored.generation != known => {
                        let forced = Take { why: Why::Forced, ..ahead(known, &held) };
                        match scripts.take(&tag, &forced).await {
                            Ok(Taken::Lead(lead)) => lead.fence,
                            other => panic!("{what}: {other:?}"),
                        }
                    }
                    other => panic!("{what}: {other:?}"),
                };
                requests += 1;
                let put = Put { usable: PATIENCE, after_unauthorized: false, ..replicas.put(fence) };
                assert_eq!(scripts.put(&tag, &put).await, Ok(PutAnswer::Put), "{what}");
                let other = scripts.take(&tag, &ahead(known, &held)).await;
                assert!(matches!(&other, Ok(Taken::Value(value)) if value.generation == fence), "{what}: {other:?}");
                (known, held, written) = (fence, Some(put.mark), false);
                if life == 1 {
                    server.cli(&["HSET", &names().identity(&tag), field, number]);
                    written = true;
                }
            }
            assert_eq!(requests, 6);
        }
    }
}

#[tokio::test]
async fn scripts_run_on_the_servers_own_clock_and_leave_nothing_behind() {
    for kind in Kind::installed() {
        let server = StoreServer::start(kind, &[]);
        let scripts = FleetScripts::new(connected(&server).await, names());
        let tag = Tag::scripted("abcdefghijklmnopqrstuv");
        let mut replicas = Replicas { dice: Dice(1), led: ("a".into(), 1), newest: (0, "0".into()), tokens: 0 };
        let take = Take { why: Why::Cold, budget: None, held: None, age: None, known: 0, ..replicas.take() };
        let Ok(Taken::Lead(lead)) = scripts.take(&tag, &take).await else { panic!("it does not lead") };
        assert_eq!(lead.fence, 1);
        let put = replicas.put(lead.fence);
        assert_eq!(scripts.put(&tag, &put).await, Ok(PutAnswer::Put));
        let stored = scripts.read(&tag).await.unwrap().unwrap();
        assert!(stored.sealed == put.sealed && stored.age < PATIENCE && stored.left <= put.usable);
        let beat = scripts.beat("a", Duration::from_secs(90)).await.unwrap();
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(wall.abs_diff(beat.now) < PATIENCE && beat.replicas == 1);
        for key in server.cli(&["KEYS", "attache:*"]).split_whitespace() {
            let left: i64 = server.cli(&["PTTL", key]).parse().unwrap();
            assert!((1..=3_600_000).contains(&left), "{key} stays for {left} ms");
        }
    }
}

/// What a server lets the user of a fleet do.
const PERMISSIONS: &str = "on >s3cret resetkeys ~attache:1:* resetchannels &attache:1:* -@all +hello +auth +ping +role +client|setname \
    +eval +evalsha +subscribe +publish +time +hmget +hget +hset +hdel +pexpire +zadd +zcard +zremrangebyscore";

#[tokio::test]
async fn scripts_need_no_more_than_the_documented_permissions_and_go_on_without_publish() {
    for kind in Kind::installed() {
        for (user, may_publish) in [("fleet", true), ("quiet", false)] {
            let server = StoreServer::start(kind, &[]);
            let mut permissions: Vec<&str> =
                ["ACL", "SETUSER", user].into_iter().chain(PERMISSIONS.split_whitespace()).collect();
            permissions.retain(|word| may_publish || *word != "+publish");
            assert_eq!(server.cli(&permissions), "OK");
            let scripts = FleetScripts::new(connected_as(Some((user, "s3cret")), &server).await, names());
            let mut news = scripts.news();
            let tag = Tag::scripted("abcdefghijklmnopqrstuv");
            let mut replicas = Replicas { dice: Dice(1), led: ("a".into(), 1), newest: (0, "0".into()), tokens: 0 };
            let budget = Some(Budget { requests: 5, per: Duration::from_secs(60) });
            let take = Take { why: Why::Refused, budget, held: None, age: None, known: 0, ..replicas.take() };
            assert!(matches!(scripts.take(&tag, &take).await, Ok(Taken::Lead(_))));
            let lease = Lease { owner: take.owner.clone(), fence: 1, length: PATIENCE };
            assert_eq!(scripts.keep(&tag, &lease).await, Ok(true));
            let failure = SharedFailure { sealed: b"failure".to_vec(), delay: Duration::ZERO, reach: Reach::All };
            let fail = Fail { owner: take.owner.clone(), fence: 1, failure: Some(failure) };
            assert_eq!(scripts.fail(&tag, &fail).await, Ok(FailAnswer::Shared));
            assert!(matches!(
                scripts.take(&tag, &take).await,
                Ok(Taken::Lead(Lead { fence: 2, used: 2, failures: 1, .. }))
            ));
            let put = Put { after_unauthorized: true, usable: PATIENCE, ..replicas.put(2) };
            assert_eq!(scripts.put(&tag, &put).await, Ok(PutAnswer::Put));
            assert_eq!(scripts.accepted(&tag, 2).await, Ok(true));
            assert!(scripts.read(&tag).await.unwrap().is_some());
            assert!(scripts.beat("a", Duration::from_secs(90)).await.is_ok());
            if may_publish {
                let heard = [timeout(PATIENCE, news.recv()).await, timeout(PATIENCE, news.recv()).await];
                let heard = heard.map(|heard| heard.unwrap().unwrap());
                assert_eq!(heard, [format!("{} 0", tag.as_str()), format!("{} 2 refused", tag.as_str())]);
            }
        }
    }
}
