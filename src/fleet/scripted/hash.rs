//! What is known of one identity, and what the scripts make of it: line by line as `take.lua` and its neighbours, which are held
//! against it. Times are milliseconds.

use std::time::Duration;

use crate::fleet::names::{Mark, replica_of};
use crate::fleet::protocol::{Fail, FailAnswer, LARGEST, Lead, Lease, Put, PutAnswer, Reach, Stored, Take, Taken};
use crate::token::{Budget, Why};

/// An identity that nobody asks for is forgotten after this.
const FORGOTTEN_AFTER: u64 = 3_600_000;

/// At most so many renewals within so long.
const RENEWALS: [(usize, u64); 2] = [(6, 10_000), (30, 600_000)];

/// Of those for an upstream that has never taken a token: as many as one process allows itself, and room is left for the others.
const RENEWALS_OF_STRANGERS: [(usize, u64); 3] = [(2, 10_000), (4, 60_000), (20, 600_000)];

/// The hash of an identity.
#[derive(Debug, Default)]
pub(super) struct Hash {
    value: Option<Value>,
    fence: u64,
    lease: Option<Led>,
    failure: Option<Failure>,
    sent: Vec<Grain>,
    renewals: Vec<Renewal>,
    forgotten_at: Option<u64>,
}

#[derive(Debug)]
struct Value {
    generation: u64,
    sealed: Vec<u8>,
    mark: Mark,
    usable_until: u64,
    at: u64,
    streak: u32,
    accepted: bool,
}

#[derive(Debug)]
struct Led {
    by: String,
    since: u64,
    until: u64,
}

#[derive(Debug)]
struct Failure {
    sealed: Vec<u8>,
    fence: u64,
    by: String,
    until: u64,
    reach: Reach,
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy)]
struct Grain {
    at: u64,
    requests: u32,
}

#[derive(Debug, Clone, Copy)]
struct Renewal {
    at: u64,
    has_taken: bool,
}

impl Hash {
    /// By now it is as if it had never been.
    pub(super) fn is_forgotten(&self, now: u64) -> bool {
        self.forgotten_at.is_some_and(|at| at <= now)
    }

    /// A question that changes nothing is answered by a server that takes no writes, too.
    pub(super) fn take(&mut self, question: &Take, now: u64, may_write: bool) -> Option<Taken> {
        let apart = question.why == Why::Apart;
        let alone = apart || question.why == Why::Forced;
        if let Some(value) = self.value.as_ref().filter(|_| !alone)
            && value.usable_until > now
            && value.is_newer(question, now)
            && (question.held.as_ref() != Some(&value.mark) || value.was_put_again(question))
        {
            return Some(Taken::Value(value.stored(now)));
        }
        let longest = millis(question.lease_max);
        let led = self.lease.as_ref().filter(|led| led.since <= now && now < led.ends(longest));
        let by_other = led.filter(|led| led.by != question.owner);
        let renews = question.why == Why::Refused && led.is_none();
        let renewals = renews.then(|| self.renewals_at(now));
        let hold = renewals.as_ref().map_or(0, |renewals| self.hold(renewals, question, now));
        if hold > 0 {
            return Some(Taken::Hold(Duration::from_millis(hold)));
        }
        if let Some(failure) = self.failure.as_ref().filter(|_| !alone)
            && failure.reach != Reach::Confirmed
            && failure.until > now
        {
            let left = Duration::from_millis(failure.until - now);
            return Some(Taken::Failed { sealed: failure.sealed.clone(), fence: failure.fence, left });
        }
        if let Some(other) = by_other.filter(|_| !apart) {
            let left = Duration::from_millis(other.ends(longest) - now);
            return Some(Taken::Wait { left, since: Duration::from_millis(now - other.since) });
        }
        let used = match question.budget.map(|budget| self.spend(budget, now, may_write)) {
            Some(Err(left)) => return Some(Taken::Spent(Duration::from_millis(left))),
            Some(Ok(used)) => used,
            None => 0,
        };
        if apart && question.budget.is_none() {
            return Some(Taken::Lead(Lead { fence: 0, failures: self.failures(), took_over_from: None, used }));
        }
        may_write.then(|| Taken::Lead(self.lead(question, now, renewals, used)))
    }

