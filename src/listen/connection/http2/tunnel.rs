//! A stream as bytes: what follows a CONNECT (RFC 9113 section 8.5) or an extended one (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::state::InProgress;

/// The most that is handed over at once.
const MAX_CHUNK: usize = 16 * 1024;

/// A tunnel over one stream of a caller's connection, which it keeps busy.
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Taken from the stream and not yet by the reader.
    read: Bytes,
    _in_progress: InProgress,
}

impl Tunnel {
    pub(super) const fn new(send: SendStream<Bytes>, recv: RecvStream, in_progress: InProgress) -> Self {
        Self { send, recv, read: Bytes::new(), _in_progress: in_progress }
    }
}

fn reset(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(data) => this.read = data.map_err(reset)?,
                None if this.recv.is_end_stream() => return Poll::Ready(Ok(())),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let piece = this.read.len().min(buf.remaining());
        buf.put_slice(&this.read[..piece]);
        this.read.advance(piece);
        // It fails on a stream that has ended, where no more comes.
        let _ended = this.recv.flow_control().release_capacity(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(bytes.len().min(MAX_CHUNK));
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(granted) => {
                    granted.map_err(reset)?;
                }
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let piece = bytes.len().min(this.send.capacity());
        this.send.send_data(Bytes::copy_from_slice(&bytes[..piece]), false).map_err(reset)?;
        Poll::Ready(Ok(piece))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is left to be said on a stream that has ended already.
        let _ended = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}
