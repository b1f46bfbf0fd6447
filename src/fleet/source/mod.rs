//! A token source that asks the fleet first: the decorator between a token cache and its token requests.
//!
//! The store is asked only where a token request would be sent, and once: the answer says whether there is a token already, whether
//! another replica is asking, or whether this one is to ask (`lead`). Whatever is the matter with the store, the token is asked for
//! as it would be without one (`alone`).

mod adopt;
mod alone;
mod asking;
mod lead;
mod wait;

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::time::Instant;

use self::alone::nothing_newer;
pub(crate) use self::asking::SharedCredential;
use self::asking::{Asking, LEASE};
use self::wait::Waiting;
use super::entry::Entry;
use super::metrics::WaitOutcome;
use super::names::Mark;
use super::protocol::Taken;
use super::replica::{Replica, ReplicaHandle};
use super::value::NoToken;
use crate::store::StoreError;
use crate::token::{
    Ask, Clock, Control, FetchedToken, Fetching, Shared, Spent, TokenCache, TokenError, TokenMetrics, TokenRequests,
    TokenSource, Why, held, lock,
};

/// A lease is never longer than a token request may take, and a moment for what is around it.
const AROUND: Duration = Duration::from_secs(2);

/// What waiting for others may add to a token request of one's own: all of a longest lease is waited for, and after its leader's
/// silence this replica asks for itself.
pub(crate) const WAITING_FOR_OTHERS: Duration = AROUND.saturating_add(LEASE);

/// However often 401s have cost the fleet a token, another one may be obtained after so long.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Longer than a token is on its way into the store.
const PUTTING: Duration = Duration::from_secs(1);

struct FleetSource {
    replica: ReplicaHandle,
    credential: SharedCredential,
    requests: TokenRequests,
    clock: Clock,
    entry: Mutex<Option<(Weak<Replica>, Arc<Entry>)>>,
    cache: Arc<OnceLock<Weak<TokenCache>>>,
}

/// A cache whose tokens are those of the fleet, while the program is a replica of one. `source` sends the token requests.
#[must_use]
pub(crate) fn shared_cache(
    replica: ReplicaHandle,
    credential: SharedCredential,
    source: Box<dyn TokenSource>,
    clock: Clock,
    control: impl Into<Control>,
    metrics: TokenMetrics,
) -> Arc<TokenCache> {
    let (name, settings) = (credential.name.clone(), credential.settings.clone());
    let spent = Spent::default();
    let requests = TokenRequests::new(&name, source, settings.clone(), spent, clock.clone(), metrics.clone());
    let link = Arc::new(OnceLock::new());
    let (entry, cache) = (Mutex::default(), Arc::clone(&link));
    let source = FleetSource { replica, credential, requests, clock: clock.clone(), entry, cache };
    let cache = TokenCache::over(&name, Box::new(source), settings, clock, control, metrics);
    link.get_or_init(|| Arc::downgrade(&cache));
    cache
}

impl TokenSource for FleetSource {
    fn fetch(&self, ask: Ask) -> Fetching<'_> {
        Box::pin(async move {
            match self.replica.current() {
                Some(replica) => self.asking(replica, ask).token().await,
                None => self.requests.fetch(ask).await,
            }
        })
    }

    fn accepted(&self, token: &Shared) {
        let Some(replica) = self.replica.current().filter(|_| token.generation > 0) else { return };
        let (entry, generation) = (self.entry(&replica), token.generation);
        let of = Arc::clone(&entry);
        // Nobody waits for it, and if it gets lost the next renewal is held for a while. The token may not have been put yet.
        entry.own(replica.control.clone().spawn(async move {
            for _try in 0..2 {
                if matches!(replica.store.accepted(&of.tag, generation).await, Ok(true)) {
                    return;
                }
                replica.control.sleep(PUTTING).await;
            }
        }));
    }
}

impl FleetSource {
    fn asking(&self, replica: Arc<Replica>, ask: Ask) -> Asking<'_> {
        let entry = self.entry(&replica);
        let longest_lease = self.credential.timeout + AROUND;
        Asking {
            replica,
            entry,
            requests: &self.requests,
            credential: &self.credential,
            clock: &self.clock,
            longest_lease,
            ask,
        }
    }

    /// That of this replica; another one has another store, or other keys.
    fn entry(&self, replica: &Arc<Replica>) -> Arc<Entry> {
        let mut known = lock(&self.entry);
        if let Some((of, entry)) = known.as_ref()
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(replica))
        {
            return Arc::clone(entry);
        }
        let cache = self.cache.get().cloned().unwrap_or_default();
        let entry = replica.enter(&self.credential.identity, cache);
        *known = Some((Arc::downgrade(replica), Arc::clone(&entry)));
        entry
    }
}

