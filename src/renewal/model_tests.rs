//! The rule as a state machine: random histories of what upstreams, callers and an authorization server do, on a virtual
//! clock, held against an oracle that states the four points of what a 401 must come to.
//!
//! `ATTACHE_HISTORIES` is how many histories, 512 unless it says otherwise. A failure is shrunk and printed; what was found
//! has become a named test below.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::Instant;

use self::Event::{Request as Ask, Revoke, Wait};
use super::{Answer, Decision, Evidence, Pace, Place, Renewals, Standing};

/// What an upstream does with good tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upstream {
    /// Takes them, but for its bad paths.
    Good,
    /// Takes none.
    Bad,
    /// One of its two servers takes none; they are asked in turn.
    OneBadServer,
}

#[derive(Debug, Clone, Copy)]
enum Path {
    Good(u8),
    /// A good path that is never asked for again, under one that is.
    Item,
    Bad(u8),
    /// A bad path that is never asked for again, under one that is bad as a whole.
    BadItem,
    /// The same, but what it lies under is no more than somebody's name.
    BadOf,
    /// A good path to which requests go that cannot be sent again.
    Upload,
    /// A bad one.
    BadUpload,
    /// One that answers with 503 whatever comes.
    Down,
    /// One that never looks at the token.
    Public,
    /// One that is served by two servers in turn, of which one refuses every token.
    Shaky,
}

impl Path {
    fn is_good(self) -> bool {
        matches!(self, Self::Good(_) | Self::Item)
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Bad(_) | Self::BadItem | Self::BadOf | Self::BadUpload)
    }

    /// What a caller would call the same path.
    fn kind(self) -> &'static str {
        match self {
            Self::Good(0) => "first",
            Self::Good(1) => "second",
            Self::Good(_) => "third",
            Self::Item => "items",
            _ => "other",
        }
    }

    fn is_sent_once(self) -> bool {
        matches!(self, Self::Upload | Self::BadUpload)
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Request(usize, Path),
    /// A request that is answered after so many more events.
    Slow(usize, Path, u8),
    /// The token dies.
    Revoke,
    /// The authorization server is away for so many seconds, and has forgotten its tokens when it is back.
    Restart(u8),
    Wait(u32),
}

#[derive(Debug, Clone, Copy)]
struct Token {
    generation: u64,
    after_unauthorized: bool,
    revoked: bool,
}

struct Slow {
    left: u8,
    request: Request,
    answer: Answer,
}

struct Request {
    upstream: usize,
    path: Path,
    text: String,
    token: Token,
    sent_at: Option<Instant>,
}

struct Peer {
    kind: Upstream,
    renewals: Renewals,
    /// The oracle's own notes.
    caused: Vec<Instant>,
    doubted_at: Option<Instant>,
    /// Since when callers of good paths have seen the token refused that is dead now.
    refused_since: HashMap<&'static str, Instant>,
    turn: bool,
    unproven: bool,
    /// Paths that have been seen good.
    known: HashSet<&'static str>,
}

struct World {
    peers: Vec<Peer>,
    token: Option<Token>,
    newest: u64,
    accepted: u64,
    pace: Pace,
    all: Vec<Instant>,
    doubtful: Vec<Instant>,
    slight: Vec<Instant>,
    away_until: Option<Instant>,
    slow: Vec<Slow>,
    asked: u64,
    dead: HashSet<u64>,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn within(times: &[Instant], span: Duration, now: Instant) -> usize {
    times.iter().filter(|at| now - **at < span).count()
}

impl World {
    fn new(kinds: &[Upstream]) -> Self {
        let peer = |kind: &Upstream| Peer {
            kind: *kind,
            renewals: Renewals::default(),
            caused: Vec::new(),
            doubted_at: None,
            refused_since: HashMap::new(),
            turn: false,
            unproven: false,
            known: HashSet::new(),
        };
        Self {
            peers: kinds.iter().map(peer).collect(),
            token: None,
            newest: 0,
            accepted: 0,
            pace: Pace::default(),
            all: Vec::new(),
            doubtful: Vec::new(),
            slight: Vec::new(),
            away_until: None,
            slow: Vec::new(),
            asked: 0,
            dead: HashSet::new(),
        }
    }

