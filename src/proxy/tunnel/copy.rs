//! Two streams joined: bytes passed both ways until both have ended, one has failed, or nothing has moved for too long.
//!
//! The end of one direction is passed on and the other goes on (half-close). Buffers begin small and grow with what they carry:
//! a download of a gigabyte in pieces of 8 KiB costs twice the processor time of one in pieces of 128 KiB. Most tunnels are idle
//! most of the time: they have none.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timer::{CoarseInstant, Deadline};

/// What a direction begins with, and what it may grow to.
const MIN_BUFFER: usize = 8 * 1024;
const MAX_BUFFER: usize = 128 * 1024;

/// How much is read where there is no buffer yet. It is on the stack.
const FIRST_BYTES: usize = 1024;

/// When nothing has moved for so long, buffers are given back.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Joins two streams.
pub(in crate::proxy) async fn copy_bidirectional<A, B>(mut caller: A, mut upstream: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut deadline = Deadline::at(CoarseInstant::now().after(idle));
    let ended = poll_fn(|cx| {
        let up_done = up.poll(cx, &mut caller, &mut upstream)?.is_ready();
        let down_done = down.poll(cx, &mut upstream, &mut caller)?.is_ready();
        if up_done && down_done {
            return Poll::Ready(Ok(true));
        }
        let moved = up.moved.max(down.moved);
        if up.can_give_back() || down.can_give_back() {
            deadline.move_to(moved.after(idle.min(KEPT_FOR)));
            ready!(deadline.poll(cx));
            up.give_back();
            down.give_back();
        }
        deadline.move_to(moved.after(idle));
        deadline.poll(cx).map(|()| Ok::<_, io::Error>(false))
    });
    match ended.await {
        Ok(true) => {}
        Ok(false) => {
            let idle = humantime::format_duration(idle);
            tracing::debug!(target: "attache::proxy", "tunnel closed: nothing moved for {idle}");
        }
        Err(error) => tracing::debug!(target: "attache::proxy", %error, "tunnel ended"),
    }
}

/// One way through.
#[derive(Debug)]
struct Direction {
    buffer: Vec<u8>,
    /// What of the buffer is read and not written yet.
    from: usize,
    to: usize,
    state: State,
    /// Written since the last flush: a layer of TLS may hold it back.
    unflushed: bool,
    moved: CoarseInstant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reader has ended, and the writer is being told.
    Closing,
    Closed,
}

impl Default for Direction {
    fn default() -> Self {
        Self { buffer: Vec::new(), from: 0, to: 0, state: State::Open, unflushed: false, moved: CoarseInstant::now() }
    }
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.poll_pass(cx, reader, writer) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_pass<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.state == State::Open {
            if self.from == self.to && !self.poll_read(cx, reader)?.is_ready() {
                // Nothing more for now: what was written has to be on its way.
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            ready!(self.poll_write(cx, writer))?;
        }
        if self.state == State::Closing {
            ready!(Pin::new(writer).poll_shutdown(cx))?;
            self.state = State::Closed;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, reader: &mut R) -> io::Result<Poll<()>> {
        let mut first = [MaybeUninit::uninit(); FIRST_BYTES];
        let has_buffer = !self.buffer.is_empty();
        let mut read = if has_buffer { ReadBuf::new(&mut self.buffer) } else { ReadBuf::uninit(&mut first) };
        match Pin::new(reader).poll_read(cx, &mut read) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(result) => result?,
        }
        let filled = read.filled().len();
        if !has_buffer && filled > 0 {
            let mut buffer = vec![0; MIN_BUFFER];
            buffer[..filled].copy_from_slice(read.filled());
            self.buffer = buffer;
        }
        self.moved = CoarseInstant::now();
        if filled == 0 {
            self.state = State::Closing;
        }
        (self.from, self.to) = (0, filled);
        Ok(Poll::Ready(()))
    }

    /// True if there is a buffer with nothing in it.
    const fn can_give_back(&self) -> bool {
        self.from == self.to && !self.buffer.is_empty()
    }

    fn give_back(&mut self) {
        if self.can_give_back() {
            self.buffer = Vec::new();
            (self.from, self.to) = (0, 0);
        }
    }

