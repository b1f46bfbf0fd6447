//! Path prefixes and path patterns. Both compare a path as it was sent; what else it could mean is `reading`'s.

use std::fmt;

use super::reading;

/// A literal prefix of whole segments: `/one` covers `/one` and `/one/x`, not `/oneself`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

/// Why a text is no path prefix or pattern; the sentence is fit for a configuration error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPath(&'static str);

impl PathPrefix {
    /// Reads a prefix; one trailing slash is dropped, and `/` alone is no prefix.
    ///
    /// # Errors
    /// A text that does not begin with `/`, or with a query, fragment, empty or dot segment, or a character that no path has.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        check_path(text)?;
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Err(InvalidPath("a path prefix names at least one segment"));
        }
        if text.contains("//") || is_ambiguous(text) {
            return Err(InvalidPath("a path prefix has no empty, \".\" or \"..\" segments and no encoded slashes"));
        }
        Ok(Self(text.into()))
    }

    /// The prefix without a trailing slash.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of segments.
    #[must_use]
    pub(crate) fn depth(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count()
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path of an `allow` rule: `*` stands for any text within one segment, and as the last segment for everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Vec<Box<str>>,
    /// Without percent-encoding, where there is any.
    decoded: Option<Vec<Box<str>>>,
    /// The last segment is `*`: at least one character follows the slash before it.
    open: bool,
}

impl PathPattern {
    /// Reads a pattern such as `/v1/orders`, `/v1/*` or `/v1/*/items`.
    ///
    /// # Errors
    /// A text that does not begin with `/`, or with a query, fragment, dot segment or a character that no path has.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        check_path(text)?;
        if is_ambiguous(text) {
            return Err(InvalidPath(
                "a path pattern has no \".\" or \"..\" segments, no empty segments, path parameters or backslashes, and no encoded slashes, dots, stars, question marks, hashes, percent signs or control characters",
            ));
        }
        let mut segments: Vec<Box<str>> = text[1..].split('/').map(Into::into).collect();
        let open = segments.last().is_some_and(|last| &**last == "*");
        if open {
            segments.pop();
        }
        let without = |segment: &str| reading::decoded(segment).unwrap_or_else(|| segment.to_owned()).into();
        let decoded = text.contains('%').then(|| segments.iter().map(|segment| without(segment)).collect());
        Ok(Self { text: text.into(), segments, decoded, open })
    }

    /// True if the path (without query) is covered, byte for byte.
    #[cfg(test)]
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.covers_reading(path, false)
    }

    pub(super) fn covers_reading(&self, path: &str, decoded: bool) -> bool {
        let segments = if decoded { self.decoded_segments() } else { &self.segments };
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for (at, pattern) in segments.iter().enumerate() {
            let last = at + 1 == segments.len() && !self.open;
            let (segment, behind) = match rest.split_once('/') {
                Some((segment, behind)) if !last => (segment, behind),
                None if last => (rest, ""),
                _ => return false,
            };
            if !segment_covers(pattern, segment) {
                return false;
            }
            rest = behind;
        }
        !self.open || !rest.is_empty() || segments.is_empty()
    }

    /// All but a last `*`.
    pub(super) fn segments(&self) -> &[Box<str>] {
        &self.segments
    }

    pub(super) fn decoded_segments(&self) -> &[Box<str>] {
        self.decoded.as_deref().unwrap_or(&self.segments)
    }

    pub(super) const fn is_encoded(&self) -> bool {
        self.decoded.is_some()
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// True for a text of the configuration that two servers may read differently.
fn is_ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["%23", "%25", "%2a", "%2e", "%2f", "%3b", "%3f", "%5c", "%7f", "%u", "//"]
        .iter()
        .any(|encoded| lower.contains(encoded))
        || lower.split('%').skip(1).any(|behind| behind.starts_with(['0', '1']))
        || text.contains(['\\', ';'])
        || text.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn check_path(text: &str) -> Result<(), InvalidPath> {
    if !text.starts_with('/') {
        return Err(InvalidPath("a path begins with \"/\""));
    }
    if text.contains(['?', '#']) {
        return Err(InvalidPath("a path has no query and no fragment"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidPath("a path is written in ASCII without spaces, other characters percent-encoded"));
    }
    Ok(())
}

/// `*` within one segment; greedy with backtracking to the latest star, linear in practice.
pub(super) fn segment_covers(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        assert_eq!(PathPrefix::parse("/one/").unwrap().as_str(), "/one");
        assert_eq!(PathPrefix::parse("/one/two").unwrap().depth(), 2);
        for text in ["", "one", "/", "/a//b", "/a/../b", "/a?b", "/a#b", "/a b", "/%2e%2e/a"] {
            assert!(PathPrefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_star_stays_in_its_segment_unless_it_is_the_last() {
        let covers = |pattern: &str, path: &str| PathPattern::parse(pattern).unwrap().covers(path);
        assert!(covers("/v1/*", "/v1/a"));
        assert!(covers("/v1/*", "/v1/a/b"));
        assert!(!covers("/v1/*", "/v1"));
        assert!(!covers("/v1/*", "/v1/"));
        assert!(!covers("/v1/*", "/v2/a"));
        assert!(covers("/*", "/"));
        assert!(covers("/*", "/anything/at/all"));
        assert!(covers("/v1/*/items", "/v1/7/items"));
        assert!(!covers("/v1/*/items", "/v1/7/8/items"));
        assert!(covers("/v1/report-*.csv", "/v1/report-2026.csv"));
        assert!(!covers("/v1/report-*.csv", "/v1/report-2026.csv/x"));
        assert!(covers("/exact", "/exact"));
        assert!(!covers("/exact", "/exact/"));
        assert!(!covers("/exact", "/Exact"));
    }

    #[test]
    fn texts_that_servers_read_differently_are_no_patterns() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/..;x/b",
            "/%00",
            "/%252e",
            "/a//b",
            "/%2a",
            "/a;b",
        ] {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/a/b.c", "/a/..b", "/a/...", "/%20x", "/"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }
}
