//! A stream from which only so much is taken at a time: an answer without an end would fill the memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Many times what is answered to the largest question, and to all that may be under way.
const MOST: usize = 16 * 1024 * 1024;

/// A stream in both directions.
pub(in crate::store) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// How much may still arrive before something of it has been understood.
#[derive(Debug, Clone)]
pub(in crate::store) struct Allowance(Arc<AtomicUsize>);

/// A stream with an allowance; it breaks when that is used up.
pub(in crate::store) struct Bounded {
    stream: Box<dyn Duplex>,
    allowance: Allowance,
}

impl Allowance {
    pub(in crate::store) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(MOST)))
    }

    /// An answer or a message has been understood.
    pub(in crate::store) fn renew(&self) {
        self.0.store(MOST, Ordering::Relaxed);
    }

    /// Takes from it; false if there is not so much left.
    fn take(&self, amount: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).is_ok()
    }
}

impl Bounded {
    pub(in crate::store) fn new(stream: Box<dyn Duplex>, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.allowance.take(buf.filled().len() - before) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an answer without an end")))
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
