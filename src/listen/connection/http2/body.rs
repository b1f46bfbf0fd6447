//! A request body on a stream.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::header::EXPECT;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};

use crate::http2::{BrokenOff, Received};
use crate::interim::Interims;

/// What a caller sends on its stream.
pub(in crate::listen) struct RequestBody {
    received: Received,
    /// Who sends the 100 that the caller waits for with its body (RFC 9110 section 10.1.1).
    expected: Option<Rc<Interims>>,
}

/// The caller gave its request up.
#[derive(Debug, thiserror::Error)]
#[error("the caller broke off its request before the body had ended")]
struct GivenUp(#[source] BrokenOff);

type Error = Box<dyn std::error::Error + Send + Sync>;

impl RequestBody {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap, interim: &Rc<Interims>) -> Self {
        let expects =
            || headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let expected = (!stream.is_end_stream() && expects()).then(|| Rc::clone(interim));
        Self { received: Received::new(stream, headers), expected }
    }

    pub(in crate::listen) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(expected) = self.expected.take() {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            expected.send(go_on);
        }
        self.received.poll_frame(cx).map_err(|broken| GivenUp(broken).into())
    }

    pub(in crate::listen) fn has_ended(&self) -> bool {
        self.received.is_end_stream()
    }

    pub(in crate::listen) fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}
