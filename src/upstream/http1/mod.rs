//! The HTTP/1.1 sender: one connection, one exchange at a time, driven by the request that uses it.
//!
//! There is no task for a connection and no channel to it. The future that waits for the response writes the request, and
//! the reader of the response body goes on writing what is left of the request body: both directions move whenever the one
//! who is interested is polled. Between two requests a connection is just a value in the pool.
//!
//! What is read from an upstream is read strictly ([`head`], [`framing`]): a message whose end is in doubt is an error and
//! never a guess, and a connection is used again only where both messages have ended for certain (RFC 9112 section 9.3).

mod fault;
mod framing;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod head;
mod writer;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Response};
use http_body::{Body, Frame};

use super::connect::Stream;
use super::head::OutboundHead;
use super::outgoing::{BodyError, Outgoing};
use crate::interim::{self, Interims};
use crate::tls::{Keys, refused_identity};
use framing::{Decoded, Framing};
use writer::{Names, Writer};

pub(super) use fault::Fault;

/// The first read buffer, and the largest that a fast upstream makes it grow to.
const MIN_READ: usize = 8 * 1024;
const MAX_READ: usize = 128 * 1024;

/// A response head above this is refused.
const MAX_HEAD: usize = 64 * 1024;

pub(super) struct Connection<B> {
    stream: Stream,
    read: BytesMut,
    /// How much room the next read is given; grows while reads fill it.
    room: usize,
    writer: Writer<B>,
    /// The response to HEAD has no body, whatever it says.
    head_request: bool,
    response: Framing,
    /// Both sides are willing to use the connection again.
    persistent: bool,
    /// Something of this exchange's response has arrived.
    answered: bool,
    /// Where interim answers go.
    interim: Option<Rc<Interims>>,
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    /// A fresh connection, on which names of fields go out as they are or in Title-Case.
    pub(super) fn new(stream: Stream, title_case: bool) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            room: MIN_READ,
            writer: Writer::idle(if title_case { Names::TitleCase } else { Names::Small }),
            head_request: false,
            response: Framing::Empty,
            persistent: true,
            answered: false,
            interim: None,
        }
    }

    /// Takes a request on. Nothing is written yet.
    pub(super) fn begin(&mut self, head: OutboundHead<'_>, host: &HeaderValue, body: Outgoing<B>) {
        self.answered = false;
        self.head_request = head.head.method == Method::HEAD;
        self.response = Framing::Empty;
        self.interim = head.interim.cloned();
        self.writer.begin(head, host, body);
    }

    /// The request's body, if nothing of the request has left.
    pub(super) fn take_unbegun(&mut self) -> Option<Outgoing<B>> {
        self.writer.take_unbegun()
    }

    /// True if not one byte of a response has come.
    pub(super) const fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// Writes the request and waits for the final response head. Interim responses are handed on (RFC 9110 section
    /// 15.2); a 101 is final.
    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Fault>> {
        let written = match self.writer.poll(&mut self.stream, cx) {
            // An upstream that refuses a body may answer and close before it has read it: its answer counts.
            Poll::Ready(Err(Fault::Ended(error))) => Some(error),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            if let Some(response) = self.parse_head()? {
                return Poll::Ready(Ok(response));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => {
                    let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the upstream closed the connection");
                    return Poll::Ready(Err(Fault::Ended(written.unwrap_or_else(ended))));
                }
                Ok(_) => self.answered = true,
                // What the server said about the client certificate is also why it could not be written to.
                Err(error) => {
                    let fault = refused_identity(&error, &Keys::UPSTREAM).map(Fault::Refused);
                    return Poll::Ready(Err(fault.unwrap_or_else(|| Fault::Ended(written.unwrap_or(error)))));
                }
            }
        }
    }

    /// The next head in the buffer that is final.
    fn parse_head(&mut self) -> Result<Option<Response<()>>, Fault> {
        loop {
            let Some(parsed) = head::parse(&mut self.read, self.head_request)? else {
                if self.read.len() > MAX_HEAD {
                    return Err(Fault::Protocol("its response head is larger than 64 KiB"));
                }
                return Ok(None);
            };
            let status = parsed.response.status();
            if status.is_informational() && status != http::StatusCode::SWITCHING_PROTOCOLS {
                if let (Some(to), Some(answer)) = (&self.interim, interim::passed(parsed.response)) {
                    to.send(answer);
                }
                continue;
            }
            self.interim = None;
            self.persistent = parsed.persistent;
            self.response = parsed.framing;
            return Ok(Some(parsed.response));
        }
    }

    /// The next frame of the response body. The rest of the request goes out meanwhile.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.writer.is_done() && matches!(self.writer.poll(&mut self.stream, cx), Poll::Ready(Err(_))) {
            // The response is what counts now; the connection will not be used again.
            self.writer.give_up();
            self.persistent = false;
        }
        loop {
            match self.response.decode(&mut self.read) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(what) => {
                    self.persistent = false;
                    return Poll::Ready(Some(Err(what.into())));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => match self.response.end_of_stream() {
                    Ok(()) => return Poll::Ready(None),
                    Err(what) => {
                        self.persistent = false;
                        return Poll::Ready(Some(Err(what.into())));
                    }
                },
                Ok(_) => {}
                Err(error) => {
                    self.persistent = false;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// The length of the response body that is left, if it is known.
    pub(super) const fn response_length(&self) -> Option<u64> {
        self.response.length()
    }

    /// True if the connection may be used for another request: both messages have ended, and nothing came after the
    /// response (RFC 9112 section 9.2).
    pub(super) fn is_reusable(&self) -> bool {
        self.persistent && self.writer.is_done() && self.response.is_done() && self.read.is_empty()
    }

    /// Prepares for the pool: an idle connection keeps no large buffer.
    pub(super) fn rest(&mut self) {
        self.interim = None;
        self.writer.forget();
        if self.room > MIN_READ {
            self.room = MIN_READ;
            self.read = BytesMut::new();
        }
    }

    /// True if an idle connection still stands: nothing has come, not even its end. Costs a system call only where
    /// something has.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_fill(&mut cx).is_pending()
    }

    /// The stream and what was read too far, after a 101.
    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.read.freeze())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < self.room / 2 {
            self.read.reserve(self.room);
        }
        let before = self.read.len();
        let spare = self.read.capacity() - before;
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read))?;
        if read == spare && self.room < MAX_READ {
            self.room *= 2;
        }
        Poll::Ready(Ok(read))
    }
}
