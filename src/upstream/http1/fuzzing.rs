//! What the fuzz targets hold against the reader of answers: a second reader, which has the whole of an answer before it and
//! looks at it line by line.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

use super::fault::Fault;
use super::framing::{Chunk, Decoded, Framing};
use super::head::{self, Parsed};
use crate::response_head;

/// The bounds on lines count what is in the buffer, so that beyond them pieces do matter.
const MAX_INPUT: usize = 16 * 1024;

/// What a body came to.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// Its data, whether trailers came, and what lies behind it.
    Whole(Vec<u8>, bool, Vec<u8>),
    /// Data, and then more should have come.
    Cut(Vec<u8>),
    Refused,
}

/// An answer: its first byte says how it is cut and whether HEAD was asked, the rest is what the upstream sends.
///
/// # Errors
/// A head that means another thing in pieces, two framings, a field that no header may hold, or a body of another end.
pub fn answer(input: &[u8]) -> Result<(), String> {
    let Some((first, wire)) = input.split_first().filter(|(_, wire)| wire.len() <= MAX_INPUT) else { return Ok(()) };
    let (piece, head_request) = (usize::from(first >> 1) + 1, first & 1 == 1);
    let mut whole = BytesMut::from(wire);
    let parsed = head::parse(&mut whole, head_request);
    let mut buffer = BytesMut::new();
    let mut pieces = wire.chunks(piece);
    let cut = loop {
        match head::parse(&mut buffer, head_request) {
            Ok(None) => match pieces.next() {
                Some(more) => buffer.extend_from_slice(more),
                None => break Ok(None),
            },
            told => break told,
        }
    };
    match (parsed, cut) {
        (Ok(None), Ok(None)) | (Err(Fault::Protocol(_)), Err(Fault::Protocol(_))) => Ok(()),
        (Ok(Some(one)), Ok(Some(other))) => {
            let same = one.framing == other.framing
                && one.persistent == other.persistent
                && one.response.headers() == other.response.headers();
            if !same {
                return Err(format!("pieces of {piece} make another head of it"));
            }
            head_is_sound(&wire[..wire.len() - whole.len()], &one)?;
            bodies_agree(one.framing, other.framing, &whole, &buffer, pieces)
        }
        (one, _) => Err(format!("pieces of {piece} decide otherwise; the whole is taken: {}", one.is_ok())),
    }
}

/// A chunked body: its first byte says how it is cut.
///
/// # Errors
/// A body that has another end in pieces, or for the second reader.
pub fn chunks(input: &[u8]) -> Result<(), String> {
    let Some((first, wire)) = input.split_first().filter(|(_, wire)| wire.len() <= MAX_INPUT) else { return Ok(()) };
    let chunked = || Framing::Chunked(Chunk::Size);
    bodies_agree(chunked(), chunked(), wire, &[], wire.chunks(usize::from(*first) + 1))
}

fn head_is_sound(text: &[u8], parsed: &Parsed) -> Result<(), String> {
    let headers = parsed.response.headers();
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().map(|value| value.as_bytes().to_vec()).collect();
    let codings = headers.get_all(TRANSFER_ENCODING).iter().count();
    let sound = match &parsed.framing {
        // The answer to HEAD says what it would be.
        Framing::Empty => lengths.len() <= 1,
        Framing::Length(length) => lengths == [length.to_string().into_bytes()] || same_number(&lengths, *length),
        Framing::Chunked(_) => lengths.is_empty() && codings == 1 && parsed.response.version() == Version::HTTP_11,
        Framing::UntilClose => lengths.is_empty() && codings == 0 && !parsed.persistent,
    };
    if !sound || (codings > 0 && matches!(parsed.framing, Framing::Length(_))) {
        return Err(format!("{:?} under {headers:?}", parsed.framing));
    }
    for (name, known) in [("content-length", !lengths.is_empty()), ("transfer-encoding", codings > 0)] {
        if has_line(text, name) != known {
            return Err(format!("{name} is a line of the head for one reader alone"));
        }
    }
    let fit = |value: &http::HeaderValue| value.as_bytes().iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    if headers.values().all(fit) { Ok(()) } else { Err("a value has a line end or a zero in it".into()) }
}

