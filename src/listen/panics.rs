//! A panic ends the connection it happened on, is counted, and leaves the worker as it is.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use prometheus_client::metrics::counter::Counter;

/// Runs a task of a connection's to its end or to its panic. Unwinding drops what the task had: nothing of it is looked at
/// afterwards.
pub(super) async fn counted(task: impl Future<Output = ()>, panics: &Counter) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        // Where it was has been said already, by the process's panic hook.
        panics.inc();
    }
}
