//! Where at an upstream tokens were taken and refused: by path, and by what the path lies under.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// Paths are remembered for so many places; those that were seen longest ago go first.
const MOST: usize = 512;

/// A refusal that a new token did not cure is remembered for so long.
pub(super) const MEMORY: Duration = Duration::from_secs(600);

/// Where at an upstream a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The host, where the upstream has several.
    pub host: Option<&'a str>,
    /// The path, without the query.
    pub path: &'a str,
}

impl<'a> Place<'a> {
    /// What it lies under, from broad to narrow, ending with itself: the host, one segment, two segments, the whole path.
    fn levels(self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> {
        let host = self.host.map(|host| (Some(host), ""));
        let ends = self.path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at).take(2);
        let segments = ends.map(move |end| (self.host, &self.path[..end]));
        host.into_iter().chain(segments).chain([(self.host, self.path)])
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

#[derive(Debug, Clone, Copy)]
struct Seen {
    accepted: bool,
    /// A token that was new was refused.
    refused: Option<Instant>,
    last: Instant,
}

impl Seen {
    const fn nothing(now: Instant) -> Self {
        Self { accepted: false, refused: None, last: now }
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
}

/// What happened at each place, and at the upstream as a whole.
#[derive(Debug)]
pub(super) struct Places {
    whole: Seen,
    seen: HashMap<u64, Seen>,
    hasher: RandomState,
}

impl Places {
    pub(super) fn new(has_accepted: bool, now: Instant) -> Self {
        let whole = Seen { accepted: has_accepted, ..Seen::nothing(now) };
        Self { whole, seen: HashMap::new(), hasher: RandomState::new() }
    }

    /// The history of the narrowest place that has one; true if that is the place itself.
    pub(super) fn nearest(&self, place: Place<'_>, now: Instant) -> (History, bool) {
        let itself = self.key(place.host, place.path);
        let mut nearest = (self.whole.history(now), false);
        for (host, path) in place.levels() {
            let key = self.key(host, path);
            let history = self.seen.get(&key).map_or(History::Unknown, |seen| seen.history(now));
            if history != History::Unknown {
                nearest = (history, key == itself);
            }
        }
        nearest
    }

    pub(super) fn accepted(&mut self, place: Place<'_>, now: Instant) {
        self.each(place, now, |seen| seen.accepted = true);
    }

    /// A token that was new was refused there.
    pub(super) fn refused(&mut self, place: Place<'_>, now: Instant) {
        self.each(place, now, |seen| seen.refused = Some(now));
    }

    /// The token was dead after all: what was refused there before tells nothing.
    pub(super) fn cured(&mut self, place: Place<'_>, now: Instant) {
        self.each(place, now, |seen| seen.refused = None);
    }

    fn each(&mut self, place: Place<'_>, now: Instant, change: impl Fn(&mut Seen)) {
        change(&mut self.whole);
        for (host, path) in place.levels() {
            let key = self.key(host, path);
            self.make_room(key);
            let seen = self.seen.entry(key).or_insert_with(|| Seen::nothing(now));
            seen.last = now;
            change(seen);
        }
    }

    fn make_room(&mut self, key: u64) {
        if self.seen.len() < MOST || self.seen.contains_key(&key) {
            return;
        }
        let mut times: Vec<Instant> = self.seen.values().map(|seen| seen.last).collect();
        let (_, middle, _) = times.select_nth_unstable(MOST / 2);
        let middle = *middle;
        self.seen.retain(|_, seen| seen.last > middle);
    }

    fn key(&self, host: Option<&str>, path: &str) -> u64 {
        self.hasher.hash_one((host, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Place<'_> {
        Place { host: None, path }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_without_a_history_has_that_of_what_it_lies_under() {
        let now = Instant::now();
        let mut places = Places::new(false, now);
        assert_eq!(places.nearest(at("/items/1"), now), (History::Unknown, false));
        places.accepted(at("/items/1"), now);
        places.refused(at("/bad/1"), now);
        assert_eq!(places.nearest(at("/items/2"), now), (History::Good, false));
        assert_eq!(places.nearest(at("/items/1"), now), (History::Good, true));
        assert_eq!(places.nearest(at("/bad/2"), now), (History::Bad, false));
        assert_eq!(places.nearest(at("/other"), now), (History::Mixed, false));
        assert_eq!(places.nearest(at("/items/1"), now + MEMORY), (History::Good, true));
        assert_eq!(places.nearest(at("/other"), now + MEMORY), (History::Good, false));
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_of_one_upstream_are_told_apart() {
        let now = Instant::now();
        let mut places = Places::new(false, now);
        places.refused(Place { host: Some("a.test"), path: "/x" }, now);
        places.accepted(Place { host: Some("b.test"), path: "/x" }, now);
        assert_eq!(places.nearest(Place { host: Some("a.test"), path: "/y" }, now), (History::Bad, false));
        assert_eq!(places.nearest(Place { host: Some("b.test"), path: "/y" }, now), (History::Good, false));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_and_those_in_use_stay() {
        let began = Instant::now();
        let mut places = Places::new(false, began);
        for number in 0..10_000 {
            let now = began + Duration::from_millis(number);
            places.accepted(at(&format!("/items/{number}/x/y")), now);
            assert!(places.seen.len() <= MOST);
        }
        let now = began + Duration::from_secs(10);
        assert_eq!(places.nearest(at("/items/new"), now), (History::Good, false));
    }
}
