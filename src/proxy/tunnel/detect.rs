//! What a caller begins to speak inside of a tunnel, told by its first bytes.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first word of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DetectedProtocol {
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
pub(crate) fn detect(bytes: &[u8]) -> Option<DetectedProtocol> {
    match bytes {
        [] | [0x16] => None,
        // Handshake records say version 3.x, whatever is agreed on later.
        [0x16, 0x03, ..] => Some(DetectedProtocol::Tls),
        _ => request_line(bytes),
    }
}

/// A method, a space, and the beginning of a target: a path, `*`, or a URI of http. HTTP/2's preface has the same form.
fn request_line(bytes: &[u8]) -> Option<DetectedProtocol> {
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
    let method = bytes.iter().take_while(|byte| is_method(byte)).count();
    if method > MAX_METHOD {
        return Some(DetectedProtocol::Other);
    }
    match &bytes[method..] {
        [] => None,
        [b' ', target @ ..] if method > 0 => target_begins(target),
        _ => Some(DetectedProtocol::Other),
    }
}

fn target_begins(target: &[u8]) -> Option<DetectedProtocol> {
    const SCHEME: &[u8] = b"http";
    let begun = &target[..target.len().min(SCHEME.len())];
    match target {
        [] => None,
        [b'/' | b'*', ..] => Some(DetectedProtocol::Http),
        _ if begun.len() == SCHEME.len() && begun.eq_ignore_ascii_case(SCHEME) => Some(DetectedProtocol::Http),
        _ if SCHEME[..begun.len()].eq_ignore_ascii_case(begun) => None,
        _ => Some(DetectedProtocol::Other),
    }
}

/// Who spoke first in a tunnel.
#[derive(Debug)]
pub(in crate::proxy) enum FirstSpeaker {
    /// The caller; its bytes are in its prefix.
    Caller(DetectedProtocol),
    /// The server: no protocol that a token goes into begins so.
    Server(BytesMut),
    /// Neither: the tunnel has ended, or was silent for too long.
    Neither,
}

/// Reads until it is clear what the caller speaks, or the server has spoken first. Can be dropped and begun again: what was
/// read stays in `prefix`.
pub(in crate::proxy) async fn first_speaker<C, S>(
    caller: &mut C,
    prefix: &mut BytesMut,
    server: Option<&mut S>,
) -> FirstSpeaker
where
    C: AsyncRead + Unpin,
    S: AsyncRead + Unpin,
{
    let caller_speaks = async {
        loop {
            if let Some(protocol) = detect(prefix) {
                return FirstSpeaker::Caller(protocol);
            }
            match caller.read_buf(prefix).await {
                Ok(0) | Err(_) if prefix.is_empty() => return FirstSpeaker::Neither,
                Ok(0) | Err(_) => return FirstSpeaker::Caller(DetectedProtocol::Other),
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
            Ok(1..) => FirstSpeaker::Server(bytes),
            Ok(0) | Err(_) => FirstSpeaker::Neither,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_tls_http_and_the_rest_apart() {
        let tls = [0x16, 0x03, 0x01, 0x02, 0x00];
        assert_eq!(detect(&tls), Some(DetectedProtocol::Tls));
        for http in ["GET / HTTP/1.1", "M-SEARCH *", "OPTIONS * ", "GET http://a/", "get", "PRI * HTTP/2.0"] {
            let expected = if http == "get" { Some(DetectedProtocol::Other) } else { Some(DetectedProtocol::Http) };
            assert_eq!(detect(http.as_bytes()), expected, "{http}");
        }
        for other in ["SSH-2.0-OpenSSH_9.2\r\n", "EHLO host", "\0\0", " / ", "\r\n", "A GET", "\x16\x04", "* OK IMAP"] {
            assert_eq!(detect(other.as_bytes()), Some(DetectedProtocol::Other), "{other:?}");
        }
        assert_eq!(detect(&[b'A'; MAX_METHOD + 1]), Some(DetectedProtocol::Other));
    }

    #[test]
    fn every_beginning_of_a_first_word_waits_for_the_rest() {
        for whole in [&b"DELETE http"[..], &[0x16, 0x03], b"PRI *", b"GET /"] {
            for end in 0..whole.len() {
                assert_eq!(detect(&whole[..end]), None, "{:?}", &whole[..end]);
            }
            assert!(detect(whole).is_some());
        }
    }

    proptest::proptest! {
        #[test]
        fn what_has_been_told_stays_told_whatever_follows(bytes: Vec<u8>, more: Vec<u8>) {
            if let Some(told) = detect(&bytes) {
                let longer = [bytes, more].concat();
                proptest::prop_assert_eq!(detect(&longer), Some(told));
            }
        }

        #[test]
        fn a_bound_number_of_bytes_tells(bytes in proptest::collection::vec(proptest::num::u8::ANY, MAX_METHOD + 6..64)) {
            proptest::prop_assert!(detect(&bytes).is_some());
        }
    }
}
