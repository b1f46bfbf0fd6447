//! `Set-Cookie` (RFC 6265 section 4.1): what says for which host, path and scheme a cookie is. The rest passes byte for byte.

use super::reference::Names;
use crate::dial::{Host, Scheme};

/// The field as the caller has to read it; `None` where it keeps the cookie and sends it back as it is.
pub(super) fn rewritten(names: &Names<'_>, text: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = text.split(|byte| *byte == b';');
    let cookie = pieces.next()?;
    let attributes: Vec<Attribute<'_>> = pieces.map(Attribute::read).collect();
    // Of several with one name the last one counts.
    let last = |name: &str| attributes.iter().rev().find(|attribute| attribute.is(name));
    let foreign_host = names.base && last("Domain").is_some_and(|domain| covers(domain.value, &names.origin.host));
    let in_clear = names.scheme == Scheme::Http && last("Secure").is_some();

    let mut rewritten = cookie.to_vec();
    for attribute in &attributes {
        let goes = (foreign_host && attribute.is("Domain"))
            || (in_clear && (attribute.is("Secure") || attribute.needs_secure()));
        if goes {
            continue;
        }
        rewritten.push(b';');
        match attribute.path().filter(|_| !names.prefix.is_empty()) {
            Some((before, path)) => {
                rewritten.extend_from_slice(before);
                rewritten.extend_from_slice(&below(names.prefix, path));
            }
            None => rewritten.extend_from_slice(attribute.text),
        }
    }
    // Without one, a caller takes the path up to the last slash, and the prefix alone has none behind it.
    if names.bare && !last("Path").is_some_and(|path| path.value.starts_with(b"/")) {
        rewritten.extend_from_slice(b"; Path=");
        rewritten.extend_from_slice(&below(names.prefix, b"/"));
    }
    (rewritten != text).then_some(rewritten)
}

/// One attribute: how it was written, and what it says.
struct Attribute<'a> {
    text: &'a [u8],
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn read(text: &'a [u8]) -> Self {
        let (name, value) = super::reference::cut(text, b"=");
        let value = value.strip_prefix(b"=").unwrap_or(value);
        Self { text, name: name.trim_ascii(), value: value.trim_ascii() }
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// True for what browsers take from secure cookies only: such a cookie would not be kept.
    fn needs_secure(&self) -> bool {
        self.is("Partitioned") || (self.is("SameSite") && self.value.eq_ignore_ascii_case(b"None"))
    }

    /// The path that it names, and everything before that. Some servers put it in quotes.
    fn path(&self) -> Option<(&'a [u8], &'a [u8])> {
        let quoted = self.value.strip_prefix(b"\"").filter(|path| path.starts_with(b"/"));
        let path = quoted.or_else(|| Some(self.value).filter(|path| path.starts_with(b"/")))?;
        let path = if self.is("Path") { path } else { return None };
        let end = self.text.trim_ascii_end();
        Some((&end[..end.len() - path.len()], path))
    }
}

/// RFC 6265 section 5.1.3: the host itself, or a domain that it is in.
fn covers(domain: &[u8], host: &Host) -> bool {
    let domain = domain.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(domain);
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    let name = host.as_str().as_bytes();
    let Some((before, end)) = name.len().checked_sub(domain.len()).map(|at| name.split_at(at)) else { return false };
    !domain.is_empty()
        && end.eq_ignore_ascii_case(domain)
        && (before.is_empty() || (before.ends_with(b".") && host.ip().is_none()))
}

/// A cookie's path below the prefix; what is behind it may end in a quote.
fn below(prefix: &str, path: &[u8]) -> Vec<u8> {
    let (path, quote) = path.strip_suffix(b"\"").map_or((path, &b""[..]), |path| (path, &b"\""[..]));
    // No attribute can hold a semicolon: then the cookie is for every path.
    if prefix.contains(';') {
        return [b"/", quote].concat();
    }
    // `/one` is for `/one` and all below it, and `/one/` is not for `/one`.
    let path = if path == b"/" { b"" } else { path };
    [prefix.as_bytes(), path, quote].concat()
}
