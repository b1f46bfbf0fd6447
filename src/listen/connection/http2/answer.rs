//! An answer's body on its way out over a stream.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::http2::{Sending, Stopped};
use crate::timer::{CoarseInstant, Deadline};

/// Sends all of a body, as fast as the caller takes it. One that takes nothing for as long as `timeout` loses its stream: what
/// stands behind the body (a connection to an upstream) is needed by others.
pub(super) async fn send<B>(stream: SendStream<Bytes>, body: B, timeout: Duration) -> Result<(), Stopped>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut sending = Sending::new(stream, body);
    let mut waiting: Option<(u64, Deadline)> = None;
    poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.poll(cx) {
            return Poll::Ready(sent);
        }
        if !sending.is_blocked() {
            // It is the body that is waited for, which has deadlines of its own.
            waiting = None;
            return Poll::Pending;
        }
        let pieces = sending.pieces();
        if waiting.as_ref().is_none_or(|(at, _)| *at != pieces) {
            waiting = Some((pieces, Deadline::at(CoarseInstant::now().after(timeout))));
        }
        if let Some((_, deadline)) = &mut waiting {
            ready!(deadline.poll(cx));
        }
        sending.reset(Reason::CANCEL);
        Poll::Ready(Err(Stopped::Reset(Reason::CANCEL)))
    })
    .await
}
