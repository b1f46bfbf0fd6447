//! Threads for calls that block and that nobody can interrupt: looking up a name, reading a file that may lie on a network.
//!
//! Not tokio's blocking pool: there each kind of call would wait for the others, and a runtime that ends would wait for a
//! call that does not. A thread that hangs here is left behind with what it hangs in.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::sync::lock;

/// How long the one thread that waits for more work does so before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Name services and TLS stacks of plugins want more than a little, and none of them much.
const STACK: usize = 512 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Threads of one kind, as many as are needed and no more than a bound.
pub(crate) struct BlockingPool {
    name: &'static str,
    most: usize,
    /// No job runs under its lock.
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    running: usize,
    idle: usize,
}

impl BlockingPool {
    /// None yet; at most so many.
    #[must_use]
    pub(crate) fn new(name: &'static str, most: usize) -> Arc<Self> {
        Arc::new(Self { name, most, state: Mutex::default(), work: Condvar::new() })
    }

    /// Has a thread do this, as soon as one is free. Who asks bounds how much may be waiting.
    ///
    /// # Errors
    /// The system gives no thread, and there is none: nothing is done then.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() {
            self.work.notify_one();
            return Ok(());
        }
        if state.running < self.most {
            let threads = Arc::clone(self);
            let started = Builder::new().name(self.name.into()).stack_size(STACK).spawn(move || threads.work());
            match started {
                Ok(_detached) => state.running += 1,
                Err(error) if state.running == 0 => {
                    state.jobs.pop_back();
                    return Err(error);
                }
                // Those that there are come to it.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // A panic has been reported when it happened; the thread is as good as before.
            let _panicked = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// What is to be done next; `None` for a thread that has had nothing to do for long. One at a time waits, and others end at
    /// once: each keeps a stack, and what comes now and then would keep all of them, one after the other.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.idle > 0 {
                state.running -= 1;
                return None;
            }
            state.idle += 1;
            let (woken, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.running -= 1;
                return None;
            }
        }
    }
}

impl std::fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingPool").field("name", &self.name).field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn work_that_hangs_leaves_the_other_threads_to_the_others() {
        let threads = BlockingPool::new("test", 3);
        let (release, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..2 {
            let hangs = Arc::clone(&hangs);
            threads.run(move || assert!(hangs.lock().unwrap().recv().is_err())).unwrap();
        }
        let (send, done) = mpsc::channel();
        for number in 0..20 {
            let send = send.clone();
            threads.run(move || send.send(number).unwrap()).unwrap();
        }
        let found: Vec<i32> = (0..20).map(|_| done.recv_timeout(SOON).unwrap()).collect();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
        assert!(lock(&threads.state).running <= 3);
        drop(release);
    }

    #[test]
    fn of_those_that_have_nothing_more_to_do_one_waits() {
        let threads = BlockingPool::new("test", 8);
        let all_run = Arc::new(std::sync::Barrier::new(8));
        let (send, done) = mpsc::channel::<()>();
        for _ in 0..8 {
            let (all_run, send) = (Arc::clone(&all_run), send.clone());
            threads
                .run(move || {
                    all_run.wait();
                    drop(send);
                })
                .unwrap();
        }
        drop(send);
        assert!(done.recv_timeout(SOON).is_err());
        let began = std::time::Instant::now();
        let settled = |state: &State| (state.running, state.idle) == (1, 1);
        while !settled(&lock(&threads.state)) {
            assert!(began.elapsed() < SOON, "{threads:?}");
            std::thread::yield_now();
        }
        threads.run(|| ()).unwrap();
        assert_eq!(lock(&threads.state).running, 1);
    }

    #[test]
    fn there_are_never_more_than_the_bound_and_a_panic_costs_none() {
        let threads = BlockingPool::new("test", 2);
        let (send, done) = mpsc::channel();
        threads.run(|| panic!("as a job may")).unwrap();
        for _ in 0..50 {
            let send = send.clone();
            threads.run(move || send.send(()).unwrap()).unwrap();
        }
        for _ in 0..50 {
            done.recv_timeout(SOON).unwrap();
        }
        assert!(lock(&threads.state).running <= 2);
    }
}
