//! Bodies on their way: what is watched while they stream, and when a connection is free again.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use crate::coarse::{Deadline, Tick};

/// An error of a body that was read from one side and broke on its way to the other.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way to an upstream; reports progress, so that a slow upload is not taken for a slow answer.
pub(super) struct Outgoing<B> {
    inner: B,
    progress: Option<Rc<Progress>>,
}

/// When the request body last moved, and whether it is all sent.
pub(super) struct Progress {
    pub(super) last: Cell<Tick>,
    pub(super) finished: Cell<bool>,
}

impl<B: Body> Outgoing<B> {
    /// Wraps a body; one that is empty has no progress to report.
    pub(super) fn new(inner: B) -> Self {
        let progress = (!inner.is_end_stream())
            .then(|| Rc::new(Progress { last: Cell::new(Tick::now()), finished: Cell::new(false) }));
        Self { inner, progress }
    }

    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        self.progress.clone()
    }

    /// The body itself, of a request that was never begun.
    pub(super) fn into_inner(self) -> B {
        self.inner
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(progress) = &self.progress {
            progress.last.set(Tick::now());
            progress.finished.set(!matches!(frame, Some(Ok(_))) || self.inner.is_end_stream());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body. Frees its connection at the end, closes it when dropped before, and fails when nothing comes for too
/// long.
pub struct ResponseBody<B> {
    inner: Incoming,
    lease: Option<Lease<B>>,
    silence: Duration,
    deadline: Option<Deadline>,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: Incoming, lease: Lease<B>, silence: Duration) -> Self {
        let mut body = Self { inner, lease: Some(lease), silence, deadline: None };
        if body.inner.is_end_stream() {
            body.free_connection();
        }
        body
    }

    fn free_connection(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl<B> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.deadline = None;
                if this.inner.is_end_stream() {
                    this.free_connection();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.free_connection();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let silence = this.silence;
                let deadline = this.deadline.get_or_insert_with(|| Deadline::at(Tick::now().after(silence)));
                ready!(deadline.poll(cx));
                this.lease = None;
                Poll::Ready(Some(Err("the upstream stopped sending in the middle of its response".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
