//! A response body, which frees its connection at the end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::http2::Answer;
use super::outgoing::{BodyError, Progress};
use super::pool::Lease;
use crate::timer::{CoarseInstant, Deadline};

/// A response body. Frees its connection at the end, closes it when dropped before, and fails when nothing comes for too
/// long.
pub(crate) struct ResponseBody<B> {
    /// `None` once the connection has been freed.
    lease: Option<Lease<B>>,
    /// The stream's own body on HTTP/2.
    http2: Option<Answer<B>>,
    silence: Duration,
    /// The request body, which may still be on its way: while it moves, the exchange is not silent.
    upload: Option<Rc<Progress>>,
    deadline: Option<Deadline>,
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    pub(super) fn new(
        lease: Lease<B>,
        http2: Option<Answer<B>>,
        silence: Duration,
        upload: Option<Rc<Progress>>,
    ) -> Self {
        let mut body = Self { lease: Some(lease), http2, silence, upload, deadline: None };
        if body.is_end_stream() {
            body.free_connection();
        }
        body
    }

    /// After a 101 the connection is not freed: its bytes are what the caller wants.
    pub(super) const fn switched(lease: Lease<B>, silence: Duration) -> Self {
        Self { lease: Some(lease), http2: None, silence, upload: None, deadline: None }
    }

    /// The bare connection and what was read of it too far, after the answer to an upgrade.
    #[must_use]
    pub(crate) fn into_upgraded(mut self) -> Option<(impl AsyncRead + AsyncWrite + Unpin + 'static + use<B>, Bytes)> {
        self.lease.take().and_then(Lease::into_stream)
    }

    fn free_connection(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(body) = &mut self.http2 {
            return body.poll_frame(cx);
        }
        match &mut self.lease {
            Some(lease) => lease.poll_body(cx),
            None => Poll::Ready(None),
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match this.poll_inner(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.deadline = None;
                if this.is_end_stream() {
                    this.free_connection();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.free_connection();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let silence = this.silence;
                let deadline = this.deadline.get_or_insert_with(|| Deadline::at(CoarseInstant::now().after(silence)));
                ready!(deadline.poll(cx));
                if let Some(upload) = this.upload.as_ref().filter(|upload| !upload.finished.get()) {
                    deadline.move_to(upload.last.get().after(silence));
                    ready!(deadline.poll(cx));
                }
                if let Some(lease) = this.lease.take() {
                    lease.timed_out();
                }
                Poll::Ready(Some(Err("the upstream stopped sending in the middle of its response".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match (&self.http2, &self.lease) {
            (Some(body), _) => body.is_end_stream(),
            (None, Some(lease)) => lease.response_length() == Some(0),
            (None, None) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.http2, &self.lease) {
            (Some(body), _) => body.size_hint(),
            (None, Some(lease)) => lease.response_length().map_or_else(SizeHint::default, SizeHint::with_exact),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

impl<B> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