    async fn run(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match *event {
                Wait(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
                Revoke => self.revoke(),
                Event::Restart(away) => {
                    self.revoke();
                    self.away_until = Some(Instant::now() + seconds(away.into()));
                }
                Ask(upstream, path) => {
                    if let Some(request) = self.begin(upstream, path) {
                        let answer = self.answers(&request);
                        self.end(request, answer)?;
                    }
                }
                Event::Slow(upstream, path, left) => {
                    if let Some(request) = self.begin(upstream, path) {
                        let answer = self.answers(&request);
                        self.slow.push(Slow { left, request, answer });
                    }
                }
            }
            let (done, under_way) = std::mem::take(&mut self.slow).into_iter().partition(|slow| slow.left == 0);
            self.slow = under_way;
            for slow in &mut self.slow {
                slow.left -= 1;
            }
            let done: Vec<Slow> = done;
            for slow in done {
                self.end(slow.request, slow.answer)?;
            }
            self.check_bounds()?;
        }
        Ok(())
    }

    fn revoke(&mut self) {
        if let Some(token) = &mut self.token {
            token.revoked = true;
        }
        self.dead.extend(1..=self.newest);
    }

    fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| Instant::now() < until)
    }

    fn issue(&mut self, after_unauthorized: bool) -> Option<Token> {
        if self.is_away() {
            return None;
        }
        self.newest += 1;
        // Each token's death is another one.
        self.peers.iter_mut().for_each(|peer| peer.refused_since.clear());
        self.token = Some(Token { generation: self.newest, after_unauthorized, revoked: false });
        self.token
    }

    /// `None`: 503.
    fn begin(&mut self, upstream: usize, path: Path) -> Option<Request> {
        let upstream = upstream % self.peers.len();
        let token = self.token.or_else(|| self.issue(false))?;
        self.asked += 1;
        let text = match path {
            Path::Good(number) => format!("/good/{number}"),
            Path::Item => format!("/items/{}", self.asked),
            Path::Bad(number) => format!("/bad-{number}"),
            Path::BadItem => format!("/refused/{}", self.asked),
            Path::BadOf => format!("/{}/refused", self.asked),
            Path::Upload => "/files/new".to_owned(),
            Path::BadUpload => format!("/drop/{}", self.asked % 7),
            Path::Down => "/down".to_owned(),
            Path::Public => "/healthz".to_owned(),
            Path::Shaky => "/shaky".to_owned(),
        };
        let sent_at = self.peers[upstream].renewals.sent_at();
        Some(Request { upstream, path, text, token, sent_at })
    }

    /// What the upstream says now.
    fn answers(&mut self, request: &Request) -> Answer {
        let peer = &mut self.peers[request.upstream];
        peer.turn = !peer.turn;
        let current = self.token.filter(|token| token.generation == request.token.generation && !token.revoked);
        let bad_server = match peer.kind {
            Upstream::Good => false,
            Upstream::Bad => true,
            Upstream::OneBadServer => peer.turn,
        };
        match request.path {
            Path::Down => Answer::Neither,
            Path::Public => Answer::Taken,
            Path::Shaky if peer.turn => Answer::Refused,
            path if path.is_bad() || bad_server => Answer::Refused,
            _ if current.is_some() || self.outlives(request) => Answer::Taken,
            _ => Answer::Refused,
        }
    }

    /// A token that was replaced on little evidence is as good as it was.
    fn outlives(&self, request: &Request) -> bool {
        let replaced = self.token.is_none_or(|token| token.generation > request.token.generation);
        replaced && !request.token.revoked && !self.dead.contains(&request.token.generation)
    }

    fn accept(&mut self, request: &Request) {
        let place = Place { host: None, path: &request.text };
        let peer = &mut self.peers[request.upstream];
        let acceptance = peer.renewals.accepted(request.token.generation, request.sent_at, place);
        if let Some(evidence) = acceptance.proved {
            self.pace.helped(evidence);
        }
        if acceptance.first {
            self.accepted = self.accepted.max(request.token.generation);
        }
        peer.refused_since.remove(request.path.kind());
        // Before the first refusal nothing is noted by path.
        if request.sent_at.is_some() {
            peer.known.insert(request.path.kind());
        }
    }

    /// The answer has come.
    fn end(&mut self, request: Request, answer: Answer) -> Result<(), String> {
        match answer {
            Answer::Taken => self.accept(&request),
            Answer::Neither => {}
            Answer::Refused => return self.refused(request),
        }
        Ok(())
    }

    fn refused(&mut self, request: Request) -> Result<(), String> {
        let now = Instant::now();
        let place = Place { host: None, path: &request.text };
        let index = request.upstream;
        let newer = self.token.filter(|token| token.generation > request.token.generation);
        let mut decided = None;
        let excused = self.excuse(&request, now);
        let again = if newer.is_some() {
            newer
        } else {
            let untried = self.accepted < request.token.generation;
            let fresh = request.token.after_unauthorized && untried;
            let standing = Standing { generation: request.token.generation, fresh, room: self.pace.room(now) };
            let decision = self.peers[index].renewals.decide(place, standing, now);
            decided = Some(decision);
            match decision {
                Decision::Renew(evidence) => {
                    self.pace.note(evidence, now);
                    self.all.push(now);
                    self.peers[index].caused.push(now);
                    match evidence {
                        Evidence::Doubtful => self.doubtful.push(now),
                        Evidence::Slight => self.slight.push(now),
                        Evidence::Strong | Evidence::Inherited => {}
                    }
                    if evidence == Evidence::Strong || untried {
                        self.token = None;
                    }
                    self.issue(true)
                }
                Decision::SendAgain => Some(request.token),
                Decision::GiveBack => None,
            }
        };
        let Some(token) = again else {
            if let Some(decided @ Decision::Renew(_)) = decided {
                self.peers[index].renewals.failed(decided, place, now);
                self.uncount(decided);
            }
            return self.returned(&request, excused || self.is_away(), now);
        };
        if request.path.is_sent_once() {
            return self.returned(&request, excused, now);
        }
        let same = token.generation == request.token.generation;
        let again = Request { token, sent_at: Some(now), ..request };
        let answer = self.answers(&again);
        let place = Place { host: None, path: &again.text };
        self.peers[index].renewals.sent_again(decided, answer, token.generation, place, now);
        if let (Some(decided), Answer::Taken) = (decided, answer) {
            self.uncount(decided);
        }
        match answer {
            Answer::Taken => self.accept(&again),
            Answer::Neither => {}
            Answer::Refused => {
                if decided.is_some() && !same {
                    self.peers[index].doubted_at = Some(now);
                }
                // One that died between two uses; nothing is sent a third time.
                let died = !same && token.revoked;
                return self.returned(&again, excused || died, now);
            }
        }
        Ok(())
    }

    /// What is bounded tightly is what does not help.
    fn uncount(&mut self, decided: Decision) {
        let Decision::Renew(evidence) = decided else { return };
        self.pace.helped(evidence);
        match evidence {
            Evidence::Slight => drop(self.slight.pop()),
            Evidence::Doubtful => drop(self.doubtful.pop()),
            Evidence::Strong | Evidence::Inherited => {}
        }
    }

    /// Why a caller of a good path may see a 401 now, before the rule is asked.
    fn excuse(&self, request: &Request, now: Instant) -> bool {
        let peer = &self.peers[request.upstream];
        // Point 2: no more than so much.
        let spent = within(&peer.caused, seconds(10), now) >= 5
            || within(&peer.caused, seconds(600), now) >= 24
            || within(&self.all, seconds(10), now) >= 6
            || within(&self.all, seconds(600), now) >= 30;
        // Point 3: healed within 2 s where something else had been refused here.
        let doubted = peer.doubted_at.is_some_and(|at| now - at < seconds(600)) || peer.unproven;
        let since = |span| peer.refused_since.get(request.path.kind()).is_none_or(|since| now - *since < seconds(span));
        // What renewing on doubt may cost.
        let doubt_spent =
            within(&self.doubtful, seconds(60), now) >= 2 || within(&self.doubtful, seconds(600), now) >= 12;
        let slight_spent = within(&self.slight, seconds(60), now) >= 2 || within(&self.slight, seconds(600), now) >= 8;
        // Point 1 is about tokens that worked. One that died before anybody used it is told late from one that never helps.
        let never_worked = self.accepted < request.token.generation && request.token.after_unauthorized;
        let known = peer.known.contains(request.path.kind());
        let first_contact = !peer.renewals.has_accepted();
        spent
            || (doubted && (since(2) || (!known && slight_spent)))
            || (never_worked && (since(120) || doubt_spent))
            || (first_contact && (slight_spent || doubted || since(2)))
    }

    /// The caller sees a 401.
    fn returned(&mut self, request: &Request, excused: bool, now: Instant) -> Result<(), String> {
        let peer = &mut self.peers[request.upstream];
        // Renewals that nobody could prove are doubted from the third on.
        peer.unproven |= request.path.is_sent_once();
        if !request.path.is_good() || peer.kind != Upstream::Good {
            return Ok(());
        }
        peer.refused_since.entry(request.path.kind()).or_insert(now);
        if excused { Ok(()) } else { Err(format!("a caller of {} sees a 401", request.text)) }
    }

    fn check_bounds(&self) -> Result<(), String> {
        let now = Instant::now();
        let (short, long) = (within(&self.all, seconds(10), now), within(&self.all, seconds(600), now));
        if short > 6 || long > 30 {
            return Err(format!("{short} token requests in 10 s, {long} in 10 min"));
        }
        Ok(())
    }
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        6 => (0_u8..3).prop_map(Path::Good),
        3 => Just(Path::Item),
        2 => (0_u8..3).prop_map(Path::Bad),
        1 => Just(Path::BadItem),
        1 => Just(Path::BadOf),
        1 => Just(Path::Upload),
        1 => Just(Path::BadUpload),
        1 => Just(Path::Down),
        1 => Just(Path::Public),
        1 => Just(Path::Shaky),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0_usize..3, path()).prop_map(|(upstream, path)| Ask(upstream, path)),
        2 => (0_usize..3, path(), 0_u8..5).prop_map(|(upstream, path, left)| Event::Slow(upstream, path, left)),
        2 => Just(Revoke),
        1 => (0_u8..20).prop_map(Event::Restart),
        4 => (1_u32..3000).prop_map(Wait),
        1 => (3000_u32..120_000).prop_map(Wait),
    ]
}

