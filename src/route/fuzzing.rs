//! What rules about paths are held against: servers that read a path each in its own way, step by step, written otherwise than
//! `reading` is. No path that the rules let pass may come to something else on any of them.

use http::Method;

use super::pattern::PathPattern;
use super::permission::{Permission, permitted};
use super::settings::AllowRule;

/// The rules that every path is held against.
pub(crate) const RULES: [&str; 4] = ["/pub/*", "/v1/*/items", "/files/report-*.csv", "/exact"];

/// One thing that a server may do to a path before it looks at it.
type Step = fn(&[u8]) -> Vec<u8>;

const STEPS: [Step; 11] = [
    percent_decoded,
    percent_decoded,
    leniently_decoded,
    valid_alone,
    backslashes_turned,
    cut_at_nul,
    cut_at_query,
    printable_alone,
    parameters_dropped,
    blanks_trimmed,
    slashes_merged,
];

/// Reads the input as the way of a server (its bytes up to the first slash, each a step) and a path, and lets both look at it.
///
/// # Errors
/// A path that the rules let pass and that comes to something else on this server.
pub fn path(input: &[u8]) -> Result<(), String> {
    let begin = input.iter().position(|byte| *byte == b'/').unwrap_or(input.len());
    let (way, path) = input.split_at(begin);
    // What no request line can hold is refused before there is a path.
    let Ok(path) = std::str::from_utf8(path) else { return Ok(()) };
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Ok(());
    }
    let patterns = RULES.iter().filter_map(|rule| PathPattern::parse(rule).ok()).collect();
    let rule = AllowRule { methods: Vec::new(), paths: patterns };
    if permitted(&[rule], &Method::GET, path) != Permission::Granted {
        return Ok(());
    }
    let mut read = path.as_bytes().to_vec();
    for step in way.iter().take(12) {
        read = STEPS[usize::from(*step) % STEPS.len()](&read);
    }
    let read = dots_resolved(&read);
    if RULES.iter().any(|rule| covers(rule.as_bytes(), &read)) {
        return Ok(());
    }
    Err(format!("{path:?} passes, and is {:?} on a server of the way {way:?}", String::from_utf8_lossy(&read)))
}

/// A rule, read as its documentation says: `*` is anything within a segment, and as the last one everything below.
fn covers(rule: &[u8], path: &[u8]) -> bool {
    match (rule, path) {
        (b"*", rest) => !rest.is_empty(),
        ([b'*', behind @ ..], _) => {
            let segment = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            (0..=segment).any(|taken| covers(behind, &path[taken..]))
        }
        ([expected, behind @ ..], [found, rest @ ..]) => expected == found && covers(behind, rest),
        (rule, path) => rule.is_empty() && path.is_empty(),
    }
}

fn percent_decoded(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(path.len()), 0);
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// UTF-8 by arithmetic alone, as decoders did before anybody thought of overlong forms; what comes to no ASCII stays.
fn leniently_decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(path.len()), 0);
    while at < path.len() {
        let (length, mut point) = match path[at] {
            byte @ 0xc0..=0xdf => (2, u32::from(byte & 0x1f)),
            byte @ 0xe0..=0xef => (3, u32::from(byte & 0x0f)),
            byte @ 0xf0..=0xf7 => (4, u32::from(byte & 0x07)),
            byte => (1, u32::from(byte)),
        };
        let more = path.get(at + 1..at + length).unwrap_or_default();
        let whole = more.len() + 1 == length && more.iter().all(|byte| byte & 0xc0 == 0x80);
        for byte in more {
            point = point << 6 | u32::from(byte & 0x3f);
        }
        match u8::try_from(point) {
            Ok(byte) if whole && length > 1 && byte < 0x80 => out.push(byte),
            _ if whole => out.extend(&path[at..at + length]),
            _ => {
                out.push(path[at]);
                at += 1;
                continue;
            }
        }
        at += length;
    }
    out
}

fn valid_alone(path: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(path).replace(char::REPLACEMENT_CHARACTER, "").into_bytes()
}

