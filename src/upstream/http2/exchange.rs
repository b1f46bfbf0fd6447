//! One exchange on a stream of HTTP/2, driven by the request that uses it, as over HTTP/1.1: the task that waits for the answer, or
//! reads it, sends what is left of the request.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::streams::Streams;
use crate::http2::{Received, Sending, Stopped};
use crate::interim::{self, Interims};
use crate::upstream::error::{ExchangeError, ExchangeErrorKind};
use crate::upstream::outgoing::{BodyError, Outgoing};

/// A request whose answer has not come.
pub(in crate::upstream) struct Exchange<B> {
    answer: ResponseFuture,
    upload: Upload<B>,
    interim: Option<Rc<Interims>>,
}

/// What is left of a request body, until all of it is out or nobody wants it.
struct Upload<B> {
    sending: Option<Box<Sending<Outgoing<B>>>>,
    /// Of the connection, which is told when it waits for room and when it moves.
    streams: Rc<Streams>,
    /// Pieces that had gone out when it was looked at last.
    pieces: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::upstream) enum Fault {
    /// The stream or the connection ended.
    Ended(h2::Error),
    /// It answered what HTTP/2 does not know.
    Protocol(&'static str),
    /// The caller's body broke off, or does not have the length it was said to have.
    Body(BodyError),
}

impl Fault {
    /// What it says of the request alone.
    pub(in crate::upstream) fn into_error(self, stale: bool) -> ExchangeError {
        match self {
            Self::Ended(error) => ExchangeError::from_h2(&error, stale),
            Self::Protocol(what) => ExchangeError::new(ExchangeErrorKind::HttpProtocolError, what),
            Self::Body(error) => ExchangeError::invalid_body(&*error),
        }
    }
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    /// Puts the request on the connection. The body comes back if that is not possible: nothing of it has left.
    pub(in crate::upstream) fn begin(
        sender: &mut SendRequest<Bytes>,
        request: Request<Outgoing<B>>,
        interim: Option<Rc<Interims>>,
        streams: &Rc<Streams>,
    ) -> Result<Self, Outgoing<B>> {
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        match sender.send_request(Request::from_parts(head, ()), ends) {
            Ok((answer, stream)) => {
                let sending = (!ends).then(|| Box::new(Sending::new(stream, body)));
                let upload = Upload { sending, streams: Rc::clone(streams), pieces: 0 };
                Ok(Self { answer, upload, interim })
            }
            Err(error) => {
                tracing::debug!(target: "attache::upstream", %error, "a request found its connection ended");
                Err(body)
            }
        }
    }

    /// Sends what can be sent, and waits for the answer's head. Interim answers are handed on.
    pub(in crate::upstream) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, Fault>> {
        if let Err(broken) = self.upload.poll(cx) {
            return Poll::Ready(Err(Fault::Body(broken)));
        }
        while let Poll::Ready(Some(Ok(answer))) = self.answer.poll_informational(cx) {
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9113 section 8.6.
                return Poll::Ready(Err(Fault::Protocol("it answered 101, which HTTP/2 does not have")));
            }
            if let (Some(to), Some(answer)) = (&self.interim, interim::passed(answer)) {
                to.send(answer);
            }
        }
        Poll::Ready(ready!(Pin::new(&mut self.answer).poll(cx)).map_err(Fault::Ended))
    }

    /// The body of its answer, which goes on sending what is left of the request.
    pub(in crate::upstream) fn into_answer(self, answer: Response<RecvStream>) -> Response<Answer<B>> {
        let (head, stream) = answer.into_parts();
        let received = Received::new(stream, &head.headers);
        Response::from_parts(head, Answer { received, upload: self.upload })
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let polled = sending.poll(cx);
        if sending.pieces() != self.pieces {
            self.pieces = sending.pieces();
            self.streams.upload_moves();
        }
        match polled {
            Poll::Pending => {
                if sending.is_blocked() {
                    self.streams.upload_waits();
                }
                Ok(())
            }
            // Of a server that wants no more of it the answer says what there is to say.
            Poll::Ready(Ok(()) | Err(Stopped::Reset(_) | Stopped::Connection(_))) => {
                self.sending = None;
                Ok(())
            }
            Poll::Ready(Err(Stopped::Body(broken))) => {
                self.sending = None;
                Err(broken)
            }
        }
    }
}

/// The body of an answer.
pub(in crate::upstream) struct Answer<B> {
    received: Received,
    upload: Upload<B>,
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    /// The next frame. A request body that breaks off now has reset the stream, which ends the answer too.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Err(broken) = self.upload.poll(cx) {
            return Poll::Ready(Some(Err(broken)));
        }
        self.received.poll_frame(cx).map_err(|broken| format!("the upstream broke off its response: {broken}").into())
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}

impl<B> Drop for Upload<B> {
    /// An upload that is given up makes room, or leaves it to the others to find that there is none.
    fn drop(&mut self) {
        if self.sending.as_ref().is_some_and(|sending| sending.is_blocked()) {
            self.streams.upload_moves();
        }
    }
}
