//! Listens to what others have put. It makes things faster and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

use super::news::News;
use super::replica::Replica;
use crate::token::jitter;

/// Those who hold a token that an upstream refuses ask for the new one within a millisecond for each replica, at most this.
const LONGEST_APART: Duration = Duration::from_secs(1);

/// Runs until the store's end.
pub(crate) async fn listen(replica: Arc<Replica>, mut messages: Receiver<String>) {
    loop {
        match messages.recv().await {
            Ok(message) => {
                if let Some(news) = News::read(&message) {
                    tell(&replica, &news);
                }
            }
            // What was missed is found by asking.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell(replica: &Arc<Replica>, news: &News) {
    for entry in replica.entries_of(&news.tag) {
        entry.news.send_modify(|count| *count += 1);
        if news.generation <= entry.known() {
            continue;
        }
        let Some(cache) = entry.cache.upgrade() else { continue };
        let now = Instant::now();
        // Who could not get one may have this one.
        if (news.after_unauthorized || cache.has_failed())
            && !entry.is_alone(now)
            && let Some(looking) = entry.begin_to_look()
        {
            let apart = Duration::from_millis(replica.replicas().into()).min(LONGEST_APART);
            let at = now + apart.mul_f64(jitter());
            let generation = news.generation;
            // Who has it by then would ask for the one after it.
            let look = move || {
                if looking.taken().is_some_and(|entry| entry.known() < generation) {
                    cache.look_for_newer();
                }
            };
            entry.own(replica.control.spawn_at(at, look));
        }
    }
}
