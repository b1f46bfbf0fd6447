//! The rule: what a refusal means, by what this upstream has done before.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::decision::{Answer, Decision, RefusedToken};
use super::evidence::Evidence;
use super::pace::UpstreamPace;
use super::places::{History, MEMORY, Places, RequestPath};

/// After so many requests to a place that were sent again with their token and refused again, no more are.
const MAX_IN_VAIN: u32 = 8;

/// So many renewals in a minute may remain unproven, because the request could not be sent again; after that only places that
/// have taken tokens themselves count.
const UNPROVEN: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

/// What is remembered from the first refusal on.
#[derive(Debug)]
pub(super) struct Record {
    places: Places,
    /// Renewals of which nothing has come yet.
    unproven: VecDeque<Instant>,
    pace: UpstreamPace,
    last_refusal: Instant,
}

impl Record {
    pub(super) fn new(has_accepted: bool, most_places: usize, now: Instant) -> Self {
        Self {
            places: Places::new(has_accepted, most_places, now),
            unproven: VecDeque::new(),
            pace: UpstreamPace::default(),
            last_refusal: now,
        }
    }

    /// True if all that is remembered is too old to matter.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_refusal) > MEMORY
    }

    /// True if there is nothing more to be learnt of requests like this one; and on what evidence a renewal was made that has
    /// helped.
    pub(super) fn accepted(
        &mut self,
        sent_at: Option<Instant>,
        place: RequestPath<'_>,
        now: Instant,
    ) -> (bool, Option<Evidence>) {
        let proved = self.places.itself(place, now).unproven.take();
        if let Some(evidence) = proved {
            self.unproven.pop_front();
            if evidence.is_weak() {
                self.places.cured(place, now);
            }
        }
        (self.places.accepted(place, sent_at, now), proved)
    }

    /// The token that is in use was refused, and no other is on its way.
    pub(super) fn decide(&mut self, place: RequestPath<'_>, refused: RefusedToken, now: Instant) -> Decision {
        self.last_refusal = now;
        if self.places.itself(place, now).unproven.take().is_some() {
            // It was renewed because of this place, and is refused here again.
            self.places.refused(place, now);
        }
        self.places.refusing(refused.generation, place, now);
        let evidence = self.evidence(place, refused, now);
        if let Some(evidence) = evidence.filter(|evidence| refused.allowance.is_for(*evidence))
            && self.pace.has_room(now)
        {
            self.begin(evidence, place, now);
            return Decision::Renew(evidence);
        }
        if self.another_server_may_take_it(evidence, place, now) { Decision::SendAgain } else { Decision::GiveBack }
    }

    fn evidence(&mut self, place: RequestPath<'_>, refused: RefusedToken, now: Instant) -> Option<Evidence> {
        let found = self.places.nearest(place, now);
        let sure = !refused.fresh && !self.is_inconsistent(place, now);
        let itself = *self.places.itself(place, now);
        let level = *self.places.level(&found);
        let whole = self.places.whole();
        let starved = self.places.is_starved(place, now);
        // What never took a token is left alone as long as anything does.
        let silent = whole.is_starved(now) && level.is_starved(now) && !level.is_held(now) && !itself.is_held(now);
        match found.history {
            History::Good if sure && found.itself => Some(Evidence::Strong),
            History::Good if sure && self.unproven_lately(now) < UNPROVEN => Some(Evidence::Inherited),
            History::Mixed if starved && found.is_whole() => Some(Evidence::Slight),
            History::Good | History::Mixed if starved => Some(Evidence::Doubtful),
            History::Unknown if !refused.fresh && !level.is_held(now) => Some(Evidence::Slight),
            History::Unknown | History::Bad if silent => Some(Evidence::Slight),
            _ => None,
        }
    }

    fn begin(&mut self, evidence: Evidence, place: RequestPath<'_>, now: Instant) {
        self.pace.note(now);
        self.unproven.push_back(now);
        self.places.itself(place, now).unproven = Some(evidence);
        if evidence.is_weak() {
            self.places.begin_holds(place, now);
        }
    }

    fn another_server_may_take_it(&mut self, evidence: Option<Evidence>, place: RequestPath<'_>, now: Instant) -> bool {
        let inconsistent = self.is_inconsistent(place, now);
        let found = self.places.nearest(place, now);
        let possible = match found.history {
            History::Bad | History::Unknown => false,
            History::Mixed => found.itself || inconsistent,
            History::Good => inconsistent || evidence.is_some(),
        };
        possible && self.places.itself(place, now).in_vain < MAX_IN_VAIN
    }

    pub(super) fn sent_again(
        &mut self,
        decided: Option<Decision>,
        answer: Answer,
        generation: u64,
        place: RequestPath<'_>,
        now: Instant,
    ) {
        if let Some(Decision::Renew(_)) = decided {
            self.places.itself(place, now).unproven = None;
            self.unproven.pop_back();
        }
        match (decided, answer) {
            (_, Answer::Neither) => {}
            (Some(Decision::SendAgain), Answer::Taken) => {
                self.places.itself(place, now).inconsistent = Some(now);
                self.places.accepted(place, Some(now), now);
            }
            (Some(Decision::SendAgain), Answer::Refused) => self.places.itself(place, now).in_vain += 1,
            (Some(Decision::Renew(evidence)), Answer::Taken) => {
                self.places.accepted(place, Some(now), now);
                if evidence.is_weak() {
                    self.places.cured(place, now);
                }
            }
            // The token that was obtained for this is refused as well.
            (Some(Decision::Renew(_)), Answer::Refused) => self.places.refused(place, now),
            (_, Answer::Taken) => {
                self.places.accepted(place, Some(now), now);
            }
            // A newer one was there, which may have died since: that is a first refusal, and no more.
            (_, Answer::Refused) => self.places.refusing(generation, place, now),
        }
    }

    /// What was decided came to nothing: there was no token, and nothing was learnt of the upstream.
    pub(super) fn failed(&mut self, decided: Decision, place: RequestPath<'_>, now: Instant) {
        let Decision::Renew(evidence) = decided else { return };
        self.unproven.pop_back();
        self.places.itself(place, now).unproven = None;
        if evidence.is_weak() {
            self.places.end_holds(place, now);
        }
    }

    fn unproven_lately(&mut self, now: Instant) -> usize {
        while self.unproven.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            self.unproven.pop_front();
        }
        self.unproven.len()
    }

    fn is_inconsistent(&mut self, place: RequestPath<'_>, now: Instant) -> bool {
        let since = self.places.itself(place, now).inconsistent;
        since.is_some_and(|at| now.saturating_duration_since(at) < MEMORY)
    }
}
