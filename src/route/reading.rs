//! How servers may read one path. Rules about paths are kept only for a path that comes to the same under all of them.
//!
//! Some servers decode twice, merge slashes, cut at NUL, take overlong UTF-8 or backslashes, drop path parameters or blanks.
//! Which ones a server does is not known here; so a path is looked at in every way that makes a difference.

/// So many different readings, and it is ambiguous by that alone.
const MOST: usize = 64;

/// So often a path is decoded again.
const DEPTH: usize = 5;

/// One way to read a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Bytes above ASCII stand for themselves, one character each.
    pub(super) text: String,
    /// Percent-encoding has been taken away: patterns are compared without theirs too.
    pub(super) decoded: bool,
}

/// What `choose` makes of a path, if every reading comes to the same. It is given the path and whether that is decoded. What
/// is refused as it stands is refused whatever else it could mean.
///
/// The usual path has one reading, and costs one look at its bytes.
pub(super) fn agreed<C: PartialEq>(
    path: &str,
    choose: impl Fn(&str, bool) -> Option<C>,
) -> Result<Option<C>, Ambiguous> {
    let chosen = choose(path, false);
    let agree =
        |readings: Vec<Reading>| readings.iter().all(|reading| choose(&reading.text, reading.decoded) == chosen);
    if chosen.is_none() || is_plain(path) || readings(path).is_some_and(agree) { Ok(chosen) } else { Err(Ambiguous) }
}

/// The readings of a path come to different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// True for a path that every server reads alike. (A dot within a name is nothing special.)
fn is_plain(path: &str) -> bool {
    let mut before = b' ';
    path.bytes().all(|byte| {
        let special =
            matches!(byte, b'%' | b'\\' | b';' | 0..=0x20 | 0x7f..) || (before == b'/' && matches!(byte, b'.' | b'/'));
        before = byte;
        !special
    })
}

/// Every reading, the path as it is first; `None` if there are too many.
fn readings(path: &str) -> Option<Vec<Reading>> {
    // Bytes above ASCII are what percent-encoding stands for.
    let text = path.bytes().map(char::from).collect();
    let mut all = vec![Reading { text, decoded: !path.is_ascii() }];
    for level in 0..=DEPTH {
        let Some(text) = decoded(&all[level].text) else { break };
        if level == DEPTH {
            return None;
        }
        all.push(Reading { text, decoded: true });
    }
    for change in [shortest_form, slashes, until_nul, bare, merged, without_dots] {
        for at in 0..all.len() {
            let Reading { text, decoded } = &all[at];
            if let Some(text) = change(text) {
                let reading = Reading { text, decoded: *decoded };
                if !all.contains(&reading) {
                    all.push(reading);
                }
            }
        }
        if all.len() > MOST {
            return None;
        }
    }
    Some(all)
}

/// The text with its percent-encoding taken away once; `None` if there is none.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    let mut any = false;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let byte = behind.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                any = true;
                out.push(char::from(byte));
                rest = &behind[2..];
            }
            None => {
                out.push('%');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    any.then_some(out)
}

/// Overlong UTF-8 (RFC 3629 section 3) as the character that it means to a careless decoder.
fn shortest_form(text: &str) -> Option<String> {
    let characters: Vec<u32> = text.chars().map(u32::from).collect();
    let low =
        |at: usize| characters.get(at).copied().filter(|byte| (0x80..0xc0).contains(byte)).map(|byte| byte & 0x3f);
    let (mut out, mut at, mut any) = (String::with_capacity(text.len()), 0, false);
    while let Some(&first) = characters.get(at) {
        let long = match (first, low(at + 1), low(at + 2), low(at + 3)) {
            (0xc0 | 0xc1, Some(last), ..) => Some(((first & 1) << 6 | last, 2)),
            (0xe0, Some(middle @ 0..=1), Some(last), _) => Some((middle << 6 | last, 3)),
            (0xf0, Some(0), Some(middle @ 0..=1), Some(last)) => Some((middle << 6 | last, 4)),
            _ => None,
        };
        let (meant, length) = long.unwrap_or((first, 1));
        any |= long.is_some();
        out.extend(char::from_u32(meant));
        at += length;
    }
    any.then_some(out)
}