    /// Writes what was read, to its end. A buffer that was full is larger the next time.
    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        while self.from < self.to {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.buffer[self.from..self.to]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.from += written;
            self.unflushed = true;
            self.moved = CoarseInstant::now();
        }
        if self.to == self.buffer.len() && self.to < MAX_BUFFER {
            self.buffer = vec![0; self.buffer.len() * 2];
            (self.from, self.to) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const IDLE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn much_passes_both_ways_unchanged() {
        let ((mut left, a), (b, mut right)) = (duplex(300_000), duplex(70_000));
        let joined = copy_bidirectional(a, b, IDLE);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let talk = async {
            let (mut left_read, mut left_write) = tokio::io::split(&mut left);
            let (mut right_read, mut right_write) = tokio::io::split(&mut right);
            let (mut there, mut back) = (vec![0; bytes.len()], vec![0; bytes.len()]);
            let all = tokio::join!(
                left_write.write_all(&bytes),
                right_write.write_all(&bytes),
                right_read.read_exact(&mut there),
                left_read.read_exact(&mut back)
            );
            assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
            assert!(there == bytes && back == bytes);
            drop((left, right));
        };
        tokio::join!(joined, talk);
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let ((mut left, a), (b, mut right)) = (duplex(64), duplex(64));
        let talk = async {
            left.write_all(b"question").await.unwrap();
            left.shutdown().await.unwrap();
            let mut asked = String::new();
            right.read_to_string(&mut asked).await.unwrap();
            assert_eq!(asked, "question");
            right.write_all(b"answer").await.unwrap();
            right.shutdown().await.unwrap();
            let mut answered = String::new();
            left.read_to_string(&mut answered).await.unwrap();
            assert_eq!(answered, "answer");
        };
        tokio::join!(copy_bidirectional(a, b, IDLE), talk);
    }

    #[test]
    fn a_buffer_grows_with_what_it_carries_and_not_beyond_its_bound() {
        let mut direction = Direction::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut sizes = Vec::new();
        for _ in 0..7 {
            let mut endless = tokio::io::repeat(7);
            let Ok(Poll::Ready(())) = direction.poll_read(&mut cx, &mut endless) else { panic!("it is always ready") };
            sizes.push(direction.to);
            let Poll::Ready(Ok(())) = direction.poll_write(&mut cx, &mut tokio::io::sink()) else {
                panic!("it takes all")
            };
        }
        assert_eq!(sizes, [FIRST_BYTES, MIN_BUFFER, 16384, 32768, 65536, MAX_BUFFER, MAX_BUFFER]);
    }

    #[tokio::test(start_paused = true)]
    async fn buffers_are_given_back_while_nothing_moves_and_nothing_is_lost() {
        let clock = tokio::spawn(crate::timer::drive());
        tokio::task::yield_now().await;
        let ((mut left, a), (b, mut right)) = (duplex(300_000), duplex(300_000));
        let talk = async {
            for round in 0..3_u8 {
                let bytes = vec![round; 100_000];
                left.write_all(&bytes).await.unwrap();
                right.write_all(b"back").await.unwrap();
                let (mut there, mut back) = (vec![9; bytes.len()], [0; 4]);
                right.read_exact(&mut there).await.unwrap();
                left.read_exact(&mut back).await.unwrap();
                assert!(there == bytes && &back == b"back");
                tokio::time::sleep(KEPT_FOR * 2).await;
            }
            drop((left, right));
        };
        tokio::join!(copy_bidirectional(a, b, IDLE), talk);
        clock.abort();
    }

    #[test]
    fn a_direction_without_bytes_has_no_buffer() {
        let mut direction = Direction::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut near, mut far) = duplex(64);
        let mut sink = tokio::io::sink();
        assert!(direction.poll(&mut cx, &mut far, &mut sink).is_ok() && direction.buffer.capacity() == 0);
        let written = Pin::new(&mut near).poll_write(&mut cx, b"abc");
        assert!(written.is_ready() && direction.poll(&mut cx, &mut far, &mut sink).is_ok());
        assert!(direction.can_give_back());
        direction.give_back();
        assert_eq!((direction.buffer.capacity(), direction.can_give_back()), (0, false));
    }
}