fn kinds() -> impl Strategy<Value = Vec<Upstream>> {
    let kind = prop_oneof![4 => Just(Upstream::Good), 1 => Just(Upstream::Bad), 1 => Just(Upstream::OneBadServer)];
    proptest::collection::vec(kind, 1..4)
}

#[test]
fn whatever_happens_the_four_points_hold() {
    let set = std::env::var("ATTACHE_HISTORIES").ok();
    let cases = set.map_or(512, |cases| cases.parse().expect("ATTACHE_HISTORIES is a number"));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let histories = (kinds(), proptest::collection::vec(event(), 1..300));
    let run = |(kinds, events): (Vec<Upstream>, Vec<Event>)| {
        paused(World::new(&kinds).run(&events)).map_err(TestCaseError::fail)
    };
    if let Err(found) = runner.run(&histories, run) {
        panic!("{found}");
    }
}

/// Token requests because of 401s in so many seconds of these events, over and over.
fn cost(kinds: &[Upstream], round: &[Event], for_seconds: u64) -> usize {
    paused(async {
        let (mut world, began) = (World::new(kinds), Instant::now());
        while began.elapsed() < seconds(for_seconds) {
            world.run(round).await.unwrap();
        }
        world.all.len()
    })
}

#[test]
fn an_upstream_that_takes_no_token_costs_at_most_three_in_the_first_minute() {
    assert!(cost(&[Upstream::Bad], &[Ask(0, Path::Good(0)), Wait(50)], 60) <= 3);
    let many = [Ask(0, Path::Good(0)), Ask(0, Path::Good(1)), Ask(0, Path::Item), Wait(50)];
    assert!(cost(&[Upstream::Bad], &many, 60) <= 3);
}

