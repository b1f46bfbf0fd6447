//! Where at an upstream tokens were taken and refused: by path, and by what the path lies under.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::evidence::Evidence;

/// A refusal that a new token did not cure is remembered for so long.
pub(super) const MEMORY: Duration = Duration::from_secs(600);

/// Where refusals have two explanations, the token counts as dead where nothing has been taken for so long.
const STARVED: Duration = Duration::from_secs(1);

/// A renewal on little evidence is not repeated at its place for so long, and then twice as long.
const FIRST_HOLD: Duration = Duration::from_secs(30);
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Where at an upstream a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestPath<'a> {
    /// The host, where the upstream has several.
    pub(crate) host: Option<&'a str>,
    /// The path, without the query.
    pub(crate) path: &'a str,
}

impl<'a> RequestPath<'a> {
    /// What it lies under, from broad to narrow: the host, one segment, two segments.
    fn levels(self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> {
        let host = self.host.map(|host| (Some(host), ""));
        let ends = self.path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at).take(2);
        let segments = ends.map(move |end| (self.host, &self.path[..end]));
        host.into_iter().chain(segments)
    }
}

/// What happened at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    /// Nothing yet, nor above it.
    Unknown,
    /// Tokens were taken, and no new one was refused lately.
    Good,
    /// New tokens were refused, and none ever taken.
    Bad,
    /// Both.
    Mixed,
}

/// What is remembered of one place, or of all that lies under it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    accepted: bool,
    /// A token that was new was refused.
    refused: Option<Instant>,
    /// The token that is refused, and its first refusal since a request that was sent after it was accepted.
    refusing_since: Option<(u64, Instant)>,
    hold_until: Option<Instant>,
    hold: Duration,
    /// A token was renewed because of a refusal here, on this evidence, and nothing has come of it yet.
    pub(super) unproven: Option<Evidence>,
    /// A request was refused and then taken with the same token: a server behind this path is bad.
    pub(super) inconsistent: Option<Instant>,
    /// Requests that were sent again with the token they had, for nothing.
    pub(super) in_vain: u32,
    last: Instant,
}

impl Seen {
    fn new(accepted: bool, now: Instant) -> Self {
        Self {
            accepted,
            refused: None,
            refusing_since: None,
            hold_until: None,
            hold: Duration::ZERO,
            unproven: None,
            inconsistent: None,
            in_vain: 0,
            last: now,
        }
    }

    fn history(&self, now: Instant) -> History {
        let refused = self.refused.is_some_and(|at| now.saturating_duration_since(at) < MEMORY);
        match (self.accepted, refused) {
            (true, false) => History::Good,
            (true, true) => History::Mixed,
            (false, true) => History::Bad,
            (false, false) => History::Unknown,
        }
    }

    /// True if nothing has been taken here any more since a refusal that is some time ago.
    pub(super) fn is_starved(&self, now: Instant) -> bool {
        self.refusing_since.is_some_and(|(_, since)| now.saturating_duration_since(since) >= STARVED)
    }

    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }

    fn begin_hold(&mut self, now: Instant) {
        self.hold = if self.hold.is_zero() { FIRST_HOLD } else { (self.hold * 2).min(LONGEST_HOLD) };
        self.hold_until = Some(now + self.hold);
    }
}

/// What happened at each place, and at the upstream as a whole.
#[derive(Debug)]
pub(super) struct Places {
    whole: Seen,
    seen: HashMap<u64, Seen>,
    hasher: RandomState,
    most: usize,
}

/// A place, looked up.
pub(super) struct Found {
    pub(super) history: History,
    /// The place itself has that history.
    pub(super) itself: bool,
    level: Option<u64>,
}

impl Found {
    /// Nothing narrower than the upstream as a whole has a history.
    pub(super) const fn is_whole(&self) -> bool {
        self.level.is_none()
    }
}

impl Places {
    /// Remembers so many places, at least; those that were seen longest ago go first.
    pub(super) fn new(has_accepted: bool, most: usize, now: Instant) -> Self {
        Self { whole: Seen::new(has_accepted, now), seen: HashMap::new(), hasher: RandomState::new(), most }
    }