/// `007` is 7.
fn same_number(lengths: &[Vec<u8>], length: u64) -> bool {
    let [one] = lengths else { return false };
    let digits = one.iter().skip_while(|byte| **byte == b'0').copied().collect::<Vec<u8>>();
    digits == length.to_string().into_bytes()
}

/// True if a line of the head, which does not go on with another, has this name.
fn has_line(text: &[u8], name: &str) -> bool {
    text.split(|byte| *byte == b'\n').skip_while(|line| line.trim_ascii().is_empty()).skip(1).any(|line| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !line.starts_with(b" ")
            && !line.starts_with(b"\t")
            && field.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    })
}

fn bodies_agree<'p>(
    whole: Framing,
    cut: Framing,
    all: &[u8],
    begun: &'p [u8],
    pieces: impl Iterator<Item = &'p [u8]>,
) -> Result<(), String> {
    let expected = match whole {
        Framing::Empty => Body::Whole(Vec::new(), false, all.to_vec()),
        Framing::Length(length) => match usize::try_from(length).ok().and_then(|length| all.split_at_checked(length)) {
            Some((data, behind)) => Body::Whole(data.to_vec(), false, behind.to_vec()),
            None => Body::Cut(all.to_vec()),
        },
        Framing::UntilClose => Body::Cut(all.to_vec()),
        Framing::Chunked(_) => dechunked(all),
    };
    for (how, found) in
        [("whole", decoded(whole, [all].into_iter())), ("cut", decoded(cut, [begun].into_iter().chain(pieces)))]
    {
        // What was read before a body is refused belongs to no answer: it is thrown away with the connection.
        if found != expected {
            return Err(format!("{how}: {found:?} and not {expected:?}"));
        }
    }
    Ok(())
}

/// As a connection reads it.
fn decoded<'p>(mut framing: Framing, pieces: impl Iterator<Item = &'p [u8]>) -> Body {
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), false);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framing.decode(&mut buffer) {
                Ok(Decoded::Data(more)) => data.extend_from_slice(&more),
                Ok(Decoded::Trailers(fields)) => trailers = !HeaderMap::is_empty(&fields),
                Ok(Decoded::End | Decoded::More) => break,
                Err(_) => return Body::Refused,
            }
        }
    }
    if framing.is_done() { Body::Whole(data, trailers, buffer.to_vec()) } else { Body::Cut(data) }
}

/// RFC 9112 section 7.1, on the whole of it.
fn dechunked(all: &[u8]) -> Body {
    let (mut rest, mut data) = (all, Vec::new());
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Body::Cut(data) };
        let (line, behind) = (&rest[..end], &rest[end + 1..]);
        let Some(line) = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r')) else { return Body::Refused };
        let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
        let blank = line[digits.len()..].split(|byte| !matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        let extension = &line[digits.len() + blank.len()..];
        let size = digits
            .iter()
            .try_fold(0_u64, |size, digit| Some(size.checked_mul(16)? + u64::from(char::from(*digit).to_digit(16)?)));
        let Some(size) = size.filter(|_| (1..=16).contains(&digits.len())) else { return Body::Refused };
        if !extension.is_empty() && extension[0] != b';' {
            return Body::Refused;
        }
        if size == 0 {
            rest = behind;
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((chunk, behind)) = behind.split_at_checked(size) else {
            data.extend_from_slice(behind);
            return Body::Cut(data);
        };
        data.extend_from_slice(chunk);
        match behind {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [_, _, ..] => return Body::Refused,
            _ => return Body::Cut(data),
        }
    }
    if let Some(behind) = rest.strip_prefix(b"\r\n") {
        return Body::Whole(data, false, behind.to_vec());
    }
    let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else { return Body::Cut(data) };
    match response_head::trailers(&rest[..end + 4]) {
        Ok(fields) => Body::Whole(data, !fields.is_empty(), rest[end + 4..].to_vec()),
        Err(_) => Body::Refused,
    }
}