    /// Those that count yet.
    fn renewals_at(&self, now: u64) -> Vec<Renewal> {
        let [_, (_, longest)] = RENEWALS;
        self.renewals.iter().copied().filter(|renewal| renewal.at <= now && now - renewal.at < longest).collect()
    }

    /// How long no renewal is due.
    fn hold(&self, renewals: &[Renewal], question: &Take, now: u64) -> u64 {
        let room = |(most, span): (usize, u64), of: &dyn Fn(&Renewal) -> bool| {
            let within = renewals.iter().filter(|renewal| now - renewal.at < span && of(renewal));
            let within: Vec<u64> = within.map(|renewal| renewal.at).collect();
            within.len().checked_sub(most).map_or(0, |first| within[first] + span - now)
        };
        let mut hold = self.value.as_ref().map_or(0, |value| value.hold(question, now));
        for bound in RENEWALS {
            hold = hold.max(room(bound, &|_| true));
        }
        if !question.has_taken {
            for bound in RENEWALS_OF_STRANGERS {
                hold = hold.max(room(bound, &|renewal| !renewal.has_taken));
            }
        }
        hold
    }

    /// How many are used with this one, or how long there is no room.
    fn spend(&mut self, budget: Budget, now: u64, may_write: bool) -> Result<u32, u64> {
        let width = millis(budget.per).div_ceil(16).max(1);
        let grain = now - now % width;
        let mut kept: Vec<Grain> =
            self.sent.iter().copied().filter(|sent| sent.at <= now && now < sent.at + 17 * width).collect();
        let used = kept.iter().fold(0_u32, |used, sent| used.saturating_add(sent.requests));
        if used >= budget.requests {
            let oldest = kept.iter().map(|sent| sent.at).min().unwrap_or(now);
            return Err(oldest + 17 * width - now);
        }
        if may_write {
            let requests = 1 + kept.iter().filter(|sent| sent.at == grain).map(|sent| sent.requests).sum::<u32>();
            kept.retain(|sent| sent.at != grain);
            kept.push(Grain { at: grain, requests });
            self.sent = kept;
        }
        Ok(used + 1)
    }

    fn lead(&mut self, question: &Take, now: u64, renewals: Option<Vec<Renewal>>, used: u32) -> Lead {
        let before = self.value.as_ref().map_or(0, |value| value.generation);
        let left = self.value.as_ref().map_or(0, |value| value.usable_until.saturating_sub(now));
        let window = question.budget.map_or(0, |budget| millis(budget.per));
        self.forgotten_at = Some(now + left.max(window).max(FORGOTTEN_AFTER));
        if let Some(renewals) = renewals {
            self.renewals = renewals;
            self.renewals.push(Renewal { at: now, has_taken: question.has_taken });
        }
        let failures = self.failures();
        if question.why == Why::Apart {
            return Lead { fence: 0, failures, took_over_from: None, used };
        }
        // After the largest number they begin again.
        let below = |number: u64| if number < LARGEST { number } else { 0 };
        self.fence = below(before).max(below(self.fence)).max(below(question.known)) + 1;
        let led = Led { by: question.owner.clone(), since: now, until: now + millis(question.lease) };
        let took_over_from = self.lease.replace(led).map(|led| led.by).filter(|by| *by != question.owner);
        Lead { fence: self.fence, failures, took_over_from, used }
    }

    fn failures(&self) -> u32 {
        self.failure.as_ref().map_or(0, |failure| failure.in_a_row)
    }

