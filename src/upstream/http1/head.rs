//! Response heads, strictly: what they say about framing and about the connection.

use bytes::{Buf as _, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::fault::Fault;
use super::framing::{Chunk, Framing};
use crate::response_head::{self, ResponseHead};

/// A parsed head, and what it means for the connection.
pub(super) struct Parsed {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    pub(super) persistent: bool,
}

/// RFC 8446 section 5.1: what a server of TLS answers to a request in clear.
const ALERT: &[u8] = &[0x15, 0x03];

/// What is wrong with such an answer, and what helps.
pub(in crate::upstream) const SPEAKS_TLS: &str =
    "what answers there speaks TLS; write https:// in origin, or check its port";

/// Takes a whole head out of the buffer; `None` until there is one.
pub(super) fn parse(buffer: &mut BytesMut, head_request: bool) -> Result<Option<Parsed>, Fault> {
    if buffer.is_empty() {
        return Ok(None);
    }
    if buffer.starts_with(ALERT) {
        return Err(Fault::Protocol(SPEAKS_TLS));
    }
    let Some(head) = response_head::parse(buffer).map_err(Fault::Protocol)? else { return Ok(None) };
    let ResponseHead { version, status, mut headers, length } = head;
    let framing = framing(status, version, &mut headers, head_request).map_err(Fault::Protocol)?;
    let persistent = is_persistent(status, version, &headers) && framing != Framing::UntilClose;
    buffer.advance(length);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(Some(Parsed { response, framing, persistent }))
}

/// RFC 9112 section 6.3, its rules in their order. What it lets a recipient repair is refused here.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &mut HeaderMap,
    head_request: bool,
) -> Result<Framing, &'static str> {
    // Looked at even where it frames nothing, as in the answer to HEAD: it is passed on.
    let length = content_length(headers)?;
    if head_request || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Empty);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        if length.is_some() {
            // Section 6.3, rule 3: it may be an attempt to have others read it differently.
            return Err("its response has both Content-Length and Transfer-Encoding");
        }
        let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
        let (one, more) = (lines.next(), lines.next());
        let chunked = one.is_some_and(|one| one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
        if !chunked || more.is_some() || version == Version::HTTP_10 {
            return Err("its Transfer-Encoding is not exactly \"chunked\"");
        }
        return Ok(Framing::Chunked(Chunk::Size));
    }
    Ok(match length {
        None => Framing::UntilClose,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
    })
}

/// The one length; said several times, in a list or in lines, it is said once from here on (RFC 9110 section 8.6).
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, &'static str> {
    const BAD: &str = "its Content-Length is no number";
    let mut length = None;
    let mut repeated = false;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.to_str().map_err(|_not_text| BAD)?.split(',') {
            let read = read_length(member.trim_matches([' ', '\t'])).ok_or(BAD)?;
            repeated |= length.is_some();
            if length.is_some_and(|length| length != read) {
                return Err("its response has two lengths");
            }
            length = Some(read);
        }
    }
    if let Some(length) = length.filter(|_| repeated) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length)
}

/// Digits only: no sign, no white space within.
fn read_length(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// RFC 9112 section 9.3; an HTTP/1.0 server is taken at its word only when it closes.
fn is_persistent(status: StatusCode, version: Version, headers: &HeaderMap) -> bool {
    let closes = headers.get_all(CONNECTION).iter().any(|line| {
        let members = line.to_str().unwrap_or("close").split(',');
        members.into_iter().any(|member| member.trim().eq_ignore_ascii_case("close"))
    });
    version == Version::HTTP_11 && !closes && status != StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, head_request: bool) -> Result<Option<Parsed>, Fault> {
        parse(&mut BytesMut::from(text), head_request)
    }

    fn framing_of(fields: &str) -> Framing {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).unwrap().unwrap().framing
    }

    #[test]
    fn the_end_of_a_body_follows_the_rules_in_their_order() {
        assert_eq!(framing_of("Content-Length: 7\r\n"), Framing::Length(7));
        assert_eq!(framing_of("Content-Length: 7\r\nContent-Length: 7\r\n"), Framing::Length(7));
        assert_eq!(framing_of("Transfer-Encoding: Chunked\r\n"), Framing::Chunked(Chunk::Size));
        assert_eq!(framing_of(""), Framing::UntilClose);
        assert_eq!(
            read("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", false).unwrap().unwrap().framing,
            Framing::Empty
        );
        assert_eq!(read("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", true).unwrap().unwrap().framing, Framing::Empty);
    }

    #[test]
    fn a_length_that_was_said_twice_is_passed_on_once() {
        for head_request in [true, false] {
            let text = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n";
            let parsed = read(text, head_request).unwrap().unwrap();
            assert_eq!(parsed.response.headers().get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["7"]);
        }
    }

    #[test]
    fn a_framing_in_doubt_is_refused() {
        for fields in [
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 4\r\n",
            "Content-Length: 3,\r\n",
            "Content-Length: 3\r\n 4\r\n",
            "Transfer-Encoding: gzip,\r\n chunked\r\n",
            "Content-Length: +3\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            " A: b\r\n",
            "A b: c\r\n",
            "A: b\rc\r\n",
            "A: b\0c\r\n",
            ": b\r\n",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).is_err(), "{fields:?}");
        }
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", true).is_err(), "to HEAD");
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).is_err());
        assert!(read("ICY 200 OK\r\n\r\n", false).is_err());
        let alert = parse(&mut BytesMut::from(&b"\x15\x03\x03\x00\x02\x02\x46"[..]), false);
        assert!(matches!(alert, Err(Fault::Protocol(SPEAKS_TLS))));
    }

    #[test]
    fn a_folded_line_may_come_in_two_reads() {
        // It is not clear yet whether the line goes on.
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nX-A: 1\r\n");
        assert!(parse(&mut buffer, true).unwrap().is_none());
        buffer.extend_from_slice(b" 2\r\n\r\n");
        assert!(parse(&mut buffer, true).unwrap().is_some());
        let parsed = read("HTTP/1.1 200 OK\r\nContent-Length : 3, 3\r\n\r\n", false).unwrap().unwrap();
        assert_eq!(
            (&parsed.response.headers()["content-length"], parsed.framing),
            (&HeaderValue::from(3), Framing::Length(3))
        );
    }

    #[test]
    fn a_connection_is_used_again_only_where_both_sides_say_so() {
        let persistent = |text: &str| read(text, false).unwrap().unwrap().persistent;
        assert!(persistent("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!persistent("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n"));
        assert!(!persistent("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!persistent("HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn a_head_is_taken_out_whole_or_not_at_all() {
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n");
        assert!(parse(&mut buffer, false).unwrap().is_none());
        buffer.extend_from_slice(b"\r\nhello");
        assert!(parse(&mut buffer, false).unwrap().is_some());
        assert_eq!(&buffer[..], b"hello");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = parse(&mut BytesMut::from(&bytes[..]), false);
        }
    }
}
