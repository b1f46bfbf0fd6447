//! The request on its way out: head, body, and the frame around it.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body;
use tokio::io::AsyncWrite as _;

use super::fault::Fault;
use crate::upstream::connect::Stream;
use crate::upstream::head::OutboundHead;
use crate::upstream::outgoing::{BodyError, Outgoing};

/// The state of one request, and the buffer that its head and chunk sizes are written into.
pub(super) struct Writer<B> {
    /// Not one byte has left: the request can still go elsewhere.
    unbegun: bool,
    body: Option<Outgoing<B>>,
    frame: BodyFrame,
    /// The body has said that it is over.
    ended: bool,
    /// What goes out before `data`.
    text: BytesMut,
    data: Bytes,
    /// What goes out behind `data`.
    tail: &'static [u8],
    needs_flush: bool,
    names: Names,
}

/// How names of fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// In small letters, as they are inside and in HTTP/2.
    Small,
    /// `Content-Type`.
    TitleCase,
}

/// How the body says where it ends (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFrame {
    /// None, or all of it is out.
    Done,
    Length(u64),
    Chunked,
}

impl<B> Writer<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    pub(super) fn idle(names: Names) -> Self {
        Self {
            unbegun: false,
            body: None,
            frame: BodyFrame::Done,
            ended: false,
            text: BytesMut::new(),
            data: Bytes::new(),
            tail: &[],
            needs_flush: false,
            names,
        }
    }

    pub(super) fn begin(&mut self, head: OutboundHead<'_>, host: &HeaderValue, body: Outgoing<B>) {
        self.text.clear();
        self.data = Bytes::new();
        self.tail = &[];
        self.frame = frame(&head.head.headers, &body);
        write_head(&mut Fields { out: &mut self.text, names: self.names }, head, host, self.frame);
        self.ended = false;
        self.unbegun = true;
        self.body = Some(body);
    }

    /// The body, if not one byte of the request has left. A first piece of it that was read goes back to the front.
    pub(super) fn take_unbegun(&mut self) -> Option<Outgoing<B>> {
        if self.ended || !self.unbegun {
            return None;
        }
        self.body.take().map(|body| body.with_first(std::mem::take(&mut self.data)))
    }

    /// True once all of the request is out.
    pub(super) fn is_done(&self) -> bool {
        self.frame == BodyFrame::Done && self.is_written() && !self.needs_flush
    }

    /// Nothing more is sent: the response is all that matters.
    pub(super) fn give_up(&mut self) {
        self.frame = BodyFrame::Done;
        self.forget();
        self.needs_flush = false;
    }

    /// Drops what is left in buffers.
    pub(super) fn forget(&mut self) {
        self.unbegun = false;
        self.body = None;
        self.text.clear();
        self.data = Bytes::new();
        self.tail = &[];
    }

    fn is_written(&self) -> bool {
        self.text.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Writes what can be written. `Ready(Ok)` once all of the request is out.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            // The first piece of a body that is there already goes out with the head, in one write.
            let waiting = self.data.is_empty() && self.tail.is_empty() && self.frame != BodyFrame::Done;
            let starved = waiting && self.poll_piece(cx)?.is_pending();
            if !self.is_written() {
                ready!(self.poll_write(stream, cx)).map_err(Fault::Ended)?;
            }
            if self.is_written() && self.needs_flush {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Fault::Ended)?;
                self.needs_flush = false;
            }
            if self.frame == BodyFrame::Done && self.is_written() {
                self.body = None;
                return Poll::Ready(Ok(()));
            }
            if starved {
                return Poll::Pending;
            }
        }
    }

    /// Takes the next piece of the body and frames it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        let Some(body) = &mut self.body else { return Ok(Poll::Ready(())) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(Poll::Pending) };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.frame_data(data)?,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.end(&trailers)?;
                }
            },
            Some(Err(error)) => return Err(Fault::Body(error)),
            None => self.end(&HeaderMap::new())?,
        }
        Ok(Poll::Ready(()))
    }

    fn frame_data(&mut self, data: Bytes) -> Result<(), Fault> {
        match &mut self.frame {
            BodyFrame::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| wrong_length("longer"))?;
                self.data = data;
                if *left == 0 {
                    // The length is reached; whatever follows would belong to no request.
                    self.frame = BodyFrame::Done;
                }
            }
            // An empty piece must not become the last chunk.
            BodyFrame::Chunked if data.is_empty() => {}
            BodyFrame::Chunked => {
                // Writing to a buffer does not fail.
                let _written = write!(self.text, "{:x}\r\n", data.len());
                self.data = data;
                self.tail = b"\r\n";
            }
            BodyFrame::Done => {}
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), Fault> {
        match self.frame {
            BodyFrame::Length(left) if left > 0 => return Err(wrong_length("shorter")),
            BodyFrame::Chunked => {
                self.text.extend_from_slice(b"0\r\n");
                let mut fields = Fields { out: &mut self.text, names: self.names };
                for (name, value) in trailers {
                    fields.write(name.as_str(), value.as_bytes());
                }
                self.text.extend_from_slice(b"\r\n");
            }
            BodyFrame::Length(_) | BodyFrame::Done => {}
        }
        self.frame = BodyFrame::Done;
        self.ended = true;
        Ok(())
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let stream = Pin::new(&mut *stream);
            let mut written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(stream.poll_write(cx, &self.text))?
            } else {
                let slices = [IoSlice::new(&self.text), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unbegun = false;
            self.needs_flush = true;
            let text = written.min(self.text.len());
            self.text.advance(text);
            written -= text;
            let data = written.min(self.data.len());
            self.data.advance(data);
            self.tail = &self.tail[written - data..];
        }
        self.data = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

/// The framing that the head announces. A body without a length is chunked. Both fields are written here alone, so that
/// they say what is done.
fn frame<B: Body>(headers: &HeaderMap, body: &Outgoing<B>) -> BodyFrame
where
    Outgoing<B>: Body,
{
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
    match length {
        Some(0) => BodyFrame::Done,
        Some(length) => BodyFrame::Length(length),
        None if body.is_end_stream() => BodyFrame::Done,
        None => BodyFrame::Chunked,
    }
}

/// Request line and fields (RFC 9112 sections 3 and 5), always 1.1, whatever the caller spoke (RFC 9110 section 2.5).
/// Everything here is of a type that has been checked: no value can hold a line break.
fn write_head(fields: &mut Fields<'_>, outbound: OutboundHead<'_>, host: &HeaderValue, frame: BodyFrame) {
    let OutboundHead { head, path, .. } = outbound;
    let target = path.or_else(|| head.uri.path_and_query()).map_or("/", http::uri::PathAndQuery::as_str);
    let out = &mut *fields.out;
    out.reserve(512);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    if target.starts_with('?') {
        // `http://host?query` asks for the root (RFC 9112 section 3.2.1).
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // RFC 9112 section 3.2: Host is generated from the target, and comes first.
    fields.write(HOST.as_str(), host.as_bytes());
    let (mut has_length, mut has_te) = (false, false);
    for (name, value) in &head.headers {
        if *name == HOST || outbound.replaces(name) {
            continue;
        }
        if *name == CONTENT_LENGTH {
            has_length = true;
            continue;
        }
        has_te |= *name == TE;
        fields.write(name.as_str(), value.as_bytes());
    }
    for (name, value) in outbound.put_on() {
        fields.write(name.as_str(), value.as_bytes());
    }
    if has_te {
        // `TE` is for this connection only and says so (RFC 9110 section 10.1.4), beside an upgrade if there is one.
        fields.write("connection", b"te");
    }
    // RFC 9110 section 8.6: these methods say that they have none.
    let says_none = has_length || matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    match frame {
        BodyFrame::Length(length) => {
            fields.name(CONTENT_LENGTH.as_str());
            // Writing to a buffer does not fail.
            let _written = write!(fields.out, "{length}\r\n");
        }
        BodyFrame::Chunked => fields.write(TRANSFER_ENCODING.as_str(), b"chunked"),
        BodyFrame::Done if says_none => fields.write(CONTENT_LENGTH.as_str(), b"0"),
        BodyFrame::Done => {}
    }
    fields.out.extend_from_slice(b"\r\n");
}

/// Fields on their way into the buffer.
struct Fields<'o> {
    out: &'o mut BytesMut,
    names: Names,
}

impl Fields<'_> {
    fn write(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// With its colon.
    fn name(&mut self, name: &str) {
        let from = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        if self.names == Names::TitleCase {
            let mut first = true;
            for byte in &mut self.out[from..] {
                if first {
                    byte.make_ascii_uppercase();
                }
                first = *byte == b'-';
            }
        }
        self.out.extend_from_slice(b": ");
    }
}

fn wrong_length(how: &str) -> Fault {
    Fault::Body(format!("the request body is {how} than its Content-Length").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::uri::PathAndQuery;

    #[test]
    fn two_fields_and_a_path_of_our_own_take_the_place_of_the_callers() {
        let (token, proof) = (HeaderName::from_static("authorization"), HeaderName::from_static("dpop"));
        let request = http::Request::get("/theirs?x").header(&token, "theirs").header(&proof, "theirs");
        let (head, ()) = request.header(&proof, "again").header("accept", "*/*").body(()).unwrap().into_parts();
        let (path, ours) = (PathAndQuery::from_static("/ours?y"), HeaderValue::from_static("ours"));
        let outbound = OutboundHead {
            head: &head,
            path: Some(&path),
            authorization: [Some((&token, &ours)), Some((&proof, &ours))],
            ..OutboundHead::plain(&head)
        };
        let written = |names| {
            let mut out = BytesMut::new();
            let mut fields = Fields { out: &mut out, names };
            write_head(&mut fields, outbound, &HeaderValue::from_static("api.test"), BodyFrame::Done);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let expected =
            "GET /ours?y HTTP/1.1\r\nhost: api.test\r\naccept: */*\r\nauthorization: ours\r\ndpop: ours\r\n\r\n";
        assert_eq!(written(Names::Small), expected);
        let expected =
            "GET /ours?y HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\nAuthorization: ours\r\nDpop: ours\r\n\r\n";
        assert_eq!(written(Names::TitleCase), expected);
    }
}
