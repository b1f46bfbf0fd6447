//! How servers may read one path. Rules about paths are kept only for a path that comes to the same under all of them.
//!
//! Some servers decode twice, merge slashes, cut at NUL or at an encoded question mark, take overlong UTF-8, wide forms or
//! backslashes, drop path parameters, blanks, control characters or what is no UTF-8. Which ones a server does, and in which
//! order, is not known here; so a path is looked at in every way that makes a difference.

/// So many different readings, and it is ambiguous by that alone.
const MAX_READINGS: usize = 64;

/// So often a path is decoded again.
const DEPTH: usize = 5;

/// A path that can be read in several ways is looked at up to this length: the work is that of so many readings.
const LONGEST: usize = 16 * 1024;

/// One way to read a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Bytes above ASCII stand for themselves, one character each.
    pub(super) text: String,
    /// Percent-encoding has been taken away: patterns are compared without theirs too.
    pub(super) decoded: bool,
    /// How often.
    level: usize,
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

/// Every reading, the path as it is first; `None` if there are too many. What one server does to what another has made of the
/// path is a reading too: each is looked at in every way again.
fn readings(path: &str) -> Option<Vec<Reading>> {
    if path.len() > LONGEST {
        return None;
    }
    // Bytes above ASCII are what percent-encoding stands for.
    let text = path.bytes().map(char::from).collect();
    let mut all = vec![Reading { text, decoded: !path.is_ascii(), level: 0 }];
    let mut at = 0;
    while let Some(Reading { text, decoded: is_decoded, level }) = all.get(at) {
        let (is_decoded, level) = (*is_decoded, *level);
        let deeper = [decoded, wide_escapes].iter().filter_map(|decode| Some((decode(text)?, true, level + 1)));
        let beside = CHANGES.iter().filter_map(|change| Some((change(text)?, is_decoded, level)));
        let found: Vec<(String, bool, usize)> = deeper.chain(beside).collect();
        for (text, decoded, level) in found {
            if level > DEPTH {
                return None;
            }
            if !all.iter().any(|known| known.decoded == decoded && known.text == text) {
                all.push(Reading { text, decoded, level });
            }
        }
        if all.len() > MAX_READINGS {
            return None;
        }
        at += 1;
    }
    Some(all)
}

/// What servers make of a path besides decoding it.
const CHANGES: [fn(&str) -> Option<String>; 9] =
    [shortest_form, narrow_form, utf8_alone, slashes, without_controls, until_end, bare, merged, without_dots];

/// The text with its percent-encoding taken away once; `None` if there is none.
pub(super) fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
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

/// `%u002e`, as some servers of Microsoft's take it.
fn wide_escapes(text: &str) -> Option<String> {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    let mut any = false;
    while let Some((before, behind)) = rest.split_once("%u") {
        out.push_str(before);
        let digits = behind.get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if let Some(meant) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            any = true;
            let mut utf8 = [0; 4];
            let meant = char::from_u32(meant).unwrap_or('?').encode_utf8(&mut utf8);
            out.extend(meant.bytes().map(char::from));
            rest = &behind[4..];
        } else {
            out.push_str("%u");
            rest = behind;
        }
    }
    out.push_str(rest);
    any.then_some(out)
}

/// Characters that look like one that divides paths, and become it where a server brings text into a common form.
fn narrow_form(text: &str) -> Option<String> {
    const WIDE: [(&str, &str); 8] = [
        ("\u{ef}\u{bc}\u{8e}", "."),
        ("\u{ef}\u{bc}\u{8f}", "/"),
        ("\u{ef}\u{bc}\u{bc}", "\\"),
        ("\u{ef}\u{bc}\u{85}", "%"),
        ("\u{ef}\u{bc}\u{9b}", ";"),
        ("\u{ef}\u{b9}\u{92}", "."),
        ("\u{e2}\u{80}\u{a4}", "."),
        ("\u{e2}\u{80}\u{a5}", ".."),
    ];
    if !text.contains(['\u{ef}', '\u{e2}']) {
        return None;
    }
    let narrow = WIDE.iter().fold(text.to_owned(), |text, (wide, narrow)| text.replace(wide, narrow));
    (narrow != text).then_some(narrow)
}

