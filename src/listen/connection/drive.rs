//! A connection from its first request to its last: when it has to have moved on, and how it is told to finish.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::drain::Seat;
use super::state::{Overdue, Standing};
use crate::coarse::{Deadline, Tick};
use crate::listen::settings::Limits;

/// How long a connection without a request in progress stays open while the worker drains: a request that was on its way
/// when the draining began is answered, with `Connection: close`.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long an HTTP/2 caller may take to hear that its idle connection ends: what it has asked for by then is answered.
const PARTING: Duration = Duration::from_secs(1);

/// A connection that is being served. Ready when it has ended.
pub(super) trait Served: Future<Output = Result<(), <Self as Served>::Error>> {
    /// Why it broke off.
    type Error: Display;

    /// Takes nothing new, and ends when what has begun is finished.
    fn finish(self: Pin<&mut Self>);
}

/// Drives a connection, and ends it when it is overdue, has to make room, or the worker drains.
pub(super) async fn watch<C: Served>(mut connection: Pin<&mut C>, standing: &Standing, limits: &Limits, seat: &Seat) {
    let mut deadline = Deadline::at(Tick::now());
    let mut finishing = false;
    // Since when the worker drains.
    let mut draining: Option<Tick> = None;
    // When it has made room, whatever the caller says to that.
    let mut leaves_by: Option<Tick> = None;
    let ended = std::future::poll_fn(|cx| {
        if draining.is_none() && seat.must_finish(cx) {
            draining = Some(Tick::now());
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        let patience = draining.map(|since| since.after(DRAIN_GRACE));
        if let Some(patience) = patience
            && !finishing
            && (standing.may_finish_now() || Tick::now() >= patience)
        {
            finishing = true;
            connection.as_mut().finish();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        if !finishing && seat.must_make_room(cx) {
            finishing = true;
            leaves_by = Some(Tick::now().after(PARTING));
            connection.as_mut().finish();
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        if let Some(by) = leaves_by.filter(|_| standing.is_idle()) {
            deadline.move_to(by);
            return deadline.poll(cx).map(Ok);
        }
        let (at, overdue) = match (standing.deadline(limits), patience.filter(|_| !finishing)) {
            (Some((at, overdue)), Some(patience)) if at <= patience => (at, overdue),
            (_, Some(patience)) => (patience, Overdue::Idle),
            (Some(deadline), None) => deadline,
            (None, None) => return Poll::Pending,
        };
        deadline.move_to(at);
        std::task::ready!(deadline.poll(cx));
        match overdue {
            Overdue::Idle if !finishing => {
                finishing = true;
                let by = *leaves_by.insert(Tick::now().after(PARTING));
                connection.as_mut().finish();
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                deadline.move_to(by);
                deadline.poll(cx).map(Ok)
            }
            Overdue::Head => {
                standing.expire();
                // Lets the answer out; the connection is dropped whether it has ended or not.
                let _last = connection.as_mut().poll(cx);
                Poll::Ready(Ok(()))
            }
            Overdue::Idle | Overdue::Blocked => Poll::Ready(Ok(())),
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(target: "attache::listen", %error, "caller connection ended");
    }
}
