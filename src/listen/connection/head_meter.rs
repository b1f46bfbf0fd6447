//! The heads of HTTP/1.1 requests as they come in, for what no handler gets to see.
//!
//! A `Content-Length` beside a `Transfer-Encoding` is how one request is hidden in another (RFC 9112 section 6.3). hyper goes by
//! the latter and drops the former, so it is looked for where the bytes come in. Only lines of heads and chunk sizes are looked
//! at; bodies are skipped.

use super::raw_target::raw_character;
use super::state::{ConnectionState, Switch};

/// How much of a request line is kept: as much as most have.
const REQUEST: usize = 128;

/// A line's beginning, as much as its name takes.
const NAME: usize = 32;

/// Follows the requests of one connection.
#[derive(Debug)]
pub(in crate::listen) struct HeadMeter {
    at: At,
    head: Head,
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    /// A line of trailers goes on behind a bare LF, which ends none there, as hyper reads them.
    unended: bool,
    /// The beginning of the newest request line, and how much of it is kept: only where it cannot be read is it looked at.
    request: [u8; REQUEST],
    kept: usize,
}

/// Where in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    Body(u64),
    ChunkSize,
    /// With the line end behind it.
    Chunk(u64),
    Trailers,
    /// Behind a request to switch protocols, whose answer says what follows.
    Switching,
    /// Nothing that follows is looked at.
    Over,
}

/// What a head has said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    begun: bool,
    length: Length,
    chunked: bool,
    /// CONNECT, or with an `Upgrade`.
    switches: bool,
}

/// `Content-Length`.
#[derive(Debug, Clone, Copy, Default)]
enum Length {
    #[default]
    Unsaid,
    Said(u64),
    /// No number, which hyper refuses.
    Unreadable,
}

impl HeadMeter {
    /// From the first byte of a connection on.
    pub(in crate::listen) fn new() -> Self {
        Self { at: At::Head, head: Head::default(), line: Vec::new(), unended: false, request: [0; REQUEST], kept: 0 }
    }