fn slashes(text: &str) -> Option<String> {
    text.contains('\\').then(|| text.replace('\\', "/"))
}

fn until_nul(text: &str) -> Option<String> {
    text.split_once('\0').map(|(before, _)| before.to_owned())
}

/// Without path parameters (`/admin;x`), and without blanks around a name: some servers drop both.
fn bare(text: &str) -> Option<String> {
    let is_blank = |character: char| character <= ' ' || character == '\u{7f}';
    let bare = |segment| -> &str {
        let name = str::trim_matches(segment, is_blank).split(';').next().unwrap_or_default();
        name.trim_matches(is_blank)
    };
    let changed = text.split('/').map(bare).collect::<Vec<_>>().join("/");
    (changed != text).then_some(changed)
}

fn merged(text: &str) -> Option<String> {
    if !text.contains("//") {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    out.extend(
        text.chars()
            .scan(' ', |before, now| {
                let twice = *before == '/' && now == '/';
                *before = now;
                Some((!twice).then_some(now))
            })
            .flatten(),
    );
    Some(out)
}

/// RFC 3986 section 5.2.4.
fn without_dots(text: &str) -> Option<String> {
    let is_dots = |segment: &&str| matches!(*segment, "." | "..");
    if !text.split('/').any(|segment| is_dots(&segment)) {
        return None;
    }
    let (mut kept, mut ends_open): (Vec<&str>, bool) = (Vec::new(), false);
    for segment in text.split('/').skip(1) {
        ends_open = is_dots(&segment);
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let end = if ends_open && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(path: &str) -> Vec<String> {
        readings(path).unwrap().into_iter().map(|reading| reading.text).collect()
    }

    #[test]
    fn usual_paths_have_one_reading() {
        for path in ["/", "/v1/orders/17", "/a.b/c-d_e~f", "/report.2026.csv", "*", "/a/..b/c..", "/@scope/name:1"] {
            assert!(path.contains("/..b") || is_plain(path), "{path}");
            assert_eq!(read(path), [path]);
        }
    }

    #[test]
    fn every_way_out_of_a_folder_is_read_as_one() {
        for path in [
            "/pub/../x",
            "/pub/%2e%2e/x",
            "/pub/.%2e/x",
            "/pub/..%2fx",
            "/pub/..%5cx",
            "/pub/..\\x",
            "/pub/%252e%252e/x",
            "/pub/%252E%252E%252Fx",
            "/pub/..;/x",
            "/pub/..;a=b/x",
            "/pub/..%3b/x",
            "/pub/..%09/x",
            "/pub/..%20/x",
            "/pub/%c0%ae%c0%ae/x",
            "/pub/..%c0%afx",
            "/pub/..%255cx",
            "/pub/%e0%80%ae%e0%80%ae/x",
            "/pub/%25252e%25252e/x",
            "/pub//../../x",
            "/pub/./../x",
            "/pub/%2e%2e%00/x",
        ] {
            let readings = read(path);
            let out = readings.iter().any(|text| matches!(text.as_str(), "/x" | "/"));
            assert!(out || path.contains("%00"), "{path}: {readings:?}");
        }
        assert!(read("/pub/..%00/x").contains(&"/".to_owned()), "{:?}", read("/pub/..%00/x"));
    }

    #[test]
    fn what_is_encoded_too_deeply_is_ambiguous() {
        assert_eq!(readings("/%2525252525252525%2e"), None);
        assert_eq!(agreed("/%2525252525252525%2e", |_, _| Some(1)), Err(Ambiguous));
        assert_eq!(agreed("/%2525252525252525%2e", |_, _| None::<()>), Ok(None));
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "/[/.%;\\\\a0-9c-f\\x00-\\x20]{0,60}") {
            if let Some(readings) = readings(&path) {
                prop_assert!(readings.len() <= MOST && (readings[0].text == path || !path.is_ascii()));
                prop_assert!(!is_plain(&path) || readings.len() == 1);
            }
        }

        #[test]
        fn a_path_without_rules_about_it_is_never_ambiguous(path in "/[/.a-z%2]{0,20}") {
            if readings(&path).is_some() {
                prop_assert_eq!(agreed(&path, |_, _| Some(())), Ok(Some(())));
            }
        }
    }
}
