//! A panic ends the connection it happened on, is counted, and leaves the worker as it is.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use futures_util::future::CatchUnwind;
use pin_project_lite::pin_project;
use prometheus_client::metrics::counter::Counter;

pin_project! {
    /// A task of a connection's. Not an `async fn`, which would have room for the task twice: as it was given, and where it is polled.
    pub(super) struct Counted<F> {
        #[pin]
        task: CatchUnwind<AssertUnwindSafe<F>>,
        panics: Counter,
    }
}

/// Runs a task of a connection's to its end or to its panic. Unwinding drops what the task had: nothing of it is looked at
/// afterwards.
pub(super) fn counted<F: Future<Output = ()>>(task: F, panics: Counter) -> Counted<F> {
    Counted { task: AssertUnwindSafe(task).catch_unwind(), panics }
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if ready!(this.task.poll(cx)).is_err() {
            // Where it was has been said already, by the process's panic hook.
            this.panics.inc();
        }
        Poll::Ready(())
    }
}
