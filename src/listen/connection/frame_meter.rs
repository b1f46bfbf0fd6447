//! How much a caller may say over HTTP/2 without saying anything: frames that cost an answer or a look and carry no request.
//!
//! Resets and header blocks are bounded by the HTTP/2 library itself (CVE-2023-44487, CVE-2024-27316). PING, SETTINGS, PRIORITY,
//! empty DATA and unknown frames are not, and each of the first two is answered (CVE-2019-9512, CVE-2019-9515, CVE-2019-9518).
//! They are counted where the bytes come in. Window updates are not: a fast download sends thousands, and they cost nothing.

use std::time::Duration;

use crate::timer::CoarseInstant;

/// A frame's header (RFC 9113 section 4.1).
const HEADER: usize = 9;

/// The connection preface of a client.
const PREFACE: usize = 24;

/// Idle frames that may come at once, and how many in each second after that. A program that pings ten times a second is far below.
const BURST: u32 = 1000;
const PER_SECOND: u32 = 50;

/// Acknowledgements of what attache says: SETTINGS once, and PING once, with a goodbye. What is beyond answers nothing.
const ACKS: u32 = 2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// The last type that is defined; what is above is to be ignored.
const CONTINUATION: u8 = 9;

/// Flags, each of the frames that have it.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(in crate::listen) struct FrameMeter {
    /// Bytes until the next header begins.
    skip: usize,
    /// What has come of it.
    header: [u8; HEADER],
    filled: usize,
    /// Idle frames that may still come.
    left: u32,
    refilled: CoarseInstant,
    /// Acknowledgements that may still come.
    acks: u32,
    head: Head,
}

/// A request's head, which no other frame may interrupt (RFC 9113 section 6.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    None,
    /// This frame is its last one.
    Ends,
    /// More frames have to come.
    GoesOn,
}

impl FrameMeter {
    /// From the first byte of a connection on.
    pub(in crate::listen) fn new() -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            filled: 0,
            left: BURST,
            refilled: CoarseInstant::now(),
            acks: ACKS,
            head: Head::None,
        }
    }

    /// Takes in what was read. False if it was too much: the connection has to end.
    pub(in crate::listen) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = length as usize;
                if !self.count(kind, flags, length) {
                    return false;
                }
            }
        }
        true
    }

    /// True while a request's head has begun and not ended.
    pub(in crate::listen) const fn is_in_head(&self) -> bool {
        match self.head {
            Head::None => false,
            Head::Ends => self.skip > 0,
            Head::GoesOn => true,
        }
    }

    fn count(&mut self, kind: u8, flags: u8, length: u32) -> bool {
        self.head = match kind {
            HEADERS | CONTINUATION if flags & END_HEADERS == 0 => Head::GoesOn,
            HEADERS | CONTINUATION => Head::Ends,
            _ => Head::None,
        };
        match kind {
            // The usual end of an upload; a stream has one.
            DATA if length == 0 && flags & END_STREAM != 0 => true,
            DATA if length == 0 => self.spend(),
            // What carries something pays for what goes along with it.
            DATA | HEADERS => {
                self.left = (self.left + 1).min(BURST);
                true
            }
            SETTINGS | PING if flags & ACK != 0 && self.acks > 0 => {
                self.acks -= 1;
                true
            }
            PRIORITY | SETTINGS | PING => self.spend(),
            kind if kind > CONTINUATION => self.spend(),
            _ => true,
        }
    }

    fn spend(&mut self) -> bool {
        if self.left == 0 {
            // The clock is read only where the burst is spent.
            let now = CoarseInstant::now();
            if now >= self.refilled.after(Duration::from_secs(1)) {
                self.left = PER_SECOND;
                self.refilled = now;
            }
        }
        let within = self.left > 0;
        self.left = self.left.saturating_sub(1);
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        flagged(kind, 0, payload)
    }

    fn flagged(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend(vec![b'x'; payload]);
        frame
    }

    fn fed(frames: impl Iterator<Item = Vec<u8>>, piece: usize) -> bool {
        let mut bytes = vec![b'P'; PREFACE];
        bytes.extend(frames.flatten());
        let mut meter = FrameMeter::new();
        bytes.chunks(piece).all(|piece| meter.read(piece))
    }

    #[test]
    fn requests_and_their_bodies_are_never_too_much() {
        let talk = || (0..5000).flat_map(|_| [flagged(1, 4, 40), frame(0, 1000), frame(8, 4)]);
        assert!([1, 7, 9, 4096].into_iter().all(|piece| fed(talk(), piece)));
    }

    #[test]
    fn frames_that_say_nothing_are_bounded_however_they_are_cut() {
        for (kind, payload) in [(PING, 8), (SETTINGS, 0), (PRIORITY, 5), (DATA, 0), (0x42, 3)] {
            for piece in [1, 5, 8192] {
                assert!(fed((0..BURST).map(|_| frame(kind, payload)), piece), "{kind}");
                assert!(!fed((0..=BURST).map(|_| frame(kind, payload)), piece), "{kind}");
            }
        }
    }

    #[test]
    fn the_empty_frame_that_ends_an_upload_is_not_counted() {
        let uploads = || (0..5000).flat_map(|_| [flagged(1, 4, 40), frame(0, 10), flagged(0, 1, 0)]);
        assert!(fed(uploads(), 4096));
        let ends_alone = || (0..5000).flat_map(|_| [flagged(1, 4, 40), flagged(0, 1, 0)]);
        assert!(fed(ends_alone(), 4096));
    }

    #[test]
    fn what_carries_something_pays_for_an_idle_frame() {
        let pinging = || (0..5000).flat_map(|_| [frame(PING, 8), frame(0, 10)]);
        assert!(fed(pinging(), 4096));
        let mostly = || (0..5000).flat_map(|_| [frame(PING, 8), frame(PING, 8), frame(0, 10)]);
        assert!(!fed(mostly(), 4096));
    }

    #[test]
    fn acknowledgements_of_what_we_said_cost_nothing_and_others_do() {
        let acks = |count: u32| (0..count).map(|_| flagged(PING, ACK, 8));
        assert!(fed(acks(ACKS + BURST), 4096));
        assert!(!fed(acks(ACKS + BURST + 1), 4096));
    }

    #[test]
    fn a_head_is_open_from_its_first_byte_to_its_last() {
        let open_after = |frames: &[Vec<u8>], cut: usize| {
            let mut bytes = vec![b'P'; PREFACE];
            bytes.extend(frames.concat());
            bytes.truncate(bytes.len() - cut);
            let mut meter = FrameMeter::new();
            assert!(meter.read(&bytes));
            meter.is_in_head()
        };
        assert!(!open_after(&[flagged(1, 4, 40)], 0));
        assert!(open_after(&[flagged(1, 4, 40)], 1));
        assert!(open_after(&[flagged(1, 0, 40)], 0));
        assert!(open_after(&[flagged(1, 0, 40), flagged(9, 0, 4)], 0));
        assert!(!open_after(&[flagged(1, 0, 40), flagged(9, 4, 4)], 0));
        assert!(!open_after(&[flagged(1, 4, 40), frame(0, 10)], 5), "a body takes its time");
    }
}