    /// What was put, and whether it is news.
    pub(super) fn put(&mut self, put: &Put, now: u64) -> (PutAnswer, bool) {
        if let Some(value) = &self.value {
            if value.generation == put.fence && value.mark == put.mark {
                return (PutAnswer::Put, false);
            }
            if put.fence <= value.generation && value.generation < LARGEST {
                return (PutAnswer::Older(value.stored(now)), false);
            }
        }
        let streak = self.value.as_ref().map_or(0, |value| if value.accepted { 0 } else { value.streak });
        self.value = Some(Value {
            generation: put.fence,
            sealed: put.sealed.clone(),
            mark: put.mark.clone(),
            usable_until: now + millis(put.usable),
            at: now,
            streak: streak + u32::from(put.after_unauthorized),
            accepted: false,
        });
        self.failure = None;
        if self.fence <= put.fence {
            self.fence = put.fence;
            self.lease = None;
        }
        self.forgotten_at = Some(now + millis(put.usable).max(millis(put.keep)));
        (PutAnswer::Put, true)
    }

    pub(super) fn fail(&mut self, fail: &Fail, now: u64) -> FailAnswer {
        if !self.is_led(&fail.owner, fail.fence) {
            return FailAnswer::Lost;
        }
        self.lease = None;
        let Some(failure) = &fail.failure else { return FailAnswer::Released };
        // That each asks for itself was no failure.
        let before = self.failure.take().filter(|before| before.reach != Reach::EachForItself);
        let confirmed = before
            .as_ref()
            .is_some_and(|before| before.reach == Reach::All || replica_of(&before.by) != replica_of(&fail.owner));
        let reach = if failure.reach == Reach::Confirmed && confirmed { Reach::All } else { failure.reach };
        let ended = reach == Reach::EachForItself;
        self.failure = Some(Failure {
            sealed: failure.sealed.clone(),
            fence: fail.fence,
            by: fail.owner.clone(),
            until: now + millis(failure.delay),
            reach,
            in_a_row: if ended { 0 } else { before.map_or(0, |before| before.in_a_row) + 1 },
        });
        if reach == Reach::Confirmed { FailAnswer::Noted } else { FailAnswer::Shared }
    }

    pub(super) fn keep(&mut self, lease: &Lease, now: u64) -> bool {
        let is_led = self.is_led(&lease.owner, lease.fence);
        if let Some(led) = self.lease.as_mut().filter(|_| is_led) {
            led.until = now + millis(lease.length);
        }
        is_led
    }

    pub(super) fn accepted(&mut self, generation: u64) -> bool {
        let value = self.value.as_mut().filter(|value| value.generation == generation);
        value.is_some_and(|value| {
            value.accepted = true;
            true
        })
    }

    pub(super) fn read(&self, now: u64) -> Option<Stored> {
        self.value.as_ref().filter(|value| value.usable_until > now).map(|value| value.stored(now))
    }

    fn is_led(&self, by: &str, fence: u64) -> bool {
        self.fence == fence && self.lease.as_ref().is_some_and(|led| led.by == by)
    }
}

impl Value {
    /// The younger token is the newer one: numbers begin again after the store has lost everything, and of two that are good who
    /// asks ahead takes what the others have.
    fn is_newer(&self, question: &Take, now: u64) -> bool {
        let Some(age) = question.age else { return true };
        self.was_put_again(question) || self.at.saturating_add(millis(age)) > now
    }

    /// The server has returned the token that it had: who asks ahead need not be told that by the server itself.
    const fn was_put_again(&self, question: &Take) -> bool {
        matches!(question.why, Why::Ahead) && question.known > 0 && self.generation > question.known
    }

    /// As long as others that were obtained because of a 401 were never taken.
    fn hold(&self, question: &Take, now: u64) -> u64 {
        let is_held = question.held.as_ref() == Some(&self.mark);
        if self.usable_until <= now || !is_held || self.streak == 0 || self.accepted {
            return 0;
        }
        let seconds = (30_u64 << (self.streak - 1).min(5)).min(600);
        (self.at.min(now) + seconds * 1000).saturating_sub(now)
    }

    fn stored(&self, now: u64) -> Stored {
        Stored {
            generation: self.generation,
            sealed: self.sealed.clone(),
            age: Duration::from_millis(now.saturating_sub(self.at)),
            left: Duration::from_millis(self.usable_until.saturating_sub(now)),
            renewals: self.streak,
        }
    }
}

impl Led {
    fn ends(&self, longest: u64) -> u64 {
        self.until.min(self.since + longest)
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