#[test]
fn an_upstream_that_stops_taking_tokens_costs_at_most_three_in_the_first_minute() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        let paths =
            [Ask(0, Path::Good(0)), Ask(0, Path::Good(1)), Ask(0, Path::Good(2)), Ask(0, Path::Item), Wait(100)];
        world.run(&[Ask(0, Path::Bad(0))]).await.unwrap();
        world.run(&paths).await.unwrap();
        world.peers[0].kind = Upstream::Bad;
        let (before, began) = (world.all.len(), Instant::now());
        while began.elapsed() < seconds(60) {
            world.run(&paths).await.unwrap();
        }
        assert!(world.all.len() - before <= 3, "{}", world.all.len() - before);
    });
}

#[test]
fn one_bad_server_of_two_costs_no_more_than_it_takes_to_know_it() {
    assert!(cost(&[Upstream::OneBadServer], &[Ask(0, Path::Good(0)), Wait(11)], 600) <= 6);
}

#[test]
fn one_bad_path_costs_one_renewal_while_the_others_are_in_use() {
    let round = [Ask(0, Path::Good(0)), Ask(0, Path::Bad(0)), Wait(100)];
    assert!(cost(&[Upstream::Good], &round, 600) <= 2);
    let items = [Ask(0, Path::Item), Ask(0, Path::BadItem), Wait(100)];
    assert!(cost(&[Upstream::Good], &items, 600) <= 2);
    let of = [Ask(0, Path::Item), Ask(0, Path::BadOf), Wait(100)];
    assert!(cost(&[Upstream::Good], &of, 600) <= 2);
}