    /// The history of the narrowest level that has one.
    pub(super) fn nearest(&self, place: RequestPath<'_>, now: Instant) -> Found {
        let mut nearest = Found { history: self.whole.history(now), itself: false, level: None };
        let levels = place.levels().map(|level| (self.key(level), false));
        for (key, itself) in levels.chain([(self.itself_key(place), true)]) {
            let history = self.seen.get(&key).map_or(History::Unknown, |seen| seen.history(now));
            if history != History::Unknown {
                nearest = Found { history, itself, level: Some(key) };
            }
        }
        nearest
    }

    /// Begins a hold wherever [`Places::is_starved`] found it starved, and at the place itself.
    pub(super) fn begin_holds(&mut self, place: RequestPath<'_>, now: Instant) {
        let itself = self.itself_key(place);
        let levels: Vec<u64> = place.levels().map(|level| self.key(level)).collect();
        if self.whole.is_starved(now) && !self.whole.is_held(now) {
            self.whole.begin_hold(now);
        }
        for key in levels {
            if let Some(seen) = self.seen.get_mut(&key)
                && seen.is_starved(now)
                && !seen.is_held(now)
            {
                seen.begin_hold(now);
            }
        }
        if let Some(seen) = self.seen.get_mut(&itself)
            && !seen.is_held(now)
        {
            seen.begin_hold(now);
        }
    }

    /// True if nothing is taken any more at the place, or at anything that it lies under, and no hold is on there.
    pub(super) fn is_starved(&self, place: RequestPath<'_>, now: Instant) -> bool {
        let levels = place.levels().map(|level| self.key(level)).chain([self.itself_key(place)]);
        let known = levels.filter_map(|key| self.seen.get(&key)).chain([&self.whole]);
        known.into_iter().any(|seen| seen.is_starved(now) && !seen.is_held(now))
    }

    /// The upstream as a whole.
    pub(super) const fn whole(&self) -> &Seen {
        &self.whole
    }

    /// The level whose history counts.
    pub(super) fn level(&mut self, found: &Found) -> &mut Seen {
        match found.level {
            Some(key) => self.seen.get_mut(&key).unwrap_or(&mut self.whole),
            None => &mut self.whole,
        }
    }

    pub(super) fn itself(&mut self, place: RequestPath<'_>, now: Instant) -> &mut Seen {
        let key = self.itself_key(place);
        self.make_room(key);
        let seen = self.seen.entry(key).or_insert_with(|| Seen::new(false, now));
        seen.last = now;
        seen
    }

    /// A request that left at `sent_at` was taken. True if there is nothing more to be learnt of its like.
    pub(super) fn accepted(&mut self, place: RequestPath<'_>, sent_at: Option<Instant>, now: Instant) -> bool {
        let mut settled = true;
        self.each(place, now, |seen| {
            seen.accepted = true;
            // What was sent before the refusal was taken before it, perhaps; so it says nothing about the token's life.
            if sent_at.is_some_and(|sent| seen.refusing_since.is_none_or(|(_, since)| sent >= since)) {
                seen.refusing_since = None;
                seen.hold_until = None;
            } else {
                settled = false;
            }
        });
        let itself = self.itself(place, now);
        itself.in_vain = 0;
        settled
    }

    /// The token that is in use was refused. What another one met tells nothing about it.
    pub(super) fn refusing(&mut self, generation: u64, place: RequestPath<'_>, now: Instant) {
        let known = |since: &Option<(u64, Instant)>| since.is_some_and(|(of, _)| of == generation);
        let stale = !known(&self.whole.refusing_since);
        self.each(place, now, |seen| {
            if !known(&seen.refusing_since) {
                seen.refusing_since = Some((generation, now));
            }
        });
        if stale {
            for seen in self.seen.values_mut().filter(|seen| !known(&seen.refusing_since)) {
                seen.refusing_since = None;
            }
        }
    }

    /// There was no token, so that nothing was tried.
    pub(super) fn end_holds(&mut self, place: RequestPath<'_>, now: Instant) {
        self.each(place, now, |seen| seen.hold_until = None);
    }

