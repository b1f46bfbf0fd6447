//! A request body on its way out, and how far it has come.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::timer::CoarseInstant;

/// An error of a body that was read from one side and broke on its way to the other.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way to an upstream; reports progress, so that a slow upload is not taken for a slow answer.
pub(super) struct Outgoing<B> {
    inner: B,
    /// Read before, from a connection that turned out to be gone.
    first: Bytes,
    progress: Option<Rc<Progress>>,
}

/// When the request body last moved, and whom it waits for.
pub(super) struct Progress {
    pub(super) last: Cell<CoarseInstant>,
    pub(super) finished: Cell<bool>,
    /// There was nothing to take when it was last asked for more: the caller is slow, not the upstream.
    pub(super) starved: Cell<bool>,
}

impl<B: Body> Outgoing<B> {
    /// Wraps a body; one that is empty has no progress to report.
    pub(super) fn new(inner: B) -> Self {
        let begun = || Progress {
            last: Cell::new(CoarseInstant::now()),
            finished: Cell::new(false),
            starved: Cell::new(false),
        };
        let progress = (!inner.is_end_stream()).then(|| Rc::new(begun()));
        Self { inner, first: Bytes::new(), progress }
    }

    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        self.progress.clone()
    }

    /// The same body, with a piece that was read already back at its front.
    pub(super) fn with_first(self, first: Bytes) -> Self {
        Self { first, ..self }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Some(progress) = &self.progress {
            progress.starved.set(polled.is_pending());
        }
        let frame = ready!(polled);
        if let Some(progress) = &self.progress {
            progress.last.set(CoarseInstant::now());
            progress.finished.set(!matches!(frame, Some(Ok(_))) || self.inner.is_end_stream());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