    /// Takes in what was read. The place of the last byte of a head that says both how long its body is and that it does not
    /// know; nothing is looked at after that.
    pub(in crate::listen) fn read(&mut self, bytes: &[u8], state: &ConnectionState) -> Option<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.at {
                At::Over => return None,
                At::Switching => match state.switch() {
                    Switch::No => self.at = At::Head,
                    Switch::Yes => self.at = At::Over,
                    // Whatever this is, it cannot be told before the answer.
                    Switch::Asked | Switch::Overrun => {
                        state.set_switch(Switch::Overrun);
                        return None;
                    }
                },
                At::Body(left) => {
                    let left = skip(&mut rest, left);
                    self.at = At::Body(left);
                    if left == 0 {
                        self.end_message();
                    }
                }
                At::Chunk(left) => {
                    let left = skip(&mut rest, left);
                    self.at = if left == 0 { At::ChunkSize } else { At::Chunk(left) };
                }
                At::Head
                    if self.passes_over(rest)
                        && let Some(at) = line_feed(rest) =>
                {
                    rest = &rest[at + 1..];
                }
                At::Head | At::ChunkSize | At::Trailers => {
                    let (piece, behind) = rest.split_at(line_feed(rest).map_or(rest.len(), |at| at + 1));
                    rest = behind;
                    if self.take(piece, state) {
                        return Some(bytes.len() - rest.len() - 1);
                    }
                }
            }
        }
        None
    }

    /// The character that keeps the newest target from being read, if it stands in its beginning.
    pub(in crate::listen) fn raw_character(&self) -> Option<char> {
        raw_character(&self.request[..self.kept])
    }

    /// True if all that was read are whole messages, as far as that can be told.
    pub(in crate::listen) fn is_between_messages(&self, state: &ConnectionState) -> bool {
        match self.at {
            At::Head => !self.head.begun && self.line.is_empty(),
            At::Switching => state.switch() == Switch::No,
            At::Body(_) | At::ChunkSize | At::Chunk(_) | At::Trailers | At::Over => false,
        }
    }

    /// True at the beginning of a line that says nothing of interest, by its first letter: most do.
    fn passes_over(&self, rest: &[u8]) -> bool {
        let matters = |byte: &u8| matches!(byte, b'c' | b'C' | b't' | b'T' | b'u' | b'U' | b'\r' | b'\n');
        self.head.begun && self.line.is_empty() && !rest.first().is_some_and(matters)
    }

    /// Takes a piece of a line, which is the whole of it in nearly every case. True at the end of a head that says both.
    fn take(&mut self, piece: &[u8], state: &ConnectionState) -> bool {
        let ends = piece.ends_with(b"\n");
        if ends && self.line.is_empty() {
            return self.line_ended(piece, state);
        }
        let room = NAME.saturating_sub(self.line.len()).min(piece.len());
        self.line.extend_from_slice(&piece[..room]);
        // The rest of a line matters where there is a number in it, or where its end counts. hyper bounds how long it can be.
        if matches!(self.at, At::ChunkSize | At::Trailers) || value_of(&self.line, b"content-length").is_some() {
            self.line.extend_from_slice(&piece[room..]);
        }
        if !ends {
            return false;
        }
        let mut line = std::mem::take(&mut self.line);
        let both = self.line_ended(&line, state);
        line.clear();
        self.line = line;
        both
    }

    fn line_ended(&mut self, line: &[u8], state: &ConnectionState) -> bool {
        if self.at == At::Trailers {
            let whole = line.ends_with(b"\r\n");
            if !std::mem::replace(&mut self.unended, !whole) && line == b"\r\n" {
                self.end_message();
            }
            return false;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.at {
            At::ChunkSize => match chunk_size(line) {
                Some(0) => self.at = At::Trailers,
                Some(size) => self.at = At::Chunk(size.saturating_add(2)),
                None => self.at = At::Over,
            },
            At::Head if line.is_empty() && self.head.begun => return self.end_head(state),
            At::Head => self.head_line(line),
            _ => {}
        }
        false
    }

    fn head_line(&mut self, line: &[u8]) {
        let head = &mut self.head;
        if !head.begun {
            // Empty lines before a request are put up with (RFC 9112 section 2.2).
            head.begun = !line.is_empty();
            head.switches = line.starts_with(b"CONNECT ");
            self.kept = line.len().min(REQUEST);
            self.request[..self.kept].copy_from_slice(&line[..self.kept]);
            return;
        }
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line, b"content-length") {
                    let number = std::str::from_utf8(value.trim_ascii()).ok().and_then(|text| text.parse().ok());
                    head.length = number.map_or(Length::Unreadable, Length::Said);
                }
            }
            Some(b't' | b'T') => head.chunked |= value_of(line, b"transfer-encoding").is_some(),
            Some(b'u' | b'U') => head.switches |= value_of(line, b"upgrade").is_some(),
            _ => {}
        }
    }

    fn end_head(&mut self, state: &ConnectionState) -> bool {
        let Head { length, chunked, switches, .. } = self.head;
        if switches {
            state.set_switch(Switch::Asked);
        }
        match (chunked, length) {
            (true, Length::Unsaid) => self.at = At::ChunkSize,
            (true, _) => {
                self.at = At::Over;
                return true;
            }
            (false, Length::Said(length @ 1..)) => self.at = At::Body(length),
            (false, Length::Unreadable) => self.at = At::Over,
            (false, Length::Unsaid | Length::Said(0)) => self.end_message(),
        }
        false
    }

    fn end_message(&mut self) {
        self.at = if self.head.switches { At::Switching } else { At::Head };
        self.head = Head::default();
    }
}

/// Where the first line feed is. Eight bytes at a time: every request's head is looked through, and a call for each of its
/// lines costs more than the looking.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'\n'));
        // The lowest bit that is set here stands for the first byte that does not differ.
        let same = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if same != 0 {
            return Some(at * 8 + (same.trailing_zeros() / 8) as usize);
        }
    }
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    Some(words.len() * 8 + at)
}