fn backslashes_turned(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn cut_at(path: &[u8], end: &[u8]) -> Vec<u8> {
    path.iter().copied().take_while(|byte| !end.contains(byte)).collect()
}

fn cut_at_nul(path: &[u8]) -> Vec<u8> {
    cut_at(path, &[0])
}

fn cut_at_query(path: &[u8]) -> Vec<u8> {
    cut_at(path, b"?#")
}

fn printable_alone(path: &[u8]) -> Vec<u8> {
    path.iter().copied().filter(|byte| *byte >= b' ' && *byte != 0x7f).collect()
}

fn by_segment(path: &[u8], change: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn parameters_dropped(path: &[u8]) -> Vec<u8> {
    by_segment(path, |segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
}

fn blanks_trimmed(path: &[u8]) -> Vec<u8> {
    by_segment(path, <[u8]>::trim_ascii)
}

fn slashes_merged(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    path.dedup_by(|one, other| *one == b'/' && *other == b'/');
    path
}

/// What every server does in the end, or its file system does.
fn dots_resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment.len() == 2 {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            segment => kept.push(segment),
        }
    }
    [b"/", &kept.join(&b'/')[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_server_that_reads_otherwise_is_noticed() {
        assert!(covers(b"/v1/*/items", b"/v1/7/items") && !covers(b"/v1/*/items", b"/v1/7/8/items"));
        assert!(covers(b"/pub/*", b"/pub/a/b") && !covers(b"/pub/*", b"/pub/"));
        let read = |way: &[Step], path: &str| {
            let read = way.iter().fold(path.as_bytes().to_vec(), |path, step| step(&path));
            String::from_utf8(dots_resolved(&read)).unwrap()
        };
        assert_eq!(read(&[percent_decoded, percent_decoded], "/pub/%252e%252e/x"), "/x");
        assert_eq!(read(&[percent_decoded, leniently_decoded], "/pub/%c0%ae%e0%80%ae/x"), "/x");
        assert_eq!(read(&[percent_decoded, cut_at_nul], "/pub/..%00/x"), "/");
        assert_eq!(read(&[slashes_merged], "/v1//items"), "/v1/items");
        assert_eq!(read(&[percent_decoded, parameters_dropped, blanks_trimmed], "/pub/..%20;a/x"), "/x");
    }

    fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
        prop::sample::select(texts)
    }

    /// Two dots in disguise, with what may be dropped between and behind them.
    fn way_out() -> impl Strategy<Value = String> {
        let dot = || one_of(&[".", ".", "%2e", "%252E", "%c0%ae", "%e0%80%ae"]);
        let dropped = one_of(&["", "", "", "%00", "%09", "%1f", "%7f", "%ff", "%c3"]);
        let behind =
            one_of(&["", "", "%00", "%01", "%20", ";", "%3b", ";a=b", "%253b", "%3f", "%23", "%c0%80", "%ff", "%0a"]);
        let slash = one_of(&["/", "/", "%2f", "%252F", "%5c", "\\", "%c0%af", "%f0%80%80%af", "//"]);
        (dot(), dropped, dot(), behind, slash)
            .prop_map(|(one, dropped, two, behind, slash)| [one, dropped, two, behind, slash].concat())
    }

    fn asked() -> impl Strategy<Value = String> {
        let begin = one_of(&["/pub/", "/pub/", "/v1/", "/v1/7/items", "/files/report-", "/exact", "/"]);
        let piece = one_of(&[
            "pub",
            "v1",
            "items",
            "exact",
            "files",
            "report-1.csv",
            "x",
            "/",
            "/",
            ".",
            "..",
            "%2e",
            "%25252e",
            "%2f",
            "%00",
            "%0a",
            "%20",
            " ",
            ";",
            "%3b",
            "%3f",
            "%c0%a5",
            "2e",
            "%ff",
            "%25",
            "%",
            "\u{e9}",
            "%c3%a9",
        ]);
        let piece = prop_oneof![piece.prop_map(str::to_owned), way_out()];
        (begin, prop::collection::vec(piece, 0..5)).prop_map(|(begin, pieces)| begin.to_owned() + &pieces.concat())
    }

    /// Mostly a server decodes first.
    fn way() -> impl Strategy<Value = Vec<u8>> {
        (prop::collection::vec(Just(0_u8), 0..3), prop::collection::vec(0_u8..11, 0..6))
            .prop_map(|(first, then)| [first, then].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_passes_is_the_same_on_every_server(way in way(), asked in asked()) {
            prop_assert_eq!(path(&[&way[..], asked.as_bytes()].concat()), Ok(()));
        }
    }
}
