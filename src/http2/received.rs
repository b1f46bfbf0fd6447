//! A body that comes in.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

/// What the other side sends on its stream. Its end is `END_STREAM` and nothing else: a stream that is reset, with whatever
/// code, has broken off.
pub(crate) struct Received {
    stream: RecvStream,
    /// What is to come, where it was said; h2 holds the frames against it.
    left: Option<u64>,
    data_ended: bool,
}

/// The stream ended before the body on it did.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset before the body on it had ended")]
pub(crate) struct BrokenOff(#[source] pub(crate) Option<h2::Error>);

impl Received {
    /// The body behind a head with these fields.
    #[must_use]
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { stream, left, data_ended: false }
    }

    /// The next frame. Room for more is given with what is taken.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        while !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails on a stream that has ended, where no more comes.
                    let _ended = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BrokenOff(Some(error))))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) if self.stream.is_end_stream() => None,
            Ok(None) => Some(Err(BrokenOff(None))),
            Err(error) => Some(Err(BrokenOff(Some(error)))),
        })
    }

    /// True once all of it has been taken.
    #[must_use]
    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// What is to come.
    #[must_use]
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}