impl Asking<'_> {
    /// Asks the store until it has said whose turn it is.
    async fn token(&self) -> Result<FetchedToken, TokenError> {
        if self.ask.why == Why::Apart && self.credential.settings.budget.is_none() {
            return self.requests.fetch(self.ask.clone()).await;
        }
        if self.entry.is_alone(self.clock.now().instant) {
            return self.alone().await;
        }
        if self.ask.why == Why::Look {
            return self.look().await;
        }
        self.replica.first_connection().await;
        let mut question = self.question();
        let mut waiting = Waiting::none(self);
        let (mut rejected_number, mut again_by_mark) = (None, false);
        loop {
            let asked_at = Instant::now();
            let taken = match self.replica.store.take(&self.entry.tag, &question).await {
                Ok(taken) => taken,
                Err(error) => {
                    waiting.ended(WaitOutcome::GaveUp);
                    return self.without_store(&error).await;
                }
            };
            match taken {
                Taken::Value(stored) => match self.adopt(&stored, asked_at) {
                    // Marked by another key, the server could not know it again.
                    Ok(token) if self.is_held(&token) && !again_by_mark => {
                        question.held = token.shared.map(|shared| Mark::from(shared.mark));
                        again_by_mark = true;
                    }
                    Ok(token) => {
                        waiting.ended(WaitOutcome::Adopted);
                        return Ok(token);
                    }
                    // What cannot be used is replaced. While another replica does that, it is still there.
                    Err(rejected) if question.why != Why::Forced => {
                        if rejected_number.replace(stored.generation) != Some(stored.generation) {
                            self.reject(rejected);
                        }
                        question.why = Why::Forced;
                    }
                    Err(rejected) => {
                        self.reject(rejected);
                        return self.alone().await;
                    }
                },
                Taken::Failed { sealed, fence, left } if question.why != Why::Forced => {
                    match self.told_failure(&sealed, fence, left) {
                        Ok(told) => {
                            waiting.ended(WaitOutcome::Failed);
                            return match told {
                                NoToken::Failed(error) => Err(error),
                                NoToken::NotShared => self.alone().await,
                            };
                        }
                        Err(rejected) => {
                            self.reject(rejected);
                            question.why = Why::Forced;
                        }
                    }
                }
                Taken::Hold(left) if question.why == Why::Refused => {
                    self.replica.metrics.held(&self.credential.name);
                    waiting.ended(WaitOutcome::Failed);
                    return Err(held(left.min(LONGEST_HOLD)));
                }
                Taken::Spent(left) if let Some(budget) = self.credential.settings.budget => {
                    waiting.ended(WaitOutcome::Failed);
                    return Err(self.requests.withheld(left.min(budget.per * 2)));
                }
                // No answer to this question.
                Taken::Failed { .. } | Taken::Hold(_) | Taken::Spent(_) => {
                    return self.without_store(&StoreError::Unexpected).await;
                }
                Taken::Wait { since, .. } => {
                    if !waiting.pause(since).await {
                        self.entry.give_up(self.clock.now().instant);
                        waiting.ended(WaitOutcome::GaveUp);
                        return self.alone().await;
                    }
                    // Whatever comes now is newer than what was there when it was asked for.
                    if question.why == Why::Forced {
                        question.why = Why::Cold;
                    }
                }
                Taken::Lead(lead) => {
                    waiting.ended(WaitOutcome::TookOver);
                    return self.lead(lead).await;
                }
            }
        }
    }

    /// What others have that is newer; nothing is asked for, and nobody led.
    async fn look(&self) -> Result<FetchedToken, TokenError> {
        let asked_at = Instant::now();
        let stored = match self.replica.store.read(&self.entry.tag).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Err(nothing_newer()),
            Err(error) => return self.without_store(&error).await,
        };
        let held = self.ask.held.as_ref();
        let is_held =
            held.and_then(|held| held.shared.as_ref()).is_some_and(|held| held.generation == stored.generation);
        let is_newer = held.is_none_or(|held| stored.age < held.age);
        if is_held || !is_newer {
            return Err(nothing_newer());
        }
        self.adopt(&stored, asked_at).map_err(|rejected| {
            self.reject(rejected);
            nothing_newer()
        })
    }

    /// The very token that is held, which came when `cache.key` was another one.
    fn is_held(&self, token: &FetchedToken) -> bool {
        let Some(held) = self.ask.held.as_ref().and_then(|held| held.shared.as_ref()) else { return false };
        self.replica.keys.all().skip(1).any(|key| Mark::new(key, &token.access_token).as_str() == &*held.mark)
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod one_token_tests;

#[cfg(test)]
mod refused_tests;

#[cfg(test)]
mod failure_tests;

#[cfg(test)]
mod away_tests;

#[cfg(test)]
mod replaced_tests;

#[cfg(test)]
mod rejected_tests;

#[cfg(test)]
mod life_tests;

#[cfg(test)]
mod simulation_tests;

#[cfg(test)]
mod interleaving_tests;
