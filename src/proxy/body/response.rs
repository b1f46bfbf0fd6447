//! An answer's body on its way to the caller.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::request::RequestBody;
use crate::proxy::context::RequestContext;
use crate::proxy::head::hop_by_hop::{self, Nominated};
use crate::upstream::{BodyError, ResponseBody};

/// Boxed: gRPC alone says in trailers whether a token was taken.
pub(crate) type OnTrailers = Box<dyn FnOnce(&HeaderMap)>;

pub(crate) struct CallerBody {
    kind: Kind,
    /// Ends with the body, or with a caller that has gone away.
    context: Option<RequestContext>,
    /// Given the trailers, where they say whether the token was taken.
    on_trailers: Option<OnTrailers>,
}

enum Kind {
    Own(Option<Bytes>),
    Upstream(ResponseBody<RequestBody>, Option<Nominated>),
}

impl CallerBody {
    /// A short text of attache's own.
    #[must_use]
    pub(crate) const fn own(text: Bytes) -> Self {
        Self::new(Kind::Own(Some(text)))
    }

    #[must_use]
    pub(crate) const fn empty() -> Self {
        Self::new(Kind::Own(None))
    }

    /// An upstream's, without the trailers that `Connection` has named in its head.
    pub(crate) const fn upstream(body: ResponseBody<RequestBody>, nominated: Option<Nominated>) -> Self {
        Self::new(Kind::Upstream(body, nominated))
    }

    const fn new(kind: Kind) -> Self {
        Self { kind, context: None, on_trailers: None }
    }

    /// Takes the context along, so that it ends with the last byte.
    pub(crate) fn carry(&mut self, context: RequestContext) {
        self.context = Some(context);
    }

    pub(crate) fn watch_trailers(&mut self, on_trailers: OnTrailers) {
        self.on_trailers = Some(on_trailers);
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(context) = &mut this.context {
            context.note_polled();
        }
        let frame = match &mut this.kind {
            Kind::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
            Kind::Upstream(body, nominated) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                let trimmed = |frame| nominated.iter().fold(frame, |frame, nominated| nominated.filter_trailers(frame));
                frame.map(|frame| frame.map(hop_by_hop::filter_trailers).map(trimmed))
            }
        };
        if let (Some(context), Some(Ok(frame))) = (&mut this.context, &frame) {
            context.note_sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if this.on_trailers.is_some()
            && let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(on_trailers) = this.on_trailers.take()
        {
            on_trailers(trailers);
        }
        if matches!(frame, None | Some(Err(_))) {
            this.context = None;
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

impl fmt::Debug for CallerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerBody").finish_non_exhaustive()
    }
}
