//! Where a response body ends (RFC 9112 section 6.3), and its chunks (section 7.1).

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;

use crate::response_head;

/// Bytes of chunk extensions and of a trailer section that are put up with.
const MAX_LINE: usize = 16 * 1024;

/// The framing of one response body, and how far it has been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body, or its end has been reached.
    Empty,
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
}

/// Where in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// What a look at the buffer brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More has to be read first.
    More,
}

impl Framing {
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) const fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// The connection has ended. That is the end of a body without a length, and a broken one of every other.
    pub(super) fn end_of_stream(&mut self) -> Result<(), &'static str> {
        match self {
            Self::Empty | Self::UntilClose => {
                *self = Self::Empty;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => {
                Err("the upstream closed the connection in the middle of its response")
            }
        }
    }

    /// Takes the next piece of the body out of the buffer.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
        match self {
            Self::Empty => Ok(Decoded::End),
            Self::UntilClose if buffer.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(buffer.split().freeze())),
            Self::Length(left) => {
                let Some(data) = take(buffer, left) else { return Ok(Decoded::More) };
                if *left == 0 {
                    *self = Self::Empty;
                }
                Ok(Decoded::Data(data))
            }
            Self::Chunked(chunk) => {
                let decoded = chunk.decode(buffer)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Empty;
                }
                Ok(decoded)
            }
        }
    }
}

impl Chunk {
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self {
                Self::Size => {
                    let Some(end) = line_end(buffer)? else { return Ok(Decoded::More) };
                    let size = chunk_size(&buffer[..end])?;
                    buffer.advance(end + 2);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(Decoded::More) };
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Self::DataEnd => {
                    if buffer.len() < 2 {
                        return Ok(Decoded::More);
                    }
                    if &buffer[..2] != b"\r\n" {
                        return Err("a chunk of its response is longer than its size");
                    }
                    buffer.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => return decode_trailers(buffer),
            }
        }
    }
}

/// The trailer section, whole, up to and with its empty line.
fn decode_trailers(buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Decoded::End);
    }
    match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(end) => {
            let section = buffer.split_to(end + 4);
            response_head::trailers(&section).map(Decoded::Trailers)
        }
        None if buffer.len() > MAX_LINE => Err("the trailers of its response are longer than 16 KiB"),
        None => Ok(Decoded::More),
    }
}

/// As much as there is, up to what is left; `None` for nothing.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    if length == 0 {
        return None;
    }
    *left -= length as u64;
    Some(buffer.split_to(length).freeze())
}

/// The end of a line, which is CR LF and nothing else.
fn line_end(buffer: &[u8]) -> Result<Option<usize>, &'static str> {
    match buffer.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && buffer[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err("a chunk size of its response ends with a bare line feed"),
        None if buffer.len() > MAX_LINE => Err("a chunk size line of its response is longer than 16 KiB"),
        None => Ok(None),
    }
}

/// Hexadecimal digits, then perhaps extensions, which nobody understands and which are dropped (RFC 9112 section 7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "a chunk size of its response is no number";
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    // BWS is that and nothing else: a form feed is no white space to others (RFC 9110 section 5.6.3).
    let blank = line[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let behind = &line[digits + blank..];
    if digits == 0 || digits > 16 || !(behind.is_empty() || behind[0] == b';') || behind.contains(&b'\r') {
        return Err(BAD);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_not_ascii| BAD)?;
    u64::from_str_radix(text, 16).map_err(|_too_large| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Data, trailers and what is left over.
    type Read = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Feeds a chunked body in pieces.
    fn decode(pieces: &[&[u8]]) -> Result<Read, &'static str> {
        let mut framing = Framing::Chunked(Chunk::Size);
        let mut buffer = BytesMut::new();
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match framing.decode(&mut buffer)? {
                    Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                    Decoded::Trailers(fields) => trailers = Some(fields),
                    Decoded::End => break,
                    Decoded::More => break,
                }
            }
        }
        if framing.is_done() { Ok((data, trailers, buffer.to_vec())) } else { Err("not ended") }
    }

    #[test]
    fn chunks_are_put_together_and_what_follows_is_left() {
        let (data, trailers, left) = decode(&[b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nHTTP/1.1"]).unwrap();
        assert_eq!((&data[..], trailers, &left[..]), (&b"hello world"[..], None, &b"HTTP/1.1"[..]));
    }

    #[test]
    fn trailers_are_read() {
        let (_, trailers, _) = decode(&[b"0\r\ngrpc-status: 0\r\nx: y\r\n\r\n"]).unwrap();
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    }

    #[test]
    fn sizes_that_others_read_differently_are_errors() {
        for body in [
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5\nhello\r\n",
            "\r\nhello",
            " 5\r\nhello\r\n",
            "5 x\r\nhello\r\n",
            "5\rx\r\nhello\r\n",
            "-1\r\n",
            "11111111111111111\r\n",
            "5\r\nhelloX\r\n",
            "5;a=\r\r\n",
            "5\x0c\r\nhello\r\n",
            "g\r\n",
        ] {
            assert!(decode(&[body.as_bytes()]).is_err_and(|what| what != "not ended"), "{body:?}");
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        assert!(Framing::Length(1).end_of_stream().is_err());
        assert!(Framing::Chunked(Chunk::Trailers).end_of_stream().is_err());
        assert!(Framing::UntilClose.end_of_stream().is_ok());
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_body_is_the_same(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in proptest::collection::vec(1_usize..40, 0..40),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut pieces = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            let (data, _, left) = decode(&pieces).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(left.is_empty());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = decode(&[&bytes]);
        }
    }
}
