//! How much a caller may say over HTTP/2 without saying anything: frames that cost an answer or a look and carry no request.
//!
//! Resets and header blocks are bounded by the HTTP/2 library itself (CVE-2023-44487, CVE-2024-27316). PING, SETTINGS, PRIORITY,
//! empty DATA and unknown frames are not, and each of the first two is answered (CVE-2019-9512, CVE-2019-9515, CVE-2019-9518).
//! They are counted where the bytes come in. Window updates are not: a fast download sends thousands, and they cost nothing.

use std::time::Duration;

use crate::coarse::Tick;

/// A frame's header (RFC 9113 section 4.1).
const HEADER: usize = 9;

/// The connection preface of a client.
const PREFACE: usize = 24;

/// Idle frames that may come at once, and how many in each second after that. A program that pings ten times a second is far below.
const BURST: u32 = 1000;
const PER_SECOND: u32 = 50;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// The last type that is defined; what is above is to be ignored.
const CONTINUATION: u8 = 9;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct FrameMeter {
    /// Bytes until the next header begins.
    skip: usize,
    /// What has come of it.
    header: [u8; HEADER],
    filled: usize,
    left: u32,
    refilled: Tick,
}

impl FrameMeter {
    /// From the first byte of a connection on.
    pub(super) fn new() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], filled: 0, left: BURST, refilled: Tick::now() }
    }

    /// Takes in what was read. False if it was too much: the connection has to end.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
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
                let [a, b, c, kind, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = length as usize;
                if is_idle(kind, length) && !self.spend() {
                    return false;
                }
            }
        }
        true
    }

    fn spend(&mut self) -> bool {
        if self.left == 0 {
            // The clock is read only where the burst is spent.
            let now = Tick::now();
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

const fn is_idle(kind: u8, length: u32) -> bool {
    matches!(kind, PRIORITY | SETTINGS | PING) || (kind == DATA && length == 0) || kind > CONTINUATION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
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
        let talk = || (0..5000).flat_map(|_| [frame(1, 40), frame(0, 1000), frame(8, 4)]);
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
}
