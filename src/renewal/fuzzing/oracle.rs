//! The oracle that the rule is held against: a world with a virtual clock, in which upstreams take and refuse tokens, and which
//! states the four points of what a 401 must come to, whatever happens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::event::Event::{self, Request as Ask, Revoke, Wait};
use super::event::{Path, Upstream};
use crate::renewal::{Answer, Decision, Evidence, Pace, RefusedToken, Renewals, RequestPath};

#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    generation: u64,
    after_unauthorized: bool,
    pub(super) revoked: bool,
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

pub(super) struct Peer {
    pub(super) kind: Upstream,
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

pub(super) struct World {
    pub(super) peers: Vec<Peer>,
    pub(super) token: Option<Token>,
    newest: u64,
    accepted: u64,
    pace: Pace,
    pub(super) all: Vec<Instant>,
    doubtful: Vec<Instant>,
    slight: Vec<Instant>,
    away_until: Option<Instant>,
    slow: Vec<Slow>,
    asked: u64,
    dead: HashSet<u64>,
    pub(super) now: Instant,
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn within(times: &[Instant], span: Duration, now: Instant) -> usize {
    times.iter().filter(|at| now - **at < span).count()
}

impl World {
    pub(super) fn new(kinds: &[Upstream]) -> Self {
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
            now: Instant::now(),
        }
    }

    pub(super) fn run(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match *event {
                Wait(millis) => self.now += Duration::from_millis(millis.into()),
                Revoke => self.revoke(),
                Event::Restart(away) => {
                    self.revoke();
                    self.away_until = Some(self.now + seconds(away.into()));
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
        self.away_until.is_some_and(|until| self.now < until)
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
        let sent_at = self.peers[upstream].renewals.sent_at().map(|_| self.now);
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
        let place = RequestPath { host: None, path: &request.text };
        let peer = &mut self.peers[request.upstream];
        let acceptance = peer.renewals.accepted_at(request.token.generation, request.sent_at, place, || self.now);
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
        let now = self.now;
        let place = RequestPath { host: None, path: &request.text };
        let index = request.upstream;
        let newer = self.token.filter(|token| token.generation > request.token.generation);
        let mut decided = None;
        let excused = self.excuse(&request, now);
        let again = if newer.is_some() {
            newer
        } else {
            let untried = self.accepted < request.token.generation;
            let fresh = request.token.after_unauthorized && untried;
            let refused =
                RefusedToken { generation: request.token.generation, fresh, allowance: self.pace.allowance(now) };
            let decision = self.peers[index].renewals.decide(place, refused, now);
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
        let place = RequestPath { host: None, path: &again.text };
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
        let now = self.now;
        let (short, long) = (within(&self.all, seconds(10), now), within(&self.all, seconds(600), now));
        if short > 6 || long > 30 {
            return Err(format!("{short} token requests in 10 s, {long} in 10 min"));
        }
        Ok(())
    }
}
