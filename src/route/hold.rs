//! What bounds the token requests that one upstream can cause by answering 401, per credential and upstream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// While a hold lasts, a 401 goes back at once. It begins when a token that was itself obtained because of a 401 is refused
/// as well, and doubles while that goes on; a token that the upstream accepts ends the series.
#[derive(Debug, Default)]
pub struct Hold {
    /// There has been a 401 since a token was last accepted: acceptance ends the doubling then.
    watching: AtomicBool,
    /// The newest token that the upstream has accepted. Noted once for each token, so that the usual request only reads;
    /// and always, so that a token which this upstream took for hours is known to have been good when it is revoked.
    accepted: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    length: Duration,
    /// The token this hold began with: once it is over, that token is replaced like any other.
    held: u64,
}

impl Hold {
    /// True if a 401 about this token is passed back without asking for another one.
    #[must_use]
    pub fn forbids_renewal(&self, generation: u64, after_unauthorized: bool) -> bool {
        self.watching.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        let now = Instant::now();
        if state.until.is_some_and(|until| now < until) {
            return true;
        }
        // Older ones than the accepted one count as known too: their refusal comes late.
        let known = generation <= self.accepted.load(Ordering::Relaxed) || generation == state.held;
        let fresh = after_unauthorized && !known;
        if fresh {
            state.begin(generation, now);
        }
        fresh
    }

    /// The replay was refused as well.
    pub fn refused_again(&self, generation: u64, after_unauthorized: bool) {
        if after_unauthorized {
            let mut state = self.lock();
            let now = Instant::now();
            // Of many replays at one time only the first begins the hold.
            if state.until.is_none_or(|until| now >= until) || state.held != generation {
                state.begin(generation, now);
            }
        }
    }

    /// The upstream took this token. That ends the doubling, but not a hold that runs: an upstream that refuses some
    /// requests and takes others would otherwise cost a token request for each refusal.
    pub fn accepted(&self, generation: u64) {
        if self.accepted.load(Ordering::Relaxed) < generation {
            // The newest one stays: an answer to an older token may come late.
            self.accepted.fetch_max(generation, Ordering::Relaxed);
        }
        if self.watching.load(Ordering::Relaxed) {
            self.watching.store(false, Ordering::Relaxed);
            self.lock().length = Duration::ZERO;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, generation: u64, now: Instant) {
        self.length = if self.length.is_zero() { FIRST } else { (self.length * 2).min(LONGEST) };
        self.until = Some(now + self.length);
        self.held = generation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_first_token_may_always_be_replaced() {
        let hold = Hold::default();
        assert!(!hold.forbids_renewal(1, false));
        assert!(!hold.forbids_renewal(2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replacement_that_is_refused_holds_for_thirty_seconds_and_then_twice_as_long() {
        let hold = Hold::default();
        assert!(!hold.forbids_renewal(1, false));
        hold.refused_again(2, true);
        advance(Duration::from_secs(29)).await;
        assert!(hold.forbids_renewal(2, true));
        advance(Duration::from_secs(2)).await;
        assert!(!hold.forbids_renewal(2, true), "after the hold the token is replaced");
        hold.refused_again(3, true);
        advance(Duration::from_secs(59)).await;
        assert!(hold.forbids_renewal(3, true));
        advance(Duration::from_secs(2)).await;
        assert!(!hold.forbids_renewal(3, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replacement_that_worked_and_is_revoked_later_is_replaced_at_once() {
        let hold = Hold::default();
        assert!(!hold.forbids_renewal(1, false));
        hold.accepted(2);
        assert!(!hold.forbids_renewal(2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_acceptance_of_an_older_token_does_not_hide_that_of_the_newer_one() {
        let hold = Hold::default();
        assert!(!hold.forbids_renewal(1, false));
        hold.accepted(1);
        hold.accepted(2);
        hold.accepted(1);
        assert!(!hold.forbids_renewal(2, true), "token 2 was good until it was revoked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replacement_obtained_for_another_upstream_that_worked_here_is_replaced_at_once_when_revoked() {
        let hold = Hold::default();
        hold.accepted(1);
        hold.accepted(2);
        assert!(!hold.forbids_renewal(2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn acceptance_between_refusals_does_not_end_a_hold() {
        let hold = Hold::default();
        assert!(!hold.forbids_renewal(1, false));
        hold.refused_again(2, true);
        hold.accepted(2);
        assert!(hold.forbids_renewal(2, true));
        advance(Duration::from_secs(31)).await;
        assert!(!hold.forbids_renewal(2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replacement_obtained_elsewhere_and_refused_here_starts_a_hold_without_a_token_request() {
        let hold = Hold::default();
        assert!(hold.forbids_renewal(5, true));
        advance(Duration::from_secs(31)).await;
        assert!(!hold.forbids_renewal(5, true));
    }
}
