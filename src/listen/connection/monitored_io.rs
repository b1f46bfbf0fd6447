//! A caller's connection under watch: where it stands, since when, and what it is told when it cannot be served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_meter::FrameMeter;
use super::head_meter::HeadMeter;
use super::state::ConnectionState;
use super::title_case::title_cased;
use crate::listen::unreadable::Unreadable;

/// The connection's bytes, watched. `prefix` holds what was read to find out the protocol.
pub(super) struct MonitoredIo<S> {
    inner: S,
    prefix: Bytes,
    state: Arc<ConnectionState>,
    malformed: fn(Unreadable) -> Bytes,
    /// Interim answers on their way out, ahead of what hyper writes.
    ahead: Bytes,
    /// What is written in place of hyper's own answer.
    instead: Option<Bytes>,
    /// Everything that hyper had to write before has been written.
    flushed: bool,
    meter: Meter,
    /// The last head that came says two things about its body's length.
    two_lengths: bool,
    /// Of what is written in place of hyper's answer.
    title_case: bool,
    reading: Reading,
}

/// What hyper does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It has asked for more, and there was nothing.
    Waits,
    /// It may not have asked behind what it was given.
    Given,
    /// It closes the connection.
    Over,
}

/// Follows what is read.
enum Meter {
    Frames(FrameMeter),
    Heads(HeadMeter),
}

/// In no head, so that hyper refuses what it is put into.
const NOT_HTTP: u8 = 0;

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

impl<S> MonitoredIo<S> {
    pub(super) fn new(
        inner: S,
        prefix: Bytes,
        state: Arc<ConnectionState>,
        http1: bool,
        malformed: fn(Unreadable) -> Bytes,
    ) -> Self {
        let meter = if http1 { Meter::Heads(HeadMeter::new()) } else { Meter::Frames(FrameMeter::new()) };
        Self {
            inner,
            prefix,
            state,
            malformed,
            ahead: Bytes::new(),
            instead: None,
            flushed: true,
            meter,
            two_lengths: false,
            title_case: false,
            reading: Reading::Given,
        }
    }

    /// The stream by itself.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    /// Whether names of fields are written in Title-Case here too.
    pub(super) fn in_title_case(self, title_case: bool) -> Self {
        Self { title_case, ..self }
    }

    const fn is_http1(&self) -> bool {
        matches!(self.meter, Meter::Heads(_))
    }

    fn note_reading(&mut self, reading: Reading) {
        if self.reading != Reading::Over {
            self.reading = reading;
        }
    }

    /// hyper has taken in and written all there is, and waits for the next message.
    fn is_at_rest(&self) -> bool {
        let Meter::Heads(heads) = &self.meter else { return false };
        self.reading == Reading::Waits && self.prefix.is_empty() && heads.is_between_messages(&self.state)
    }

