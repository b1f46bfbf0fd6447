//! A body that goes out.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way, as fast as the other side takes it. Its owner drives it.
pub(crate) struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// What has been taken from the body and has not gone out.
    piece: Bytes,
    last: bool,
    /// Pieces that have gone out: signs of life.
    pieces: u64,
}

impl<B> Sending<B> {
    /// How many pieces have gone out.
    #[must_use]
    pub(crate) const fn pieces(&self) -> u64 {
        self.pieces
    }

    /// True while the next piece waits for room, and not for the body.
    #[must_use]
    pub(crate) const fn is_blocked(&self) -> bool {
        !self.piece.is_empty()
    }
}

/// Why a body did not get out whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// The other side does not want any more of it.
    #[error("the stream was reset: {0}")]
    Reset(Reason),
    /// The connection is gone.
    #[error("{0}")]
    Connection(#[from] h2::Error),
    /// The body itself broke off.
    #[error("the body broke off: {0}")]
    Body(#[source] Error),
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes, Error: Into<Error>> + Unpin,
{
    /// Nothing is sent yet.
    #[must_use]
    pub(crate) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Self { stream, body, piece: Bytes::new(), last: false, pieces: 0 }
    }

    /// Ends it in the middle: nobody takes it for a whole one.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Sends what can be sent; ready once all of it has gone out.
    ///
    /// # Errors
    /// [`Stopped`]. A body that broke off resets the stream.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            while !self.piece.is_empty() {
                let room = ready!(self.poll_room(cx))?;
                let piece = self.piece.split_to(self.piece.len().min(room));
                let ends = self.last && self.piece.is_empty();
                self.stream.send_data(piece, ends)?;
                self.pieces += 1;
                if ends {
                    return Poll::Ready(Ok(()));
                }
            }
            if let Poll::Ready(reason) = self.stream.poll_reset(cx)? {
                return Poll::Ready(Err(Stopped::Reset(reason)));
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(Ok(self.stream.send_data(Bytes::new(), true)?));
            };
            let frame = frame.map_err(|error| {
                self.stream.send_reset(Reason::INTERNAL_ERROR);
                Stopped::Body(error.into())
            })?;
            match frame.into_data() {
                Ok(data) => {
                    self.last = self.body.is_end_stream();
                    if data.is_empty() && self.last {
                        return Poll::Ready(Ok(self.stream.send_data(data, true)?));
                    }
                    self.piece = data;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(Ok(self.stream.send_trailers(trailers)?));
                    }
                }
            }
        }
    }

    /// As much as the other side has room for, so that each piece that gets out is a sign of life.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
        // Only with the data in hand: room that is held for nothing is missing on the other streams of the connection.
        self.stream.reserve_capacity(self.piece.len());
        loop {
            if self.stream.capacity() > 0 {
                return Poll::Ready(Ok(self.stream.capacity()));
            }
            if let Poll::Ready(reason) = self.stream.poll_reset(cx)? {
                return Poll::Ready(Err(Stopped::Reset(reason)));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(granted) => {
                    granted?;
                }
                None => return Poll::Ready(Err(Stopped::Reset(Reason::NO_ERROR))),
            }
        }
    }
}

impl<B> std::fmt::Debug for Sending<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
