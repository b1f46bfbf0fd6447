//! Heads of HTTP/1 responses, as upstreams and parent proxies send them, and their trailers.
//!
//! A proxy has to put up with some of what RFC 9112 forbids a server, and takes it out of what it passes on: white space before
//! a colon (section 5.1), folded lines (section 5.2), and several spaces in the status line (section 4). A request is given none
//! of this: there it would be a way to smuggle.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

/// Fields of one head; more is an attack or a mistake.
const MAX_FIELDS: usize = 128;

const STATUS_LINE: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// A whole head.
pub(crate) struct ResponseHead {
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How many bytes it has, with its empty line.
    pub(crate) length: usize,
}

/// Reads the head that the buffer begins with; `None` until it is whole.
///
/// # Errors
/// What is wrong with "its response".
pub(crate) fn parse(buffer: &[u8]) -> Result<Option<ResponseHead>, &'static str> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut lenient_fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let strict = httparse::ParserConfig::default();
    let mut read = strict.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields);
    if read.is_err() {
        // What is put up with costs only those who send it: its parser is slower.
        parsed = httparse::Response::new(&mut []);
        read = lenient().parse_response_with_uninit_headers(&mut parsed, buffer, &mut lenient_fields);
    }
    let length = match read {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("its response has more than 128 fields"),
        Err(_) => return Err("its response head is not well-formed HTTP/1.1"),
    };
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("its response has no valid status")?;
    let headers = header_map(&buffer[..length], parsed.headers)?;
    Ok(Some(ResponseHead { version, status, headers, length }))
}

/// The fields of a trailer section that ends with its empty line.
///
/// # Errors
/// They are not well-formed, or end before the section does.
pub(crate) fn trailers(section: &[u8]) -> Result<HeaderMap, &'static str> {
    const BAD: &str = "the trailers of its response are not well-formed";
    // The parser reads fields behind a status line alone.
    let mut head = Vec::with_capacity(STATUS_LINE.len() + section.len());
    head.extend_from_slice(STATUS_LINE);
    head.extend_from_slice(section);
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match lenient().parse_response(&mut parsed, &head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => header_map(&head, parsed.headers),
        // What ends before its end has an empty line of bare line feeds in it.
        Ok(_) | Err(_) => Err(BAD),
    }
}

fn lenient() -> httparse::ParserConfig {
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    parser.allow_multiple_spaces_in_response_status_delimiters(true);
    parser
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
        // No value has a line end in it, save where lines were folded.
        let value = match value {
            Ok(value) => value,
            Err(_no_value) => unfolded(field.value).ok_or(BAD)?,
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// A value of several lines in one (RFC 9112 section 5.2): the parser has seen to it that each goes on with white space.
fn unfolded(folded: &[u8]) -> Option<HeaderValue> {
    let joined: Vec<u8> = folded.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    HeaderValue::from_bytes(joined.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_has_to_mend_is_mended() {
        let text = "HTTP/1.1  200   Fine\r\nX-A : 1\r\nX-B\t : 2\r\nX-C: a\r\n  b\r\n\tc\r\nX-D:\r\n d\r\n\r\n";
        let headers = parse(text.as_bytes()).unwrap().unwrap().headers;
        let value = |name: &str| headers[name].to_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!([value("x-a"), value("x-b"), value("x-c"), value("x-d")], ["1", "2", "a b c", "d"]);
        assert!(headers.values().all(|value| value.as_bytes().iter().all(|byte| *byte != b'\r' && *byte != b'\n')));
        assert_eq!(trailers(b"X-Sum : 7\r\nX-A: b\r\n c\r\n\r\n").unwrap()["x-sum"], "7");
    }

    #[test]
    fn trailers_have_one_end() {
        assert_eq!(trailers(b"A: b\r\nC: d\r\n\r\n").unwrap().len(), 2);
        assert!(trailers(b"A: b\n\nHTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