/// Passes over so many bytes, or as many as there are; how many are left.
fn skip(rest: &mut &[u8], left: u64) -> u64 {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    *rest = &rest[length..];
    left - length as u64
}

/// What stands behind the name of a field and its colon.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (field, value) = line.split_at_checked(name.len())?;
    if field.eq_ignore_ascii_case(name) { value.strip_prefix(b":") } else { None }
}

/// The digits that a chunk begins with; what follows them is hyper's to judge.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let digits = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the first head with both ends, for bytes that come in such pieces.
    fn found(bytes: &[u8], piece: usize) -> Option<usize> {
        let (mut meter, state) = (HeadMeter::new(), ConnectionState::default());
        let mut pieces = bytes.chunks(piece).enumerate();
        pieces.find_map(|(at, bytes)| Some(at * piece + meter.read(bytes, &state)?))
    }

    const BOTH: [&str; 6] = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding:chunked\r\nX: y\r\ncontent-length:4\r\n",
        "TRANSFER-ENCODING: chunked\r\nCONTENT-LENGTH: x\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nContent-Length:\r\n",
        "Content-Length: 4\nTransfer-Encoding: chunked\n",
        "Content-Length: 0\r\nTransfer-Encoding:\r\n",
    ];

    /// Messages after which the next one begins where it seems to, with bodies that look like heads.
    const FINE: [&str; 12] = [
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET / HTTP/1.1\r\nContent-Length: 999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\nContent-Length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.1\r\nContent-Length: 52\r\n\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:    0   \r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\nX-Content-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n00000000000000000000000000000000000000002;x=\"y\"\r\n\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 4\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n13\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nX-Transfer-Encoding: chunked\r\nTransfer-Encodings: x\r\nContent-Length: 1\r\n\r\na",
    ];

    proptest! {
        #[test]
        fn a_head_with_both_is_found_at_its_last_byte_and_no_other(
            before in proptest::collection::vec(proptest::sample::select(&FINE[..]), 0..6),
            both in proptest::sample::select(&BOTH[..]),
            piece in 1_usize..200,
        ) {
            let fine = before.concat();
            prop_assert_eq!(found(fine.as_bytes(), piece), None);
            let head = format!("{fine}POST / HTTP/1.1\r\n{both}\r\n");
            let all = format!("{head}0\r\n\r\n{fine}");
            prop_assert_eq!(found(all.as_bytes(), piece), Some(head.len() - 1));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _found = found(&bytes, piece);
        }
    }

    proptest! {
        #[test]
        fn the_first_line_feed_is_found(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\x0b'), any::<u8>()], 0..40)) {
            prop_assert_eq!(line_feed(&bytes), bytes.iter().position(|byte| *byte == b'\n'));
        }
    }

    #[test]
    fn behind_a_switch_of_protocols_nothing_is_looked_at() {
        let both = format!("POST / HTTP/1.1\r\n{}\r\n", BOTH[0]);
        for asks in ["CONNECT a:1 HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"] {
            let (mut meter, state) = (HeadMeter::new(), ConnectionState::default());
            assert_eq!(meter.read(asks.as_bytes(), &state), None);
            assert_eq!(state.switch(), Switch::Asked);
            state.set_switch(Switch::Yes);
            assert_eq!(meter.read(both.as_bytes(), &state), None);
            assert_eq!(state.switch(), Switch::Yes);

            let (mut meter, state) = (HeadMeter::new(), ConnectionState::default());
            assert_eq!(meter.read(asks.as_bytes(), &state), None);
            state.set_switch(Switch::No);
            assert_eq!(meter.read(both.as_bytes(), &state), Some(both.len() - 1), "it was refused");

            let (mut meter, state) = (HeadMeter::new(), ConnectionState::default());
            assert_eq!(meter.read(format!("{asks}{both}").as_bytes(), &state), None);
            assert_eq!(state.switch(), Switch::Overrun, "what came too early cannot be told");
        }
    }
}
