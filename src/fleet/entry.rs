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

/// So many things may be under way in the background; the oldest is stopped for another one. What a newer one does makes up for it.
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

/// A look that is due, for as long as this is there.
pub(super) struct Looking(Weak<Entry>);

#[derive(Default)]
struct State {
    newest: Option<Newest>,
    alone_until: Option<Instant>,
    gave_up: u32,
    /// A look for what others have put is due.
    looks: bool,
    /// What has been said to people once.
    told: Vec<OpenError>,
    /// What is done in the background; the newest last.
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

    /// `None` if a look is due already. Anybody who may write into the store may send messages.
    pub(super) fn begin_to_look(self: &Arc<Self>) -> Option<Looking> {
        let begins = !std::mem::replace(&mut lock(&self.state).looks, true);
        begins.then(|| Looking(Arc::downgrade(self)))
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

    /// Owns what is done in the background: it ends by itself, with the entry, or when there is too much of it.
    pub(super) fn own(&self, task: Task) {
        let oldest = {
            let mut state = lock(&self.state);
            state.under_way.retain(|known| !known.has_ended());
            state.under_way.push_back(task);
            if state.under_way.len() > UNDER_WAY { state.under_way.pop_front() } else { None }
        };
        // What it holds may want the lock as it ends.
        if let Some(oldest) = oldest {
            oldest.abort();
        }
    }
}

impl Looking {
    /// The look is taken now; `None` if there is no entry any more.
    pub(super) fn taken(self) -> Option<Arc<Entry>> {
        self.0.upgrade()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(entry) = self.0.upgrade() {
            lock(&entry.state).looks = false;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for task in &lock(&self.state).under_way {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Secret, SecretSource, Secrets};
    use crate::token::Control;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_stopped_oldest_first_and_what_has_ended_does_not_count() {
        let key = Secret::new("the key of a fleet that is tested".to_owned());
        let keys = CacheKeys::read(&Secrets::one(SecretSource::Literal(key))).unwrap();
        let identity = SharedIdentity::new(&[0; 32], [], false);
        let entry = Entry::new(&keys, "tests", &identity, "a~0".to_owned(), Weak::new());
        let control = Control::from(tokio::runtime::Handle::current());
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let looking = entry.begin_to_look().unwrap();
        assert!(entry.begin_to_look().is_none(), "one is due");
        entry.own(control.spawn(async move {
            std::future::pending::<()>().await;
            drop(looking);
        }));
        for _ in 0..2 * UNDER_WAY {
            entry.own(control.spawn(async {}));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(alive(), 1);
        assert!(entry.begin_to_look().is_none(), "it is still due");
        for _ in 0..UNDER_WAY {
            entry.own(control.spawn(std::future::pending()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(alive(), UNDER_WAY);
        assert!(entry.begin_to_look().is_some(), "what was stopped is not due any more");
        drop(entry);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(alive(), 0);
    }
}
