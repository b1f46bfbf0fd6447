//! The rule: what a refusal means, by what this upstream has done before.

use std::time::Duration;

use tokio::time::Instant;

use super::pace::UpstreamPace;
use super::places::{History, MEMORY, Places};
use super::{Decision, Evidence, Place, Standing};

/// Where refusals have two explanations, the token counts as dead once nothing has been taken for so long.
const STARVED: Duration = Duration::from_secs(1);

/// A renewal on weak evidence is not repeated for so long, and then twice as long, until something is accepted.
const FIRST_HOLD: Duration = Duration::from_secs(30);
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// After so many requests that were sent again with their token and refused again, no more are.
const MOST_IN_VAIN: u32 = 8;

/// What is remembered from the first refusal on.
#[derive(Debug)]
pub(super) struct Record {
    places: Places,
    /// The first refusal since a request that was sent after it was accepted.
    refusing_since: Option<Instant>,
    hold: Hold,
    /// A request was refused and then taken with the same token: some servers of this upstream are bad.
    inconsistent: Option<Instant>,
    in_vain: u32,
    pace: UpstreamPace,
    last_refusal: Instant,
}

#[derive(Debug, Default)]
struct Hold {
    until: Option<Instant>,
    length: Duration,
}

impl Record {
    pub(super) fn new(has_accepted: bool, now: Instant) -> Self {
        Self {
            places: Places::new(has_accepted, now),
            refusing_since: None,
            hold: Hold::default(),
            inconsistent: None,
            in_vain: 0,
            pace: UpstreamPace::default(),
            last_refusal: now,
        }
    }

    /// True if all that is remembered is too old to matter.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_refusal) > MEMORY
    }

    pub(super) fn accepted(&mut self, sent_at: Option<Instant>, place: Place<'_>, now: Instant) {
        self.places.accepted(place, now);
        // What was sent before the refusal was taken before it, perhaps; so it says nothing about the token's life.
        if sent_at.is_some_and(|sent| self.refusing_since.is_some_and(|since| sent >= since)) {
            self.refusing_since = None;
            self.hold.until = None;
        }
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.last_refusal = now;
        self.refusing_since.get_or_insert(now);
    }

    pub(super) fn decide(&mut self, place: Place<'_>, standing: Standing, now: Instant) -> Decision {
        let (history, itself) = self.places.nearest(place, now);
        let inconsistent = self.is_inconsistent(now);
        let evidence = match history {
            History::Good if !inconsistent && !standing.fresh => Some(Evidence::Strong),
            History::Unknown if !standing.fresh => self.unless_held(now),
            // Nothing is known against this very place: what was refused elsewhere does not hold it up.
            History::Good if self.is_starved(now) => Some(Evidence::Weak),
            History::Mixed if !itself && self.is_starved(now) => Some(Evidence::Weak),
            _ if self.is_starved(now) => self.unless_held(now),
            _ => None,
        };
        let has_room = |evidence: &Evidence| match evidence {
            Evidence::Strong => standing.room.strong,
            Evidence::Weak => standing.room.weak,
        };
        if let Some(evidence) = evidence.filter(has_room).filter(|_| self.pace.has_room(now)) {
            self.pace.note(now);
            if evidence == Evidence::Weak {
                self.hold.begin(now);
            }
            return Decision::Renew(evidence);
        }
        let another_server_may_take_it = match history {
            History::Bad | History::Unknown => false,
            History::Mixed => itself || inconsistent,
            History::Good => inconsistent || evidence.is_some(),
        };
        if another_server_may_take_it && self.in_vain < MOST_IN_VAIN { Decision::SendAgain } else { Decision::GiveBack }
    }

    pub(super) fn sent_again(&mut self, decided: Option<Decision>, accepted: bool, place: Place<'_>, now: Instant) {
        if accepted {
            self.refusing_since = None;
            self.in_vain = 0;
            self.places.accepted(place, now);
        }
        match (decided, accepted) {
            (Some(Decision::SendAgain), true) => self.inconsistent = Some(now),
            (Some(Decision::SendAgain), false) => self.in_vain += 1,
            (Some(Decision::Renew(Evidence::Weak)), true) => {
                self.hold = Hold::default();
                self.places.cured(place, now);
            }
            // The token that was obtained for this is refused as well.
            (Some(Decision::Renew(_)), false) => self.places.refused(place, now),
            // A newer one was there, of which nothing is known: it may have died since.
            _ => {}
        }
    }

    /// What was decided came to nothing: there was no token to be had, and nothing was learnt of the upstream.
    pub(super) fn failed(&mut self, decided: Decision) {
        if decided == Decision::Renew(Evidence::Weak) {
            self.hold.until = None;
        }
    }

    fn unless_held(&self, now: Instant) -> Option<Evidence> {
        self.hold.until.is_none_or(|until| now >= until).then_some(Evidence::Weak)
    }

    fn is_starved(&self, now: Instant) -> bool {
        self.refusing_since.is_some_and(|since| now.saturating_duration_since(since) >= STARVED)
    }

    fn is_inconsistent(&self, now: Instant) -> bool {
        self.inconsistent.is_some_and(|at| now.saturating_duration_since(at) < MEMORY)
    }
}

impl Hold {
    fn begin(&mut self, now: Instant) {
        self.length = if self.length.is_zero() { FIRST_HOLD } else { (self.length * 2).min(LONGEST_HOLD) };
        self.until = Some(now + self.length);
    }
}
