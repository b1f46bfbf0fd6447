//! Response heads, strictly: httparse reads the lines, and what they say about framing is decided here.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::Fault;
use super::framing::{Chunk, Framing};

/// Fields of one head; more is an attack or a mistake.
const MAX_FIELDS: usize = 128;

/// A parsed head, and what it means for the connection.
pub(super) struct Parsed {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    pub(super) persistent: bool,
}

/// Takes a whole head out of the buffer; `None` until there is one.
pub(super) fn parse(buffer: &mut BytesMut, head_request: bool) -> Result<Option<Parsed>, Fault> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::Protocol("its response has more than 128 fields")),
        Err(_) => return Err(Fault::Protocol("its response head is not well-formed HTTP/1.1")),
    };
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Fault::Protocol("its response has no valid status"))?;
    let headers = header_map(&buffer[..length], parsed.headers).map_err(Fault::Protocol)?;
    let framing = framing(status, version, &headers, head_request).map_err(Fault::Protocol)?;
    let persistent = is_persistent(status, version, &headers) && framing != Framing::UntilClose;
    buffer.advance(length);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(Some(Parsed { response, framing, persistent }))
}

/// The fields of a trailer section that ends with its empty line.
pub(super) fn fields(section: &[u8]) -> Result<HeaderMap, &'static str> {
    const BAD: &str = "the trailers of its response are not well-formed";
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == section.len() => header_map(section, fields),
        // What ends before its end has an empty line of bare line feeds in it.
        Ok(_) | Err(_) => Err(BAD),
    }
}

/// One copy of the head for all its values: they outlive the read buffer, which is free for the body at once.
fn header_map(head: &[u8], fields: &[httparse::Header<'_>]) -> Result<HeaderMap, &'static str> {
    const BAD: &str = "its response has a field that is no HTTP";
    let copy = Bytes::copy_from_slice(head);
    // Room for `Via`, so that the map does not grow on the way.
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_no_name| BAD)?;
        // The value lies within the head, so its place there is its place in the copy.
        let start = (field.value.as_ptr() as usize).saturating_sub(head.as_ptr() as usize);
        let value = if start + field.value.len() <= copy.len() {
            HeaderValue::from_maybe_shared(copy.slice(start..start + field.value.len()))
        } else {
            HeaderValue::from_maybe_shared(Bytes::copy_from_slice(field.value))
        };
        headers.append(name, value.map_err(|_no_value| BAD)?);
    }
    Ok(headers)
}

/// RFC 9112 section 6.3, its rules in their order. What it lets a recipient repair is refused here.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    head_request: bool,
) -> Result<Framing, &'static str> {
    if head_request || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Empty);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
        let (one, more) = (lines.next(), lines.next());
        let chunked = one.is_some_and(|one| one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
        if !chunked || more.is_some() || version == Version::HTTP_10 {
            return Err("its Transfer-Encoding is not exactly \"chunked\"");
        }
        return Ok(Framing::Chunked(Chunk::Size));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(content_length);
    match lengths.next() {
        None => Ok(Framing::UntilClose),
        Some(first) => {
            let first = first?;
            if lengths.any(|other| other != Ok(first)) {
                return Err("its response has two lengths");
            }
            Ok(if first == 0 { Framing::Empty } else { Framing::Length(first) })
        }
    }
}

/// Digits only: no sign, no list, no white space within.
fn content_length(value: &HeaderValue) -> Result<u64, &'static str> {
    const BAD: &str = "its Content-Length is no number";
    let text = value.to_str().map_err(|_not_text| BAD)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    text.parse().map_err(|_too_large| BAD)
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
        assert_eq!(framing_of("Content-Length: 7\r\nTransfer-Encoding: Chunked\r\n"), Framing::Chunked(Chunk::Size));
        assert_eq!(framing_of(""), Framing::UntilClose);
        assert_eq!(
            read("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", false).unwrap().unwrap().framing,
            Framing::Empty
        );
        assert_eq!(read("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", true).unwrap().unwrap().framing, Framing::Empty);
    }

    #[test]
    fn a_framing_in_doubt_is_refused() {
        for fields in [
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "A: b\r\n folded\r\n",
            "A : b\r\n",
            "A: b\0c\r\n",
            ": b\r\n",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).is_err(), "{fields:?}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).is_err());
        assert!(read("ICY 200 OK\r\n\r\n", false).is_err());
    }

    #[test]
    fn trailers_have_one_end() {
        assert_eq!(fields(b"A: b\r\nC: d\r\n\r\n").unwrap().len(), 2);
        assert!(fields(b"A: b\n\nHTTP/1.1 200 OK\r\n\r\n").is_err());
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