    fn refusal(&self, why: Unreadable) -> Bytes {
        let answer = (self.malformed)(why);
        if self.title_case { title_cased(&answer) } else { answer }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MonitoredIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if !this.prefix.is_empty() {
            let taken = this.prefix.split_to(this.prefix.len().min(buf.remaining()));
            buf.put_slice(&taken);
            this.note_reading(Reading::Given);
            return Poll::Ready(this.metered(buf, before));
        }
        if this.state.is_expired() {
            if this.is_http1() {
                let answer = this.refusal(Unreadable::Status(StatusCode::REQUEST_TIMEOUT));
                // As much as the socket takes at once; the connection ends here either way.
                let _best_effort = Pin::new(&mut this.inner).poll_write(cx, &answer);
            }
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.note_reading(if polled.is_pending() { Reading::Waits } else { Reading::Given });
        if polled.is_ready() {
            this.state.note_read(this.is_http1());
            this.metered(buf, before)?;
        }
        polled
    }
}

impl<S> MonitoredIo<S> {
    /// An error ends the connection, with all its streams. A head that hyper has to refuse is spoiled before it gets there: so
    /// the requests before it are answered, and then it, in hyper's own order.
    fn metered(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let bytes = &mut buf.filled_mut()[before..];
        match &mut self.meter {
            Meter::Frames(frames) => {
                let within = frames.read(bytes);
                self.state.note_head(frames.is_in_head());
                if within { Ok(()) } else { Err(io::Error::other("too many HTTP/2 frames that say nothing")) }
            }
            Meter::Heads(heads) => {
                if let Some(end) = heads.read(bytes, &self.state) {
                    bytes[end] = NOT_HTTP;
                    self.two_lengths = true;
                    // hyper waits for the end of a head before it reads it.
                    let behind = &mut bytes[end + 1..];
                    let over = behind.len().min(END.len());
                    behind[..over].copy_from_slice(&END[..over]);
                    let rest = &END[over..];
                    if rest.len() <= buf.remaining() {
                        buf.put_slice(rest);
                    }
                }
                Ok(())
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> MonitoredIo<S> {
    /// Recognizes hyper's own answer to a head that it cannot read, by its bytes: it is written before any handler has seen the
    /// request, in exactly this form, and hyper has neither a hook for it nor a setting. An answer of the handler's is never taken
    /// for it, since then a request is in progress.
    fn hyper_refusal(&self, bytes: &[u8]) -> Option<Unreadable> {
        if !bytes.starts_with(b"HTTP/1.1 4") || !self.is_http1() || self.state.is_answering() {
            return None;
        }
        let status = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
        let head = bytes.strip_suffix(b"\r\n\r\n")?;
        let Meter::Heads(heads) = &self.meter else { return None };
        let bare = head.windows(17).any(|window| window.eq_ignore_ascii_case(b"content-length: 0"))
            && head.windows(17).any(|window| window.eq_ignore_ascii_case(b"connection: close"))
            && head.split(|byte| *byte == b'\n').count() <= 4;
        let why = match heads.raw_character().filter(|_| status == StatusCode::BAD_REQUEST) {
            _ if self.two_lengths && status == StatusCode::BAD_REQUEST => Unreadable::TwoLengths,
            Some(character) => Unreadable::RawTarget(character),
            None => Unreadable::Status(status),
        };
        bare.then_some(why)
    }

    /// Writes interim answers that have come, if that does not put them into the middle of something: an answer to the request
    /// before may still wait in hyper's buffer. Then they are dropped.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(interim) = self.state.take_interim()
            && self.flushed
            && self.instead.is_none()
        {
            self.ahead = interim;
        }
        while !self.ahead.is_empty() {
            let polled = Pin::new(&mut self.inner).poll_write(cx, &self.ahead);
            self.state.note_blocked(polled.is_pending());
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ahead.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(instead) = &mut self.instead {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            instead.advance(written);
            if instead.is_empty() {
                self.instead = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MonitoredIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.state.note_at_rest(false);
        ready!(this.poll_interim(cx))?;
        if let Some(why) = this.hyper_refusal(bytes) {
            this.state.note_refused(why);
            this.instead = Some(this.refusal(why));
            // Flushed with hyper's flush, or by its shutdown.
            return Poll::Ready(Ok(bytes.len()));
        }
        this.flushed = false;
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.state.note_written(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let [only] = slices
            && this.hyper_refusal(only).is_some()
        {
            return self.poll_write(cx, only);
        }
        this.state.note_at_rest(false);
        ready!(this.poll_interim(cx))?;
        this.flushed = false;
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.state.note_written(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // hyper flushes when it has written all it had.
        this.flushed = true;
        ready!(this.poll_interim(cx))?;
        ready!(this.poll_instead(cx))?;
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        // TLS has taken what the socket has not.
        this.state.note_blocked(polled.is_pending());
        this.state.note_at_rest(polled.is_ready() && this.is_at_rest());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note_reading(Reading::Over);
        self.state.note_at_rest(false);
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
