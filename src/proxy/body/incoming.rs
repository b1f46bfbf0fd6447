//! A caller's body as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use crate::listen::Incoming;
use crate::proxy::head::hop_by_hop;
use crate::upstream::BodyError;

/// The next frame of a caller's body, its trailers filtered (RFC 9110 section 6.5.1).
pub(super) fn poll_incoming(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let frame = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(frame.map(|frame| frame.map(hop_by_hop::filter_trailers)))
}
