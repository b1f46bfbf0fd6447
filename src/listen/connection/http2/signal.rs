//! Tells a part of a connection that has something to do from one that has not, and keeps what happens within one poll of the
//! connection from waking its task again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// A wake goes on to the task.
const RESTING: u8 = 0;
/// The task looks at it before it rests: a wake is noted.
const WATCHED: u8 = 1;
/// Woken, and not polled since.
const WOKEN: u8 = 2;

/// The waker of one part of a task.
#[derive(Debug)]
pub(super) struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Signal {
    /// Begins as woken: everything is polled once.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WOKEN), task: AtomicWaker::new() })
    }

    /// From here to [`Signal::rest`] the task watches it.
    pub(super) fn watch(&self, task: &Waker) {
        self.task.register(task);
        let _woken = self.state.compare_exchange(RESTING, WATCHED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// True if its part has been woken, which has to be polled now.
    pub(super) fn take(&self) -> bool {
        self.state.compare_exchange(WOKEN, WATCHED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Leaves the next wake to the task; false if there has been one already.
    pub(super) fn rest(&self) -> bool {
        self.state.compare_exchange(WATCHED, RESTING, Ordering::AcqRel, Ordering::Acquire) != Err(WOKEN)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == RESTING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often its task is woken.
    #[derive(Default)]
    struct Task(std::sync::atomic::AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_reaches_the_task_when_it_rests_and_is_noted_while_it_runs() {
        let (signal, task) = (Signal::new(), Arc::new(Task::default()));
        let (waker, woken) = (Waker::from(Arc::clone(&signal)), || task.0.load(Ordering::Relaxed));
        signal.watch(&Waker::from(Arc::clone(&task)));
        assert!(signal.take(), "polled once at the beginning");
        assert!(!signal.take());
        waker.wake_by_ref();
        assert!(!signal.rest(), "it must not rest with something to do");
        assert!(signal.take() && signal.rest());
        assert_eq!(woken(), 0);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        signal.watch(&Waker::from(Arc::clone(&task)));
        assert!(signal.take() && signal.rest());
        assert_eq!(woken(), 1);
    }
}