    /// A token that was new was refused.
    pub(super) fn refused(&mut self, place: RequestPath<'_>, now: Instant) {
        self.each(place, now, |seen| seen.refused = Some(now));
    }

    /// The token was dead after all: what was refused there before tells nothing.
    pub(super) fn cured(&mut self, place: RequestPath<'_>, now: Instant) {
        self.each(place, now, |seen| {
            seen.refused = None;
            (seen.hold_until, seen.hold) = (None, Duration::ZERO);
        });
    }

    fn each(&mut self, place: RequestPath<'_>, now: Instant, mut change: impl FnMut(&mut Seen)) {
        change(&mut self.whole);
        let itself = self.itself_key(place);
        for key in place.levels().map(|level| self.key(level)).collect::<Vec<_>>().into_iter().chain([itself]) {
            self.make_room(key);
            let seen = self.seen.entry(key).or_insert_with(|| Seen::new(false, now));
            seen.last = now;
            change(seen);
        }
    }

    fn make_room(&mut self, key: u64) {
        if self.seen.len() < self.most || self.seen.contains_key(&key) {
            return;
        }
        let mut times: Vec<Instant> = self.seen.values().map(|seen| seen.last).collect();
        let half = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(half);
        let middle = *middle;
        self.seen.retain(|_, seen| seen.last > middle);
    }

    /// A level is not the place of the same name: `/items` is not all that lies under it.
    fn key(&self, level: (Option<&str>, &str)) -> u64 {
        self.hasher.hash_one((false, level))
    }

    fn itself_key(&self, place: RequestPath<'_>) -> u64 {
        self.hasher.hash_one((true, (place.host, place.path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_PLACES: usize = 64;

    fn at(path: &str) -> RequestPath<'_> {
        RequestPath { host: None, path }
    }

    fn nearest(places: &Places, place: RequestPath<'_>, now: Instant) -> (History, bool) {
        let found = places.nearest(place, now);
        (found.history, found.itself)
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_without_a_history_has_that_of_what_it_lies_under() {
        let now = Instant::now();
        let mut places = Places::new(false, MAX_PLACES, now);
        assert_eq!(nearest(&places, at("/items/1"), now), (History::Unknown, false));
        places.accepted(at("/items/1"), None, now);
        places.refused(at("/bad/1"), now);
        assert_eq!(nearest(&places, at("/items/2"), now), (History::Good, false));
        assert_eq!(nearest(&places, at("/items/1"), now), (History::Good, true));
        assert_eq!(nearest(&places, at("/bad/2"), now), (History::Bad, false));
        assert_eq!(nearest(&places, at("/bad"), now), (History::Mixed, false), "it is not what lies under it");
        assert_eq!(nearest(&places, at("/other"), now), (History::Mixed, false));
        assert_eq!(nearest(&places, at("/items/1"), now + MEMORY), (History::Good, true));
        assert_eq!(nearest(&places, at("/other"), now + MEMORY), (History::Good, false));
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_of_one_upstream_are_told_apart() {
        let now = Instant::now();
        let mut places = Places::new(false, MAX_PLACES, now);
        places.refused(RequestPath { host: Some("a.test"), path: "/x" }, now);
        places.accepted(RequestPath { host: Some("b.test"), path: "/x" }, None, now);
        assert_eq!(nearest(&places, RequestPath { host: Some("a.test"), path: "/y" }, now), (History::Bad, false));
        assert_eq!(nearest(&places, RequestPath { host: Some("b.test"), path: "/y" }, now), (History::Good, false));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_and_those_in_use_stay() {
        let began = Instant::now();
        let mut places = Places::new(false, MAX_PLACES, began);
        for number in 0..10_000 {
            let now = began + Duration::from_millis(number);
            places.accepted(at(&format!("/items/{number}/x/y")), None, now);
            assert!(places.seen.len() <= MAX_PLACES);
        }
        let now = began + Duration::from_secs(10);
        assert_eq!(nearest(&places, at("/items/new"), now), (History::Good, false));
    }
}
