//! The two body types of the data path. Enums instead of boxes: a request without a body allocates nothing for it.

pub(super) mod limit;
pub(super) mod replay;
pub(super) mod replay_memory;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Response, response};
use http_body::{Body, Frame, SizeHint};

use crate::listen::Incoming;
use crate::proxy::access::AccessEntry;
use crate::proxy::head::hop_by_hop::{self, Nominated};
use crate::proxy::record::Record;
use crate::proxy::send::grpc::TrailerWatch;
use crate::upstream::{BodyError, ResponseBody};
pub(crate) use limit::CountedBody;
use replay::ReplayBody;

/// A request body on its way to an upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// Streams through, kept nowhere.
    Streaming(Incoming),
    /// Streams through and is kept for a replay, up to a bound.
    Replayable(ReplayBody),
    /// Either of them, counted on its way. Boxed: the limit is rarely set.
    Counted(Box<CountedBody>),
    /// The same without some of its trailers. Boxed: nearly nobody has a `Connection` that names them.
    Trimmed(Box<TrimmedBody>),
}

/// A body whose head has named fields that are for one connection.
#[derive(Debug)]
pub(crate) struct TrimmedBody {
    inner: RequestBody,
    nominated: Nominated,
}

impl RequestBody {
    /// Without the trailers that `Connection` has named in this head.
    #[must_use]
    pub(in crate::proxy) fn trimmed(self, head: &Parts) -> Self {
        match Nominated::of(&head.extensions) {
            Some(nominated) if !matches!(self, Self::Empty) => {
                Self::Trimmed(Box::new(TrimmedBody { inner: self, nominated }))
            }
            _ => self,
        }
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
            Self::Counted(body) => body.poll(cx),
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
            Self::Counted(body) => body.inner.is_end_stream(),
            Self::Trimmed(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.size_hint(),
            Self::Replayable(body) => body.size_hint(),
            Self::Counted(body) => body.inner.size_hint(),
            Self::Trimmed(body) => body.inner.size_hint(),
        }
    }
}

/// The next frame of a caller's body, its trailers filtered (RFC 9110 section 6.5.1).
pub(in crate::proxy) fn poll_incoming(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let frame = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(frame.map(|frame| frame.map(hop_by_hop::filter_trailers)))
}

/// A response body on its way to the caller.
pub(crate) struct CallerBody {
    kind: Kind,
    /// Closed when the body ends, or is dropped because the caller went away.
    record: Option<Record>,
    /// The line of the access log, if there is one.
    entry: Option<Box<AccessEntry>>,
    /// Told the trailers, where they say whether the token was taken.
    trailers: Option<Box<TrailerWatch>>,
}

enum Kind {
    Own(Option<Bytes>),
    Upstream(ResponseBody<RequestBody>, Option<Nominated>),
}

impl CallerBody {
    /// A short text of our own.
    #[must_use]
    pub(crate) const fn own(text: Bytes) -> Self {
        Self::of(Kind::Own(Some(text)))
    }

    /// None.
    #[must_use]
    pub(crate) const fn empty() -> Self {
        Self::of(Kind::Own(None))
    }

    /// An upstream's, under its head.
    pub(in crate::proxy) fn answer(
        head: response::Parts,
        body: ResponseBody<RequestBody>,
        record: Record,
    ) -> Response<Self> {
        let kind = Kind::Upstream(body, Nominated::of(&head.extensions));
        Response::from_parts(head, Self::of(kind).with_record(record))
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, record: None, entry: None, trailers: None }
    }

    /// Takes the record along, so that it is closed with the last byte.
    #[must_use]
    pub(in crate::proxy) fn with_record(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    /// Has the trailers told.
    #[must_use]
    pub(in crate::proxy) fn with_trailers(mut self, watch: Box<TrailerWatch>) -> Self {
        self.trailers = Some(watch);
        self
    }

    /// The same, of the access log.
    #[must_use]
    pub(in crate::proxy) fn with_entry(mut self, entry: Box<AccessEntry>) -> Self {
        self.entry = Some(entry);
        self
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
            Kind::Upstream(body, nominated) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                let trimmed = |frame| nominated.iter().fold(frame, |frame, nominated| nominated.filter_trailers(frame));
                frame.map(|frame| frame.map(hop_by_hop::filter_trailers).map(trimmed))
            }
        };
        if let (Some(entry), Some(Ok(frame))) = (&mut this.entry, &frame) {
            entry.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if this.trailers.is_some()
            && let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(watch) = this.trailers.take()
        {
            watch.ended(trailers);
        }
        if matches!(frame, None | Some(Err(_))) {
            this.record = None;
            this.entry = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Upstream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Upstream(body, _) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for CallerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerBody").finish_non_exhaustive()
    }
}
