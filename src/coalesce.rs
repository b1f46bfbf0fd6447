//! Work that many ask for at the same time, done once for all who asked before it began.
//!
//! Who asks while it is being done gets the next result, so none is older than the question. It runs on a blocking thread:
//! those who ask may share theirs with something that must not wait.

use crate::sync::lock;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

/// How many may wait at a time.
const MAX_WAITERS: usize = 1024;

/// One kind of work.
pub(crate) struct Coalescer<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    running: bool,
    waiting: Vec<oneshot::Sender<T>>,
}

impl<T> Default for Coalescer<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { running: false, waiting: Vec::new() })))
    }
}

impl<T> fmt::Debug for Coalescer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + 'static> Coalescer<T> {
    /// What the work comes to. `None` if too many ask at the moment, or it could not be done. Dropping this future takes the
    /// result from nobody else.
    pub(crate) async fn get(&self, work: impl Fn() -> T + Send + 'static) -> Option<T> {
        let (send, got) = oneshot::channel();
        let begins = {
            let mut state = lock(&self.0);
            if state.waiting.len() >= MAX_WAITERS {
                return None;
            }
            state.waiting.push(send);
            !std::mem::replace(&mut state.running, true)
        };
        if begins {
            let running = Running { state: Arc::clone(&self.0), serving: Vec::new(), ended: false };
            // It ends when nobody waits any more.
            drop(tokio::task::spawn_blocking(move || running.serve(&work)));
        }
        got.await.ok()
    }
}

/// Does the work. Dropped in the middle (a panic, a runtime that ends), it leaves the work to the next who asks.
struct Running<T> {
    state: Arc<Mutex<State<T>>>,
    /// Those who get the next result. They hear of a failure only when the state is that nobody is at work.
    serving: Vec<oneshot::Sender<T>>,
    ended: bool,
}

impl<T: Clone> Running<T> {
    fn serve(mut self, work: &impl Fn() -> T) {
        loop {
            {
                let mut state = lock(&self.state);
                if state.waiting.is_empty() {
                    (state.running, self.ended) = (false, true);
                    return;
                }
                self.serving = std::mem::take(&mut state.waiting);
            }
            let result = work();
            for one in self.serving.drain(..) {
                // It may have gone.
                let _unheard = one.send(result.clone());
            }
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if !self.ended {
            let mut state = lock(&self.state);
            state.running = false;
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_before_it_begins_get_one_result_and_nobody_an_older_one() {
        let coalescer = Coalescer::default();
        let done = Arc::new(AtomicUsize::new(0));
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let work = {
            let done = Arc::clone(&done);
            move || {
                lock(&gate).recv().unwrap();
                done.fetch_add(1, Ordering::SeqCst)
            }
        };
        let first = coalescer.get(work.clone());
        let mut first = std::pin::pin!(first);
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        // It has begun once it has taken those who wait.
        while !lock(&coalescer.0).waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut later = std::pin::pin!(join_all((0..20).map(|_| coalescer.get(work.clone()))));
        assert!(futures_util::poll!(later.as_mut()).is_pending(), "all have asked");
        open.send(()).unwrap();
        assert_eq!(first.await, Some(0));
        open.send(()).unwrap();
        assert_eq!(later.await, [Some(1); 20]);
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_is_nobodys_result_and_the_next_who_asks_begins_anew() {
        let coalescer = Coalescer::default();
        assert_eq!(coalescer.get(|| -> u8 { panic!("scripted") }).await, None);
        assert_eq!(coalescer.get(|| 7).await, Some(7));
    }
}
