//! The executor that hyper is given: tasks stay on the worker's own thread.

use std::future::Future;

/// Spawns on the current thread's runtime.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // Detached: hyper ends these tasks with the connection they belong to.
        drop(tokio::task::spawn_local(future));
    }
}
