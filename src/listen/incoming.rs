//! A caller's request body as it comes in, in whichever version, and what else hangs on a request.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::connection::http2::body::RequestBody;
use super::connection::state::{ConnectionState, UnreadBody};
use super::upgrade::Upgrade;
use crate::interim::Interims;

/// A body that broke off, or whose framing did.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A caller's request body. It ends with `None` only where the caller has ended it: one that breaks off is an error.
pub(crate) struct Incoming {
    kind: Kind,
    upgrade: Option<Upgrade>,
    interim: Option<Rc<Interims>>,
    /// The bytes that have been read of it, where that is wanted.
    count: Option<Rc<Cell<u64>>>,
}

enum Kind {
    Http1 {
        body: hyper::body::Incoming,
        /// The connection's stays as it is until this has ended.
        _unread: Option<UnreadBody>,
    },
    Http2(RequestBody),
    /// What comes is the tunnel's, if there will be one.
    Connect,
    /// Made by a test or a fuzz target.
    Scripted(Pin<Box<Script>>),
}

type Script = dyn Body<Data = Bytes, Error = BodyError>;

impl Incoming {
    /// The same request with a body of this type; `switches`: it asks for another protocol.
    pub(super) fn of_http1(
        mut request: Request<hyper::body::Incoming>,
        switches: bool,
        interim: Option<Rc<Interims>>,
        state: &Arc<ConnectionState>,
    ) -> Request<Self> {
        let upgrade = if switches { request.extensions_mut().remove::<OnUpgrade>() } else { None };
        request.map(|body| {
            let unread = (!body.is_end_stream()).then(|| UnreadBody::new(state));
            let kind = Kind::Http1 { body, _unread: unread };
            Self { kind, upgrade: upgrade.map(Upgrade::of_http1), interim, count: None }
        })
    }

    pub(super) fn of_http2(body: RequestBody, interim: Rc<Interims>) -> Self {
        Self { kind: Kind::Http2(body), upgrade: None, interim: Some(interim), count: None }
    }

    pub(super) fn of_connect(upgrade: Upgrade) -> Self {
        Self { kind: Kind::Connect, upgrade: Some(upgrade), interim: None, count: None }
    }

    /// A body that no caller sends, for tests and fuzz targets.
    pub(crate) fn scripted(script: impl Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self { kind: Kind::Scripted(Box::pin(script)), upgrade: None, interim: None, count: None }
    }

    /// Counts its bytes from now on, as they are read.
    pub(crate) fn count(&mut self) -> Rc<Cell<u64>> {
        Rc::clone(self.count.get_or_insert_default())
    }

    /// The caller's side of a switch of protocols or of a tunnel, if the request asked for one; once.
    pub(crate) fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// The protocol of an extended CONNECT (RFC 8441 section 4).
    #[must_use]
    pub(crate) fn extended_connect(&self) -> Option<&str> {
        self.upgrade.as_ref()?.protocol()
    }

    /// Where interim answers to this request may go. `None` for a caller that knows none (HTTP/1.0).
    #[must_use]
    pub(crate) fn interim(&self) -> Option<Rc<Interims>> {
        self.interim.clone()
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.kind {
            Kind::Http1 { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Http2(body) => body.poll(cx),
            Kind::Connect => Poll::Ready(None),
            Kind::Scripted(script) => script.as_mut().poll_frame(cx),
        };
        if let (Some(count), Poll::Ready(Some(Ok(frame)))) = (&self.count, &polled) {
            count.set(count.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Http1 { body, .. } => body.is_end_stream(),
            Kind::Http2(body) => body.has_ended(),
            Kind::Connect => true,
            Kind::Scripted(script) => script.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Http1 { body, .. } => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
            Kind::Connect => SizeHint::with_exact(0),
            Kind::Scripted(script) => script.size_hint(),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}