/// Without the bytes that are no UTF-8: some decoders leave them out.
fn utf8_alone(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Vec<u8> = text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect();
    let valid = bytes.utf8_chunks().flat_map(|chunk| chunk.valid().bytes().map(char::from)).collect::<String>();
    (valid.len() != text.len()).then_some(valid)
}

fn slashes(text: &str) -> Option<String> {
    text.contains('\\').then(|| text.replace('\\', "/"))
}

fn without_controls(text: &str) -> Option<String> {
    text.contains(|character: char| character.is_ascii_control())
        .then(|| text.chars().filter(|character| !character.is_ascii_control()).collect())
}

/// Up to where a text ends in C, or where a path does once it has been decoded.
fn until_end(text: &str) -> Option<String> {
    text.split_once(['\0', '?', '#']).map(|(before, _)| before.to_owned())
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

    #[test]
    fn what_is_dropped_or_cut_on_the_way_hides_no_way_out() {
        let mut paths: Vec<String> = [
            "/pub/%252525252e%252525252e/x",
            "/pub/..%253b/x",
            "/pub/.%00./x",
            "/pub/..%3f/x",
            "/pub/..%23/x",
            "/pub/..%ff/x",
            "/pub/.%c3./x",
            "/pub/%c0%a52e%c0%a52e/x",
            "/pub/..%c0%80/x",
            "/pub/%u002e%u002e/x",
            "/pub/..%u002f..%u002fx",
            "/pub/%ef%bc%8e%ef%bc%8e%ef%bc%8fx",
            "/pub/%e2%80%a5/x",
            "/pub/..%5c%2e%2e/x",
            "/pub/%2e.%20;a/x",
            "/pub/ ../x",
            "/pub/\u{e9}/../../x",
        ]
        .map(str::to_owned)
        .into();
        for control in (0x00..=0x20).chain([0x7f]) {
            paths.extend([format!("/pub/..%{control:02x}/x"), format!("/pub/..%25{control:02X}/x")]);
            if control != 0x20 {
                paths.push(format!("/pub/.%{control:02x}./x"));
            }
        }
        for path in paths {
            let chosen = agreed(&path, |path, _| path.starts_with("/pub/").then_some(()));
            assert_eq!(chosen, Err(Ambiguous), "{path}: {:?}", readings(&path));
        }
    }

    #[test]
    fn paths_of_real_programs_are_no_riddles() {
        for path in [
            "/pub/@scope%2fname",
            "/pub/a%20b;v=1/%C3%A9//x.",
            "/pub/%E6%97%A5%E6%9C%AC/%E8%AA%9E%20(1).pdf",
            "/pub/repos/o%2Fr/contents/a%2Fb%2Fc.txt",
            "/pub/100%25/50%/x%3Fy%23z",
            "/pub/caf%e9",
            "/pub/matrix;a=1;b=2/c;d=3",
            "/pub/http://example.com/a//b",
        ] {
            let chosen = agreed(path, |path, _| path.starts_with("/pub/").then_some(()));
            assert_eq!(chosen, Ok(Some(())), "{path}: {:?}", readings(path).map(|all| all.len()));
        }
    }

    #[test]
    fn a_long_riddle_is_refused_and_a_long_plain_path_is_not() {
        assert_eq!(agreed(&format!("/{}%41", "a".repeat(LONGEST)), |_, _| Some(())), Err(Ambiguous));
        assert_eq!(agreed(&format!("/{}", "a".repeat(LONGEST)), |_, _| Some(())), Ok(Some(())));
    }

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
                prop_assert!(readings.len() <= MAX_READINGS && (readings[0].text == path || !path.is_ascii()));
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
