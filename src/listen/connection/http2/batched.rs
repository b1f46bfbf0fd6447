//! What a connection has to say, in as few writes as possible. h2 writes each DATA frame of some size by itself; here it is copied
//! behind what waits already, and leaves when the connection's task has nothing more to add.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may wait. Beyond this a write goes out with what waits, without being copied.
const MAX_WAITING: usize = 32 * 1024;

/// Buffers that a worker keeps for what waits next. A connection has one only while something waits.
const MAX_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A stream whose writes wait for [`Batch::poll_flush`].
pub(super) struct Batched<S>(Rc<RefCell<Inner<S>>>);

/// Lets what waits go out.
pub(super) struct Batch<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    /// What waits, behind what has been written of it.
    buffer: Vec<u8>,
    written: usize,
    /// The stream has taken bytes that it may keep until it is flushed, as TLS does.
    unflushed: bool,
}

/// Both ends of one stream.
pub(super) fn batched<S>(stream: S) -> (Batched<S>, Batch<S>) {
    let inner = Rc::new(RefCell::new(Inner { stream, buffer: Vec::new(), written: 0, unflushed: false }));
    (Batched(Rc::clone(&inner)), Batch(inner))
}

impl<S> Batch<S> {
    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.borrow().waiting().len()
    }
}

impl<S: AsyncWrite + Unpin> Batch<S> {
    /// Ready when nothing waits any more, here or in the stream.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_waiting(cx))?;
        if inner.unflushed {
            ready!(Pin::new(&mut inner.stream).poll_flush(cx))?;
            inner.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Inner<S> {
    fn waiting(&self) -> &[u8] {
        &self.buffer[self.written..]
    }

    fn add(&mut self, slices: &[IoSlice<'_>]) {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MAX_WAITING));
        }
        for slice in slices {
            self.buffer.extend_from_slice(slice);
        }
    }

    fn take(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        if self.waiting().is_empty() {
            self.written = 0;
            let mut spare = std::mem::take(&mut self.buffer);
            spare.clear();
            SPARE.with_borrow_mut(|kept| {
                if kept.len() < MAX_SPARE {
                    kept.push(spare);
                }
            });
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting().is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer[self.written..]))?;
            self.unflushed = true;
            self.take(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits and these, in their order; how much of these has gone out.
    fn poll_write_all(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while !self.waiting().is_empty() {
            // Two slices at a time are what h2 writes: a frame's head and what is in it.
            let mut all = [IoSlice::new(&[]); 3];
            all[0] = IoSlice::new(&self.buffer[self.written..]);
            let more = slices.len().min(2);
            all[1..=more].copy_from_slice(&slices[..more]);
            let waiting = self.waiting().len();
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all[..=more]))?;
            self.unflushed = true;
            let of_these = written.saturating_sub(waiting);
            self.take(written - of_these)?;
            if of_these > 0 {
                return Poll::Ready(Ok(of_these));
            }
        }
        self.unflushed = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Batched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if inner.buffer.len() + length > MAX_WAITING {
            return inner.poll_write_all(cx, slices);
        }
        inner.add(slices);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes behind each frame that it does not copy; what waits goes out once the connection has been polled, and the stream is
    /// flushed then.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_waiting(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes so much at a time, and now and then nothing. Keeps all of it until it is flushed, which takes a while now and then.
    struct Narrow {
        kept: Vec<u8>,
        taken: Vec<u8>,
        room: Vec<usize>,
        later: Vec<bool>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let room = self.room.pop().unwrap_or(usize::MAX).min(bytes.len());
            if room == 0 && !bytes.is_empty() {
                return Poll::Pending;
            }
            self.kept.extend_from_slice(&bytes[..room]);
            Poll::Ready(Ok(room))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.later.pop().unwrap_or(false) {
                return Poll::Pending;
            }
            let kept = std::mem::take(&mut self.kept);
            self.taken.extend(kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn every_byte_goes_out_once_and_in_its_order(
            writes in proptest::collection::vec((0_usize..40_000, 0_usize..40_000, any::<bool>()), 1..20),
            room in proptest::collection::vec(prop_oneof![Just(0), 1_usize..50_000], 0..60),
            later in proptest::collection::vec(any::<bool>(), 0..20),
        ) {
            let (mut batched, batch) = batched(Narrow { kept: Vec::new(), taken: Vec::new(), room, later });
            let mut cx = Context::from_waker(Waker::noop());
            let (mut expected, mut next) = (Vec::new(), 0_u8);
            for (first, second, flush) in writes {
                let mut bytes = |count: usize| -> Vec<u8> {
                    (0..count).map(|_| { next = next.wrapping_add(1); next }).collect()
                };
                let (first, second) = (bytes(first), bytes(second));
                let all = [first.clone(), second.clone()].concat();
                let mut sent = 0;
                // What was not taken is written again, as h2 does.
                while sent < all.len() {
                    let (a, b) = (&first[sent.min(first.len())..], &second[sent.saturating_sub(first.len())..]);
                    let slices = [IoSlice::new(a), IoSlice::new(b)];
                    if let Poll::Ready(taken) = Pin::new(&mut batched).poll_write_vectored(&mut cx, &slices) {
                        sent += taken.unwrap();
                    }
                }
                expected.extend(all);
                if flush {
                    let _later = batch.poll_flush(&mut cx);
                }
            }
            while batch.poll_flush(&mut cx).is_pending() {}
            prop_assert!(batch.0.borrow().stream.taken == expected);
        }
    }
}
