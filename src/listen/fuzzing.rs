//! What the fuzz targets hold against the readers of what callers send: pieces do not matter, and a second reader, which has
//! everything before it, comes to the same.

use super::connection::frame_meter::FrameMeter;
use super::connection::head_meter::HeadMeter;
use super::connection::state::{ConnectionState, Switch};

/// So many bytes of a request are looked at.
const MAX_BYTES: usize = 16 * 1024;

/// Frames that say nothing, of which so many may come before anything else does.
const BURST: i64 = 1000;

/// HTTP/2 frames: the first byte says how they are cut, and each four bytes are a kind, flags, a length, and how often it comes.
///
/// # Errors
/// A connection that ends too early or too late, or in pieces only.
pub fn frames(input: &[u8]) -> Result<(), String> {
    let Some((first, script)) = input.split_first() else { return Ok(()) };
    let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // What is left of the burst, and the frame that was too much.
    let (mut left, mut acks, mut ended, mut in_head) = (BURST, 2, None, false);
    for frame in script.as_chunks::<4>().0 {
        let [kind, flags, length, times] = *frame;
        for _ in 0..=times {
            if wire.len() > 8 * MAX_BYTES {
                break;
            }
            let idle = match (kind % 12, length) {
                (0, 0) => flags & 1 == 0,
                // Without END_HEADERS a head goes on; either way this is a request, or more of one.
                (0 | 1, _) => {
                    left = (left + 1).min(BURST);
                    false
                }
                (4 | 6, _) if flags & 1 == 1 && acks > 0 => {
                    acks -= 1;
                    false
                }
                (2 | 4 | 6 | 10 | 11, _) => true,
                _ => false,
            };
            wire.extend([0, 0, length, kind % 12, flags, 0, 0, 0, 1]);
            left -= i64::from(idle);
            if left < 0 && ended.is_none() {
                ended = Some(wire.len());
            }
            in_head = matches!(kind % 12, 1 | 9) && flags & 4 == 0;
            wire.extend(std::iter::repeat_n(b'x', usize::from(length)));
        }
    }
    for piece in [wire.len(), usize::from(*first) + 1] {
        let mut meter = FrameMeter::new();
        let mut read = 0;
        let refused = wire.chunks(piece).find_map(|piece| {
            let begun = read;
            read += piece.len();
            (!meter.read(piece)).then_some(begun..=read)
        });
        let right = match (&refused, ended) {
            (None, None) => meter.is_in_head() == in_head,
            (Some(found), Some(ended)) => found.contains(&ended),
            _ => false,
        };
        if !right {
            return Err(format!("in pieces of {piece}: {refused:?} and not {ended:?}; a head is open: {in_head}"));
        }
    }
    Ok(())
}

/// Requests over HTTP/1.1: the first byte says how they are cut.
///
/// # Errors
/// A head with two framings that is found elsewhere, or not at all.
pub fn heads(input: &[u8]) -> Result<(), String> {
    let Some((first, wire)) = input.split_first().filter(|(_, wire)| wire.len() <= MAX_BYTES) else { return Ok(()) };
    let expected = two_framings(wire);
    for piece in [wire.len().max(1), usize::from(*first) + 1] {
        let (mut meter, state) = (HeadMeter::new(), ConnectionState::default());
        let mut read = 0;
        let found = wire.chunks(piece).find_map(|piece| {
            let begun = read;
            read += piece.len();
            meter.read(piece, &state).map(|at| begun + at)
        });
        // Nothing answers here: what follows the request to switch is never looked at.
        if found != expected || (found.is_some() && state.switch() == Switch::Yes) {
            return Err(format!("in pieces of {piece}: {found:?} and not {expected:?}"));
        }
    }
    Ok(())
}

/// The last byte of the first head that says how long its body is and that it does not know; `None` also from where on it
/// cannot be told.
fn two_framings(wire: &[u8]) -> Option<usize> {
    let mut rest = wire;
    loop {
        let mut lines = Vec::new();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = &rest[end + 1..];
            match (line.is_empty(), lines.is_empty()) {
                (false, _) => lines.push(line),
                // Before a request it is put up with.
                (true, true) => {}
                (true, false) => break,
            }
        }
        let (request, fields) = lines.split_first()?;
        let values = |name: &str| {
            let of = |line: &&&[u8]| line.to_ascii_lowercase().starts_with(format!("{name}:").as_bytes());
            fields.iter().filter(of).map(|line| line[name.len() + 1..].trim_ascii()).collect::<Vec<_>>()
        };
        let (lengths, chunked) = (values("content-length"), !values("transfer-encoding").is_empty());
        if chunked && !lengths.is_empty() {
            return Some(wire.len() - rest.len() - 1);
        }
        if chunked {
            rest = behind_chunks(rest)?;
        } else if let Some(last) = lengths.last() {
            let length: u64 = std::str::from_utf8(last).ok()?.parse().ok()?;
            rest = rest.get(usize::try_from(length).ok()?..)?;
        }
        if request.starts_with(b"CONNECT ") || !values("upgrade").is_empty() {
            return None;
        }
    }
}

/// What lies behind a chunked body, as hyper reads it.
fn behind_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let digits = rest[..end].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&rest[..digits]).ok()?, 16).ok()?;
        rest = &rest[end + 1..];
        if size == 0 {
            break;
        }
        rest = rest.get(usize::try_from(size).ok()?.checked_add(2)?..)?;
    }
    // Lines of trailers end with CR LF alone.
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line.is_empty() {
            return Some(rest);
        }
    }
}
