//! Where the engine's tasks run and its timers tick.
//!
//! It needs four things of a runtime: to spawn, to sleep, to wait with a bound, and a lock. They are behind [`Control`],
//! so that the tests can put a model checker in its place: the very code that runs in production is then run under every
//! kind of interleaving ([`yield_point`] is where another thread may come between). In production it is the runtime, and no more.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

/// The control runtime.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    Runtime(Handle),
    /// A model checker's threads. They know no time: a moment is over at any time, and one that is far may come at any time,
    /// or never.
    #[cfg(test)]
    Model {
        far_moments_come: bool,
    },
}

/// A spawned task, to be stopped by its owner.
#[derive(Debug)]
pub(crate) enum Task {
    Runtime(tokio::task::AbortHandle),
    #[cfg(test)]
    Model(shuttle::future::AbortHandle),
}

/// The time is over.
#[derive(Debug)]
pub(crate) struct Elapsed;

impl From<Handle> for Control {
    fn from(handle: Handle) -> Self {
        Self::Runtime(handle)
    }
}

impl Control {
    /// Runs a future to its end, whatever becomes of the one who asked. It has to end by itself, or be stopped.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Task {
        match self {
            Self::Runtime(handle) => Task::Runtime(handle.spawn(future).abort_handle()),
            #[cfg(test)]
            Self::Model { .. } => Task::Model(shuttle::future::spawn(future).abort_handle()),
        }
    }

    /// Does something at `at`, unless it is stopped before.
    pub(crate) fn spawn_at(&self, at: Instant, then: impl FnOnce() + Send + 'static) -> Task {
        match self {
            // Every cached token has such a task: no more goes into it than the timer and what it is for.
            Self::Runtime(handle) => {
                let timer = async move {
                    tokio::time::sleep_until(at).await;
                    then();
                };
                Task::Runtime(handle.spawn(timer).abort_handle())
            }
            #[cfg(test)]
            Self::Model { far_moments_come } => {
                let comes = *far_moments_come;
                let timer = async move {
                    shuttle::future::yield_now().await;
                    if !comes {
                        std::future::pending::<()>().await;
                    }
                    then();
                };
                Task::Model(shuttle::future::spawn(timer).abort_handle())
            }
        }
    }

    /// Waits for a moment.
    pub(crate) async fn sleep(&self, moment: Duration) {
        match self {
            Self::Runtime(_) => tokio::time::sleep(moment).await,
            #[cfg(test)]
            Self::Model { .. } => shuttle::future::yield_now().await,
        }
    }

    /// What the future gives, unless it takes longer. In a model nothing takes long.
    pub(crate) async fn timeout<T>(&self, wait: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        match self {
            Self::Runtime(_) => tokio::time::timeout(wait, future).await.map_err(|_elapsed| Elapsed),
            #[cfg(test)]
            Self::Model { .. } => Ok(future.await),
        }
    }
}

impl Task {
    /// True once there is nothing left to stop.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Runtime(task) => task.is_finished(),
            #[cfg(test)]
            Self::Model(task) => task.is_finished(),
        }
    }

    /// Stops it where it waits. Nothing happens to one that has ended.
    pub(crate) fn abort(&self) {
        match self {
            Self::Runtime(task) => task.abort(),
            #[cfg(test)]
            Self::Model(task) => task.abort(),
        }
    }
}

/// A poisoned lock means that a thread panicked between two plain assignments; the state is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(test)]
    if let Some(guard) = model_lock(mutex) {
        return guard;
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before each access to what threads share without the lock: here a model lets another thread come between.
#[inline]
pub(crate) fn yield_point() {
    #[cfg(test)]
    if in_model() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

#[cfg(test)]
fn in_model() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// A model's threads take turns on one thread of the system, so none may block it: who finds the lock taken lets the
/// others go on, until it is free.
#[cfg(test)]
fn model_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    use std::sync::TryLockError;
    if !in_model() {
        return None;
    }
    yield_point();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
        }
    }
}