#[test]
fn a_token_that_is_revoked_every_two_and_a_half_seconds_is_replaced_each_time() {
    let round: Vec<Event> = [Ask(0, Path::Good(0)), Ask(0, Path::Item), Wait(2500), Revoke].to_vec();
    assert_eq!(cost(&[Upstream::Good], &round, 25), 9);
}

#[test]
fn a_bad_neighbour_costs_a_good_upstream_nothing() {
    let round = [Ask(0, Path::Good(0)), Ask(1, Path::Good(0)), Wait(100)];
    assert!(cost(&[Upstream::Good, Upstream::Bad], &round, 60) <= 3);
}

fn holds(kinds: &[Upstream], history: &[Event]) {
    paused(World::new(kinds).run(history)).unwrap();
}

#[test]
fn a_renewal_that_found_the_authorization_server_away_holds_nothing_up() {
    holds(
        &[Upstream::Good, Upstream::Good],
        &[Ask(1, Path::Good(0)), Event::Restart(1), Ask(0, Path::Good(0)), Wait(1000), Ask(0, Path::Good(0))],
    );
}

#[test]
fn a_place_that_nothing_is_known_against_is_not_held_up_by_a_bad_one() {
    let history = [
        [Ask(0, Path::Bad(0)), Ask(0, Path::Item), Wait(14_000), Revoke].as_slice(),
        &[Ask(0, Path::Good(0)), Wait(46_000), Ask(0, Path::Bad(0)), Ask(0, Path::Bad(1)), Revoke],
        &[Wait(60_000), Ask(0, Path::Item)],
    ];
    holds(&[Upstream::Good], &history.concat());
}

