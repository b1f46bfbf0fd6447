//! `limits.body_bytes`: a request body that is longer is answered with 413. One that says its length is refused before anything
//! is sent; one that does not is counted on its way, and broken off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::{BodyError, ExchangeError};

#[derive(Debug)]
pub(crate) struct CountedBody<B> {
    inner: B,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

/// Whether the body that went out was too long.
#[derive(Debug, Default)]
pub(crate) struct Limit(Option<(u64, Arc<AtomicBool>)>);

impl<B> CountedBody<B> {
    pub(super) fn new(inner: B, max: u64) -> (Self, Limit) {
        let exceeded = Arc::new(AtomicBool::new(false));
        let limit = Limit(Some((max, Arc::clone(&exceeded))));
        (Self { inner, left: max, exceeded }, limit)
    }
}

impl Limit {
    /// The failure of an exchange is that of its body, if that was too long.
    pub(crate) fn judge<T>(self, exchanged: Result<T, ExchangeError>) -> Result<T, ExchangeError> {
        let exceeded = self.0.filter(|(_, exceeded)| exceeded.load(Ordering::Relaxed));
        match (exchanged, exceeded) {
            (Err(_), Some((max, _))) => Err(ExchangeError::body_too_large(max)),
            (exchanged, _) => exchanged,
        }
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                self.exceeded.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the request body is larger than limits.body_bytes".into())));
            };
            self.left = left;
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
