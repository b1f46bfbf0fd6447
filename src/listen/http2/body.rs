//! A request body on an HTTP/2 stream.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};

use crate::interim::InterimSink;

/// What a caller sends on its stream. Its end is `END_STREAM` and nothing else: a stream that is reset, with whatever code, has
/// broken off (RFC 9113 section 8.1).
pub(in crate::listen) struct RequestBody {
    stream: RecvStream,
    /// What is to come, where it was said; h2 holds the frames against it.
    left: Option<u64>,
    data_ended: bool,
    /// Who sends the 100 that the caller waits for with its body (RFC 9110 section 10.1.1).
    expected: Option<Rc<dyn InterimSink>>,
}

/// The caller gave its request up before it had ended it.
#[derive(Debug, thiserror::Error)]
#[error("the caller broke off its request before the body had ended")]
struct BrokenOff(#[source] Option<h2::Error>);

type Error = Box<dyn std::error::Error + Send + Sync>;

impl RequestBody {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap, interim: &Rc<impl InterimSink + 'static>) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let expects =
            || headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let expected = (!stream.is_end_stream() && expects()).then(|| Rc::clone(interim) as Rc<dyn InterimSink>);
        Self { stream, left, data_ended: false, expected }
    }

    pub(in crate::listen) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(expected) = self.expected.take() {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            expected.send(go_on);
        }
        while !self.data_ended {
            match ready!(Pin::new(&mut self.stream).poll_data(cx)) {
                Some(Ok(data)) => {
                    // Room for more is given with what is taken. It fails on a stream that has ended, where no more comes.
                    let _ended = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BrokenOff(Some(error)).into()))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) if self.stream.is_end_stream() => None,
            Ok(None) => Some(Err(BrokenOff(None).into())),
            Err(error) => Some(Err(BrokenOff(Some(error)).into())),
        })
    }

    pub(in crate::listen) fn has_ended(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(in crate::listen) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.has_ended() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