#[test]
fn a_late_answer_about_two_dead_tokens_is_not_held_against_its_place() {
    let history = [
        [Event::Slow(0, Path::Item, 0), Revoke, Event::Slow(0, Path::Good(0), 2), Ask(0, Path::Item), Revoke]
            .as_slice(),
        &[Wait(3000), Ask(0, Path::Bad(0)), Revoke, Ask(0, Path::Good(0)), Wait(1000), Ask(0, Path::Good(0))],
    ];
    holds(&[Upstream::Good], &history.concat());
}

#[test]
fn where_waiting_has_shown_the_token_to_be_dead_the_next_death_is_not_waited_for() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        // Somebody may not do with this path what others may: it is refused and taken in turn.
        world.run(&[Ask(0, Path::Item), Ask(0, Path::BadOf), Ask(0, Path::Good(0))]).await.unwrap();
        world.run(&[Revoke, Ask(0, Path::Good(1)), Wait(1000), Ask(0, Path::Good(1))]).await.unwrap();
        let before = world.all.len();
        world.run(&[Wait(70_000), Revoke, Ask(0, Path::Good(2))]).await.unwrap();
        assert_eq!(world.all.len(), before + 1, "the first refusal is enough");
    });
}

#[test]
fn a_path_that_never_looks_at_tokens_keeps_no_dead_one_in_use() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        let path = Ask(0, Path::Good(0));
        world.run(&[path]).await.unwrap();
        // An outage, in which a new token is refused as well.
        world.peers[0].kind = Upstream::Bad;
        world.run(&[path]).await.unwrap();
        world.peers[0].kind = Upstream::Good;
        world.run(&[path, Wait(60_000), Revoke]).await.unwrap();
        for _ in 0..20 {
            world.run(&[Ask(0, Path::Public), Ask(0, Path::Down), path, Wait(500)]).await.unwrap();
        }
        assert!(world.token.is_some_and(|token| !token.revoked));
    });
}

#[test]
fn refused_requests_that_cannot_be_sent_again_cost_little_and_hold_up_nobody() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        let path = Ask(0, Path::Good(0));
        world.run(&[path]).await.unwrap();
        for _ in 0..600 {
            world.run(&[Ask(0, Path::BadUpload), path, Wait(1000)]).await.unwrap();
        }
        assert!(world.all.len() <= 8, "{}", world.all.len());
        world.run(&[Revoke, path]).await.unwrap();
        assert!(world.token.is_some_and(|token| !token.revoked), "the first refusal of a good path is enough");
    });
}

#[test]
fn a_bad_path_costs_a_quiet_good_one_nothing() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        world.run(&[Ask(0, Path::Good(0))]).await.unwrap();
        for minute in 0..60 {
            for _ in 0..60 {
                world.run(&[Ask(0, Path::Bad(0)), Wait(1000)]).await.unwrap();
            }
            let dies = if minute % 5 == 4 { Revoke } else { Wait(1) };
            world.run(&[dies, Ask(0, Path::Good(0))]).await.unwrap();
            assert!(world.token.is_some_and(|token| !token.revoked), "replaced at its first refusal");
        }
    });
}

#[test]
fn one_bad_server_behind_one_path_keeps_no_dead_token_in_use_for_another() {
    paused(async {
        let mut world = World::new(&[Upstream::Good]);
        for tick in 0..6000_u32 {
            if tick % 300 == 299 {
                world.run(&[Revoke]).await.unwrap();
            }
            let shaky = if tick % 2 == 0 { Ask(0, Path::Shaky) } else { Wait(1) };
            world.run(&[Ask(0, Path::Good(0)), shaky, Wait(100)]).await.unwrap();
            // Within a second and a half of each death, and mostly at its first refusal.
            let healed = world.token.is_some_and(|token| !token.revoked);
            assert!(healed || tick % 300 == 299 || tick % 300 < 15, "tick {tick}");
        }
    });
}
