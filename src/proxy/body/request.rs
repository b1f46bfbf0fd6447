//! A request body on its way to an upstream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::incoming::poll_incoming;
use super::limit::{CountedBody, Limit};
use super::replay::ReplayBody;
use crate::listen::Incoming;
use crate::proxy::head::hop_by_hop::Nominated;
use crate::upstream::{BodyError, ExchangeError};

#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// Streams through, kept nowhere.
    Streaming(Incoming),
    /// Streams through and is kept for a replay, up to a bound.
    Replayable(ReplayBody),
    /// Either of them, counted on its way. Boxed: the limit is rarely set.
    Counted(Box<CountedBody<Self>>),
    /// The same without some of its trailers. Boxed: hardly any `Connection` names them.
    Trimmed(Box<TrimmedBody>),
}

/// A body whose head has named fields that are for one connection.
#[derive(Debug)]
pub(crate) struct TrimmedBody {
    inner: RequestBody,
    nominated: Nominated,
}

impl RequestBody {
    /// Without the trailers that `Connection` has named in its head.
    #[must_use]
    pub(crate) fn trimmed(self, nominated: Option<&Nominated>) -> Self {
        match nominated {
            Some(nominated) if !matches!(self, Self::Empty) => {
                Self::Trimmed(Box::new(TrimmedBody { inner: self, nominated: nominated.clone() }))
            }
            _ => self,
        }
    }

    /// Goes out as far as it may be long.
    ///
    /// # Errors
    /// It says itself that it is longer.
    pub(crate) fn limited(self, max: Option<u64>) -> Result<(Self, Limit), ExchangeError> {
        let (Some(max), false) = (max, matches!(self, Self::Empty)) else { return Ok((self, Limit::default())) };
        let hint = self.size_hint();
        if hint.lower() > max {
            return Err(ExchangeError::body_too_large(max));
        }
        if hint.upper().is_some() {
            return Ok((self, Limit::default()));
        }
        let (counted, limit) = CountedBody::new(self, max);
        Ok((Self::Counted(Box::new(counted)), limit))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(body) => poll_incoming(body, cx),
            Self::Replayable(body) => Pin::new(body).poll_frame(cx),
            Self::Counted(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Trimmed(body) => {
                let frame = ready!(Pin::new(&mut body.inner).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map(|frame| body.nominated.filter_trailers(frame))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(body) => body.is_end_stream(),
            Self::Replayable(body) => body.is_end_stream(),
            Self::Counted(body) => body.is_end_stream(),
            Self::Trimmed(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.size_hint(),
            Self::Replayable(body) => body.size_hint(),
            Self::Counted(body) => body.size_hint(),
            Self::Trimmed(body) => body.inner.size_hint(),
        }
    }
}
