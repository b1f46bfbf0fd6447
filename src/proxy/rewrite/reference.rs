//! URI references (RFC 3986 section 4.1): which of them name the origin, and what the caller calls it.
//!
//! Whatever is not read for certain as the origin's own stays as it is: user information, another port, a name that only
//! begins the same, characters that programs read differently.

use crate::dial::{Authority, Origin, Scheme};

/// The two names of one origin: its own, and that of the caller who sent the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// What the request has reached.
    pub(super) origin: &'a Origin,
    /// What the caller calls it: scheme, and host as it was written. An HTTP/1.0 caller may have said no host.
    pub(super) scheme: Scheme,
    pub(super) host: Option<&'a str>,
    /// The caller's name is that of the listener, and not the origin's with another scheme.
    pub(super) base: bool,
    /// What stands in front of the origin's paths: whole segments, or nothing.
    pub(super) prefix: &'a str,
    /// The path that the origin was asked for.
    pub(super) path: &'a str,
    /// The caller asked for the prefix alone, so that there is no slash behind it.
    pub(super) bare: bool,
}

/// A reference, taken apart as far as matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    /// `http://authority/rest` or `https://authority/rest`.
    Absolute(Scheme, &'a [u8], &'a [u8]),
    /// `//authority/rest`.
    Network(&'a [u8], &'a [u8]),
    /// `/path`, query and fragment included.
    Path(&'a [u8]),
    /// `path`, too.
    Relative(&'a [u8]),
}

impl<'a> Reference<'a> {
    /// `None` for other schemes, for what stays where it is (`?query`, `#fragment`), and for what browsers read as another
    /// host and others as a path.
    pub(super) fn split(text: &'a [u8]) -> Option<Self> {
        let end = text.iter().position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#'));
        if let Some(end) = end
            && text[end] == b':'
        {
            let scheme = std::str::from_utf8(&text[..end]).ok().and_then(Scheme::parse)?;
            let (authority, rest) = cut(text[end + 1..].strip_prefix(b"//")?, b"/?#");
            return Some(Self::Absolute(scheme, authority, rest));
        }
        if let Some(network) = text.strip_prefix(b"//") {
            let (authority, rest) = cut(network, b"/?#");
            return Some(Self::Network(authority, rest));
        }
        match text {
            [b'/', b'\\', ..] | [b'\\' | b'?' | b'#', ..] | [] => None,
            [b'/', ..] => Some(Self::Path(text)),
            _ => Some(Self::Relative(text)),
        }
    }
}

impl Names<'_> {
    /// The reference as the caller has to read it; `None` where it already reads so, or another server's.
    pub(super) fn rewritten(&self, text: &[u8]) -> Option<Vec<u8>> {
        let prefixed = !self.prefix.is_empty();
        let rewritten = match Reference::split(text)? {
            Reference::Absolute(scheme, authority, rest) if self.is_origin(scheme, authority) => {
                self.absolute(&[self.scheme.as_str(), "://"], rest)?
            }
            // It takes its scheme from the request, and the origin knows the one that it was reached by.
            Reference::Network(authority, rest) if self.is_origin(self.origin.scheme, authority) => {
                self.absolute(&["//"], rest)?
            }
            Reference::Path(path) if prefixed => self.prefixed(path),
            Reference::Relative(path) if prefixed => self.resolved(path)?,
            _ => return None,
        };
        (rewritten != text).then_some(rewritten)
    }

    /// As requests are matched: `http://` of an https origin counts, at its own port and at that of http.
    pub(super) fn is_origin(&self, scheme: Scheme, authority: &[u8]) -> bool {
        let Some(authority) = read(authority) else { return false };
        let (origin, port) = (self.origin, authority.port_or_default(scheme));
        let alias = (scheme, origin.scheme) == (Scheme::Http, Scheme::Https) && port == Scheme::Http.default_port();
        let same_scheme = scheme == origin.scheme || scheme == Scheme::Http;
        *authority.host == *origin.host.as_str() && (alias || (same_scheme && port == origin.port))
    }

    /// True if this is the host that the caller has asked. The scheme is not held against it: something that ends TLS may
    /// stand before attache.
    pub(super) fn is_asked_host(&self, scheme: Scheme, authority: &[u8]) -> bool {
        let asked = self.host.and_then(|host| Authority::parse(host).ok());
        let (Some(said), Some(asked)) = (read(authority), asked) else { return false };
        said.host == asked.host && said.port_or_default(scheme) == asked.port_or_default(scheme)
    }

    fn absolute(&self, before: &[&str], rest: &[u8]) -> Option<Vec<u8>> {
        let rest = if self.prefix.is_empty() { rest.to_vec() } else { self.prefixed(rest) };
        let Some(host) = self.host else {
            // Without a host to name there still is the path, as long as it cannot be read as one.
            return match *rest {
                [b'/', b'/' | b'\\', ..] => None,
                [b'/', ..] => Some(rest),
                _ => Some([b"/", &*rest].concat()),
            };
        };
        Some([before.concat().as_bytes(), host.as_bytes(), &rest].concat())
    }

    /// Dot segments that lead above the root are resolved first: behind the prefix they would lead out of it.
    fn prefixed(&self, rest: &[u8]) -> Vec<u8> {
        let (path, tail) = cut(rest, b"?#");
        match path {
            b"" => [self.prefix.as_bytes(), b"/", tail].concat(),
            _ if climbs(path) => [self.prefix.as_bytes(), &without_dots(path), tail].concat(),
            _ => [self.prefix.as_bytes(), path, tail].concat(),
        }
    }

    /// A relative reference leads to the same place under the prefix, unless it climbs out of it, or there is no slash
    /// behind the prefix from where it could go on.
    fn resolved(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (path, tail) = cut(text, b"?#");
        let folder = self.path.rfind('/').map_or("/", |slash| &self.path[..=slash]);
        let merged = [folder.as_bytes(), path].concat();
        let leaves = self.bare || climbs(&merged);
        leaves.then(|| [self.prefix.as_bytes(), &without_dots(&merged), tail].concat())
    }
}

fn read(authority: &[u8]) -> Option<Authority<'_>> {
    Authority::parse(std::str::from_utf8(authority).ok()?).ok()
}

/// The text before the first of these characters, and the text from there on.
pub(super) fn cut<'a>(text: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    text.split_at(text.iter().position(|byte| at.contains(byte)).unwrap_or(text.len()))
}

/// 1 for a segment that stays where it is, 2 for one that goes up, encoded or not; 0 for all others.
fn dots(segment: &[u8]) -> usize {
    let dot = |rest: &mut &[u8]| match **rest {
        [b'.', ref behind @ ..] | [b'%', b'2', b'e' | b'E', ref behind @ ..] => {
            *rest = behind;
            true
        }
        _ => false,
    };
    let mut rest = segment;
    let found = usize::from(dot(&mut rest)) + usize::from(dot(&mut rest));
    if rest.is_empty() { found } else { 0 }
}

/// True for a path whose dot segments lead above its root.
fn climbs(path: &[u8]) -> bool {
    let mut depth = 0_usize;
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match dots(segment) {
            2 => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            1 => {}
            _ => depth += 1,
        }
    }
    false
}

/// RFC 3986 section 5.2.4, for a path that begins with a slash.
pub(super) fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let up = dots(segment);
        if up == 2 {
            kept.pop();
        }
        if up == 0 {
            kept.push(segment);
        } else if segments.peek().is_none() {
            kept.push(b"");
        }
    }
    [b"/", &*kept.join(&b'/')].concat()
}
