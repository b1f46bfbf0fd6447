//! One identity's entry in the store, as this replica knows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::keys::CacheKeys;
use super::names::{SharedIdentity, Tag};
use super::seal::OpenError;
use super::value::Newest;
use crate::token::{Task, TokenCache, lock};

/// After waiting in vain, this replica asks for itself for so long: at first, and at most.
const ALONE: Duration = Duration::from_secs(30);
pub(super) const LONGEST_ALONE: Duration = Duration::from_secs(600);

/// So many are remembered of what is done in the background; the one before these has long ended, for each has its time limit.
const UNDER_WAY: usize = 4;

/// An entry, for as long as the replica's connection and its keys are the same.
pub(super) struct Entry {
    pub(super) tag: Tag,
    /// The same identity under the other keys.
    pub(super) under_other_keys: Vec<Tag>,
    /// This replica's name on leases: two caches of one replica are two.
    pub(super) owner: String,
    /// Counts what was said of it on the channel.
    pub(super) news: watch::Sender<u64>,
    /// Where its tokens are.
    pub(super) cache: Weak<TokenCache>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: Option<Newest>,
    alone_until: Option<Instant>,
    gave_up: u32,
    /// A look for what others have put is due.
    looks: bool,
    /// What has been said to people once.
    told: Vec<OpenError>,
    /// What is being said to the store; the newest last.
    under_way: VecDeque<Task>,
}

impl Entry {
    pub(super) fn new(
        keys: &CacheKeys,
        prefix: &str,
        identity: &SharedIdentity,
        owner: String,
        cache: Weak<TokenCache>,
    ) -> Arc<Self> {
        let under_other_keys = keys.all().skip(1).map(|key| Tag::new(key, prefix, identity)).collect();
        let (tag, news) = (Tag::new(keys.first(), prefix, identity), watch::Sender::new(0));
        Arc::new(Self { tag, under_other_keys, owner, news, cache, state: Mutex::default() })
    }

    /// The number of the newest token; 0 for none. It falls where numbers have begun again.
    pub(super) fn known(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.generation)
    }

    pub(super) fn newest(&self) -> Option<Newest> {
        lock(&self.state).newest
    }

    /// This is the newest token now; the store works.
    pub(super) fn note(&self, newest: Newest) {
        let mut state = lock(&self.state);
        state.newest = Some(newest);
        (state.alone_until, state.gave_up) = (None, 0);
    }

    /// Waited for long enough, in vain: a store that is broken or hostile costs that once.
    pub(super) fn give_up(&self, now: Instant) {
        let mut state = lock(&self.state);
        let length = ALONE.saturating_mul(1 << state.gave_up.min(8)).min(LONGEST_ALONE);
        state.gave_up += 1;
        state.alone_until = Some(now + length);
    }

    /// Its tokens cannot be shared as they are.
    pub(super) fn stay_alone(&self, now: Instant, length: Duration) {
        lock(&self.state).alone_until = Some(now + length.min(LONGEST_ALONE));
    }

    pub(super) fn is_alone(&self, now: Instant) -> bool {
        lock(&self.state).alone_until.is_some_and(|until| now < until)
    }

    /// True if no look is due already. Anybody who may write into the store may send messages.
    pub(super) fn begins_to_look(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).looks, true)
    }

    pub(super) fn has_looked(&self) {
        lock(&self.state).looks = false;
    }

    /// True the first time.
    pub(super) fn tells(&self, error: OpenError) -> bool {
        let mut state = lock(&self.state);
        let is_new = !state.told.contains(&error) && state.told.len() < 16;
        if is_new {
            state.told.push(error);
        }
        is_new
    }

    /// Owns what is being said to the store in the background: it ends by itself, or with the entry.
    pub(super) fn own(&self, task: Task) {
        let mut state = lock(&self.state);
        while state.under_way.len() >= UNDER_WAY {
            state.under_way.pop_front();
        }
        state.under_way.push_back(task);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for task in &lock(&self.state).under_way {
            task.abort();
        }
    }
}
