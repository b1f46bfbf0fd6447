//! An HTTP/1 connection between its requests: when nothing has been asked for a while, what serves it is taken apart and its
//! stream alone is kept. From the next byte on it is served anew.
//!
//! hyper keeps buffers of 16 KiB for each connection, whether it speaks or not, and most connections are idle.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::drive::Served;
use super::state::ConnectionState;
use crate::listen::settings::Limits;
use crate::timer::TICK;

/// What a parked connection reads at first: most heads as a whole. It is on the stack, so it costs nothing until then.
const FIRST_BYTES: usize = 1024;

/// So many connections of a worker may keep their buffers while they are idle; the others are parked at the next tick, so that
/// thousands that come together do not take what they give back a second later, and callers that ask again at once are not parked.
const MAY_IDLE: usize = 256;

thread_local! {
    /// Connections of this worker that are served, idle or not.
    static SERVED: Cell<usize> = const { Cell::new(0) };
}

/// What serves a connection over `S`, and gives that back.
pub(super) trait TakenApart<S>: Served {
    /// The stream, and what has been read of it and not used. `None` if it speaks another protocol by now.
    fn into_stream(self) -> Option<(S, Bytes)>;
}

/// A connection over `S`, served by what `serve` makes of it and of the bytes that have been read already.
pub(super) struct Parking<S, C, F> {
    at: At<S, C>,
    serve: F,
    state: Arc<ConnectionState>,
}

enum At<S, C> {
    Served(Counted<C>),
    /// Waiting for a byte.
    Parked(S),
    Ending(S),
    Ended,
}

impl<S, C, F> Parking<S, C, F>
where
    F: FnMut(S, Bytes) -> C,
{
    /// Served from the beginning.
    pub(super) fn new(stream: S, first: Bytes, mut serve: F, state: Arc<ConnectionState>) -> Self {
        Self { at: At::Served(Counted::new(serve(stream, first))), serve, state }
    }

    fn serve(&mut self, stream: S, first: Bytes) {
        self.at = At::Served(Counted::new((self.serve)(stream, first)));
    }
}

impl<S, C, F> Future for Parking<S, C, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: TakenApart<S> + Unpin,
    F: FnMut(S, Bytes) -> C + Unpin,
{
    type Output = Result<(), Error<C::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let At::Parked(stream) = &mut this.at {
            let mut bytes = [MaybeUninit::uninit(); FIRST_BYTES];
            let mut read = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(stream).poll_read(cx, &mut read)).map_err(Error::Parked)?;
            if read.filled().is_empty() {
                this.end();
            } else if let At::Parked(stream) = std::mem::replace(&mut this.at, At::Ended) {
                // The head's time begins.
                this.state.note_read(true);
                this.serve(stream, Bytes::copy_from_slice(read.filled()));
            }
        }
        match &mut this.at {
            At::Served(served) => Pin::new(&mut *served.0).poll(cx).map_err(Error::Served),
            At::Ending(stream) => Pin::new(stream).poll_shutdown(cx).map_err(Error::Parked),
            At::Parked(_) | At::Ended => Poll::Ready(Ok(())),
        }
    }
}

impl<S, C, F> Parking<S, C, F> {
    fn end(&mut self) {
        self.at = match std::mem::replace(&mut self.at, At::Ended) {
            At::Parked(stream) => At::Ending(stream),
            other => other,
        };
    }
}

impl<S, C, F> Served for Parking<S, C, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: TakenApart<S> + Unpin,
    F: FnMut(S, Bytes) -> C + Unpin,
{
    type Error = Error<C::Error>;

    fn finish(mut self: Pin<&mut Self>) {
        match &mut self.at {
            At::Served(served) => Pin::new(&mut *served.0).finish(),
            _ => self.end(),
        }
    }

    fn parks_after(&self, limits: &Limits) -> Option<Duration> {
        let At::Served(_) = self.at else { return None };
        Some(if SERVED.get() > MAY_IDLE { limits.parks_after.min(TICK) } else { limits.parks_after })
    }

    fn park(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        if !this.state.is_at_rest() {
            return;
        }
        match std::mem::replace(&mut this.at, At::Ended) {
            At::Served(served) => {
                let Some((stream, first)) = served.0.into_stream() else { return };
                // Between messages, so this is where the next one begins, but for empty lines before it (RFC 9112 section 2.2).
                match first.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) {
                    Some(begins) => this.serve(stream, first.slice(begins..)),
                    None => this.at = At::Parked(stream),
                }
            }
            other => this.at = other,
        }
    }
}

/// Boxed, so that a parked connection has no room for it.
struct Counted<C>(Box<C>, Count);

impl<C> Counted<C> {
    fn new(served: C) -> Self {
        Self(Box::new(served), Count::one())
    }
}

/// One of those that are served.
struct Count;

impl Count {
    fn one() -> Self {
        SERVED.set(SERVED.get() + 1);
        Self
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // `try_with`: a task may be dropped while its thread ends.
        let _destroyed = SERVED.try_with(|served| served.set(served.get() - 1));
    }
}

/// Why a connection broke off.
pub(super) enum Error<E> {
    Served(E),
    Parked(io::Error),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served(error) => error.fmt(f),
            Self::Parked(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
#[path = "parking_tests.rs"]
mod tests;
