//! What a caller begins to speak inside of a tunnel, told by its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// The first word of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// A TLS record with a handshake message in it (RFC 8446 section 5.1).
    Tls,
    /// A request line of HTTP/1, or the preface of HTTP/2.
    Http,
    /// Something else.
    Other,
}

/// The longest method that is waited for; no registered one is nearly as long.
const MAX_METHOD: usize = 24;

/// Tells what these first bytes belong to; `None` as long as they could become several things.
#[must_use]
pub(crate) fn spoken(bytes: &[u8]) -> Option<Spoken> {
    match bytes {
        [] | [0x16] => None,
        // Handshake records say version 3.x, whatever is agreed on later.
        [0x16, 0x03, ..] => Some(Spoken::Tls),
        _ => request_line(bytes),
    }
}

/// A method, a space, and the beginning of a target: a path, `*`, or a URI of http. HTTP/2's preface has the same form.
fn request_line(bytes: &[u8]) -> Option<Spoken> {
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
    let method = bytes.iter().take_while(|byte| is_method(byte)).count();
    if method > MAX_METHOD {
        return Some(Spoken::Other);
    }
    match &bytes[method..] {
        [] => None,
        [b' ', target @ ..] if method > 0 => target_begins(target),
        _ => Some(Spoken::Other),
    }
}

fn target_begins(target: &[u8]) -> Option<Spoken> {
    const SCHEME: &[u8] = b"http";
    let begun = &target[..target.len().min(SCHEME.len())];
    match target {
        [] => None,
        [b'/' | b'*', ..] => Some(Spoken::Http),
        _ if begun.len() == SCHEME.len() && begun.eq_ignore_ascii_case(SCHEME) => Some(Spoken::Http),
        _ if SCHEME[..begun.len()].eq_ignore_ascii_case(begun) => None,
        _ => Some(Spoken::Other),
    }
}

/// Who spoke first in a tunnel.
#[derive(Debug)]
pub(in crate::proxy) enum First {
    /// The caller; its bytes are in its prefix.
    Caller(Spoken),
    /// The server: no protocol that a token goes into begins so.
    Server(BytesMut),
    /// Nobody any more.
    Nobody,
}

/// Reads until it is clear what the caller speaks, or the server has spoken first. Can be dropped and begun again: what was
/// read stays in `prefix`.
pub(in crate::proxy) async fn first<C, S>(caller: &mut C, prefix: &mut BytesMut, server: Option<&mut S>) -> First
where
    C: AsyncRead + Unpin,
    S: AsyncRead + Unpin,
{
    let caller_speaks = async {
        loop {
            if let Some(spoken) = spoken(prefix) {
                return First::Caller(spoken);
            }
            match caller.read_buf(prefix).await {
                Ok(0) | Err(_) if prefix.is_empty() => return First::Nobody,
                Ok(0) | Err(_) => return First::Caller(Spoken::Other),
                Ok(_) => {}
            }
        }
    };
    let Some(server) = server else { return caller_speaks.await };
    let mut bytes = BytesMut::new();
    tokio::select! {
        biased;
        first = caller_speaks => first,
        read = server.read_buf(&mut bytes) => match read {
            Ok(1..) => First::Server(bytes),
            Ok(0) | Err(_) => First::Nobody,
        },
    }
}

/// A stream that gives these bytes again before it goes on.
#[derive(Debug)]
pub(in crate::proxy) struct Prefixed<S> {
    prefix: BytesMut,
    inner: S,
}

impl<S> Prefixed<S> {
    pub(in crate::proxy) const fn new(prefix: BytesMut, inner: S) -> Self {
        Self { prefix, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let taken = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..taken]);
        self.prefix.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_tls_http_and_the_rest_apart() {
        let tls = [0x16, 0x03, 0x01, 0x02, 0x00];
        assert_eq!(spoken(&tls), Some(Spoken::Tls));
        for http in ["GET / HTTP/1.1", "M-SEARCH *", "OPTIONS * ", "GET http://a/", "get", "PRI * HTTP/2.0"] {
            let expected = if http == "get" { Some(Spoken::Other) } else { Some(Spoken::Http) };
            assert_eq!(spoken(http.as_bytes()), expected, "{http}");
        }
        for other in ["SSH-2.0-OpenSSH_9.2\r\n", "EHLO host", "\0\0", " / ", "\r\n", "A GET", "\x16\x04", "* OK IMAP"] {
            assert_eq!(spoken(other.as_bytes()), Some(Spoken::Other), "{other:?}");
        }
        assert_eq!(spoken(&[b'A'; MAX_METHOD + 1]), Some(Spoken::Other));
    }

    #[test]
    fn every_beginning_of_a_first_word_waits_for_the_rest() {
        for whole in [&b"DELETE http"[..], &[0x16, 0x03], b"PRI *", b"GET /"] {
            for end in 0..whole.len() {
                assert_eq!(spoken(&whole[..end]), None, "{:?}", &whole[..end]);
            }
            assert!(spoken(whole).is_some());
        }
    }

    proptest::proptest! {
        #[test]
        fn what_has_been_told_stays_told_whatever_follows(bytes: Vec<u8>, more: Vec<u8>) {
            if let Some(told) = spoken(&bytes) {
                let longer = [bytes, more].concat();
                proptest::prop_assert_eq!(spoken(&longer), Some(told));
            }
        }

        #[test]
        fn a_bound_number_of_bytes_tells(bytes in proptest::collection::vec(proptest::num::u8::ANY, MAX_METHOD + 6..64)) {
            proptest::prop_assert!(spoken(&bytes).is_some());
        }
    }

    #[tokio::test]
    async fn bytes_that_were_read_come_again_before_the_rest() {
        let (mut near, far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut near, b"cd").await.unwrap();
        drop(near);
        let mut read = String::new();
        Prefixed::new(BytesMut::from("ab"), far).read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "abcd");
    }
}
