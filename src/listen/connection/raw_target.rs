//! What stands in a request target as it is, and may not: who reads the head only says that there is something.

use http::Uri;

/// The first character that keeps the target of this request line from being read, and could be percent-encoded (RFC 3986
/// section 2.1).
pub(super) fn raw_character(line: &[u8]) -> Option<char> {
    // A line that is cut may end within a character.
    let text = line.utf8_chunks().next()?.valid();
    let (_method, rest) = text.split_once(' ')?;
    let target = rest.rsplit_once(" HTTP/").map_or(rest, |(target, _version)| target);
    let is_target = target.starts_with('/') || target.contains("://");
    if !is_target || target.parse::<Uri>().is_ok() {
        return None;
    }
    let query = target.find('?').unwrap_or(target.len());
    target.char_indices().find_map(|(at, character)| {
        let alone = if at > query { format!("/?{character}") } else { format!("/{character}") };
        let odd = !character.is_ascii() || u8::try_from(character).is_ok_and(is_odd);
        (odd && alone.parse::<Uri>().is_err()).then_some(character)
    })
}

/// True for what no URI has as it is, and for blanks.
const fn is_odd(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_character_is_found_that_the_target_cannot_be_read_for() {
        for (line, raw) in [
            ("GET /v1?q={\"a\":1} HTTP/1.1", Some('"')),
            ("GET http://a.test/v1?q={\"a\":1} HTTP/1.1", Some('"')),
            ("GET /v1/<b> HTTP/1.1", Some('<')),
            ("GET /v1/`x HTTP/1.1", Some('`')),
            ("GET /a b HTTP/1.1", Some(' ')),
            ("GET /a|b?c={d}&e=^ HTTP/1.1", None),
            ("GET /plain?a=b HTTP/1.1", None),
            ("CONNECT a.test:443 HTTP/1.1", None),
            ("GET /v1?q=\"é", Some('"')),
            ("no request at all, but words", None),
            ("", None),
        ] {
            let found = raw_character(line.as_bytes());
            assert_eq!(found, raw, "{line}");
        }
    }
}
