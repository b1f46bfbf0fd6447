//! A connection from its first request to its last: when it has to have moved on, and how it is told to finish.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use super::drain::DrainGuard;
use super::state::{ConnectionState, ConnectionTimeout};
use crate::listen::settings::Limits;
use crate::timer::{CoarseInstant, Deadline};

/// How long a connection without a request in progress stays open while the worker drains: a request that was on its way
/// when the draining began is answered, with `Connection: close`.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long an HTTP/2 caller may take to hear that its idle connection ends: what it has asked for by then is answered.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is being served. Ready when it has ended.
pub(super) trait Served: Future<Output = Result<(), <Self as Served>::Error>> {
    /// Why it broke off.
    type Error: Display;

    /// Takes nothing new, and ends when what has begun is finished.
    fn finish(self: Pin<&mut Self>);

    /// How long it has to be idle before it gives back what it keeps for requests only. `None` if there is no such thing.
    fn parks_after(&self, limits: &Limits) -> Option<Duration> {
        let _ = limits;
        None
    }

    /// Gives it back until the next request, if nothing is under way. It has to be polled after that.
    fn park(self: Pin<&mut Self>) {}
}

/// Drives a connection, and ends it when its time is up, it has to make room, or the worker drains.
pub(super) async fn drive<C: Served>(
    mut connection: Pin<&mut C>,
    state: &ConnectionState,
    limits: &Limits,
    guard: &DrainGuard,
) {
    let mut deadline = Deadline::at(CoarseInstant::now());
    let mut finishing = false;
    // Since when the worker drains.
    let mut draining: Option<CoarseInstant> = None;
    // When it has made room, whatever the caller says to that.
    let mut leaves_by: Option<CoarseInstant> = None;
    let ended = std::future::poll_fn(|cx| {
        if draining.is_none() && guard.must_finish(cx) {
            draining = Some(CoarseInstant::now());
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        let grace_ends = draining.map(|since| since.after(DRAIN_GRACE));
        if let Some(grace_ends) = grace_ends
            && !finishing
            && (state.may_finish_now() || CoarseInstant::now() >= grace_ends)
        {
            finishing = true;
            connection.as_mut().finish();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        if !finishing && guard.must_make_room(cx) {
            finishing = true;
            leaves_by = Some(CoarseInstant::now().after(GOODBYE_TIMEOUT));
            connection.as_mut().finish();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        if let Some(by) = leaves_by.filter(|_| state.is_idle()) {
            deadline.move_to(by);
            return deadline.poll(cx).map(Ok);
        }
        let (mut at, mut timeout) = match (state.deadline(limits), grace_ends.filter(|_| !finishing)) {
            (Some((at, timeout)), Some(grace)) if at <= grace => (at, timeout),
            (_, Some(grace)) => (grace, ConnectionTimeout::Idle),
            (Some(deadline), None) => deadline,
            (None, None) => return Poll::Pending,
        };
        if timeout == ConnectionTimeout::Idle
            && !finishing
            && draining.is_none()
            && let Some(idle) = connection.parks_after(limits)
            && let parks_at = state.idle_for(idle)
            && parks_at < at
        {
            deadline.move_to(parks_at);
            ready!(deadline.poll(cx));
            connection.as_mut().park();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // The next request may have come with that.
            let Some(now) = state.deadline(limits) else { return Poll::Pending };
            (at, timeout) = now;
        }
        deadline.move_to(at);
        ready!(deadline.poll(cx));
        match timeout {
            ConnectionTimeout::Idle if !finishing => {
                finishing = true;
                let by = *leaves_by.insert(CoarseInstant::now().after(GOODBYE_TIMEOUT));
                connection.as_mut().finish();
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                deadline.move_to(by);
                deadline.poll(cx).map(Ok)
            }
            ConnectionTimeout::Head => {
                state.expire();
                // Lets the answer out; the connection is dropped whether it has ended or not.
                let _last = connection.as_mut().poll(cx);
                Poll::Ready(Ok(()))
            }
            ConnectionTimeout::Idle | ConnectionTimeout::Blocked => Poll::Ready(Ok(())),
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(target: "attache::listen", %error, "caller connection ended");
    }
}
