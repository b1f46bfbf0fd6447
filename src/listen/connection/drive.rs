//! A connection from its first request to its last: when it has to have moved on, and how it is told to finish.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::drain::DrainGuard;
use super::state::{ConnectionState, ConnectionTimeout};
use crate::listen::settings::Limits;
use crate::listen::unreadable::Unreadable;
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

    /// Answers what is asked on it next as the last thing; one on which nothing was asked so far goes on until then.
    fn take_leave(self: Pin<&mut Self>) {}

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

/// A connection that is driven: it ends when its time is up, it has to make room, or the worker drains. Ready when it has ended.
///
/// Not an `async fn`, which would have room for each of these twice: every idle connection has one.
pub(super) struct Driven<C> {
    connection: C,
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    guard: DrainGuard,
    deadline: Deadline,
    finishing: bool,
    leaving: bool,
    /// Since when the worker drains.
    draining: Option<CoarseInstant>,
    /// When it has made room, whatever the caller says to that.
    leaves_by: Option<CoarseInstant>,
}

impl<C: Served + Unpin> Driven<C> {
    pub(super) fn new(connection: C, state: Arc<ConnectionState>, limits: Arc<Limits>, guard: DrainGuard) -> Self {
        Self {
            connection,
            state,
            limits,
            guard,
            deadline: Deadline::at(CoarseInstant::now()),
            finishing: false,
            leaving: false,
            draining: None,
            leaves_by: None,
        }
    }

    /// Why its last head could not be read, if that is how it ended.
    pub(super) fn refused(&self) -> Option<Unreadable> {
        self.state.refused()
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        Pin::new(&mut self.connection).poll(cx)
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.finishing = true;
        Pin::new(&mut self.connection).finish();
        self.poll_connection(cx)
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        if !self.leaving && self.guard.must_take_leave(cx) {
            self.leaving = true;
            self.state.note_last_answer();
            Pin::new(&mut self.connection).take_leave();
        }
        if self.draining.is_none() && self.guard.must_finish(cx) {
            self.draining = Some(CoarseInstant::now());
        }
        if let Poll::Ready(ended) = self.poll_connection(cx) {
            return Poll::Ready(ended);
        }
        let grace_ends = self.draining.map(|since| since.after(DRAIN_GRACE));
        if let Some(grace_ends) = grace_ends
            && !self.finishing
            && (self.state.may_finish_now() || CoarseInstant::now() >= grace_ends)
            && let Poll::Ready(ended) = self.finish(cx)
        {
            return Poll::Ready(ended);
        }
        if !self.finishing && self.guard.must_make_room(cx) {
            self.leaves_by = Some(CoarseInstant::now().after(GOODBYE_TIMEOUT));
            if let Poll::Ready(ended) = self.finish(cx) {
                return Poll::Ready(ended);
            }
        }
        if let Some(by) = self.leaves_by.filter(|_| self.state.is_idle()) {
            self.deadline.move_to(by);
            return self.deadline.poll(cx).map(Ok);
        }
        let grace = grace_ends.filter(|_| !self.finishing);
        let (mut at, mut timeout) = match (self.state.deadline(&self.limits), grace) {
            (Some((at, timeout)), Some(grace)) if at <= grace => (at, timeout),
            (_, Some(grace)) => (grace, ConnectionTimeout::Idle),
            (Some(deadline), None) => deadline,
            (None, None) => return Poll::Pending,
        };
        if timeout == ConnectionTimeout::Idle
            && !self.finishing
            && self.draining.is_none()
            && let Some(idle) = self.connection.parks_after(&self.limits)
            && let parks_at = self.state.idle_for(idle)
            && parks_at < at
        {
            self.deadline.move_to(parks_at);
            ready!(self.deadline.poll(cx));
            Pin::new(&mut self.connection).park();
            if let Poll::Ready(ended) = self.poll_connection(cx) {
                return Poll::Ready(ended);
            }
            // The next request may have come with that.
            let Some(now) = self.state.deadline(&self.limits) else { return Poll::Pending };
            (at, timeout) = now;
        }
        self.deadline.move_to(at);
        ready!(self.deadline.poll(cx));
        match timeout {
            ConnectionTimeout::Idle if !self.finishing => {
                let by = *self.leaves_by.insert(CoarseInstant::now().after(GOODBYE_TIMEOUT));
                if let Poll::Ready(ended) = self.finish(cx) {
                    return Poll::Ready(ended);
                }
                self.deadline.move_to(by);
                self.deadline.poll(cx).map(Ok)
            }
            ConnectionTimeout::Head => {
                self.state.expire();
                // Lets the answer out; the connection is dropped whether it has ended or not.
                let _last = self.poll_connection(cx);
                Poll::Ready(Ok(()))
            }
            ConnectionTimeout::Idle | ConnectionTimeout::Blocked => Poll::Ready(Ok(())),
        }
    }
}

impl<C: Served + Unpin> Future for Driven<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.poll_ended(cx)) {
            tracing::debug!(target: "attache::listen", %error, "caller connection ended");
        }
        Poll::Ready(())
    }
}
