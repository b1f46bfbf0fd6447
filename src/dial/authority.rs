//! Hosts with a port, as requests name them (RFC 3986 section 3.2).

use std::borrow::Cow;

use super::host::{Host, InvalidAuthority, canonical_host};
use super::scheme::Scheme;

/// A host and an optional port, as they stand in `Host`, in `:authority` and in a request-target. Borrows where the text
/// is canonical already, so that the usual request allocates nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// The canonical host.
    pub(crate) host: Cow<'a, str>,
    /// The port, if one was written.
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 3986 section 3.2, without userinfo).
    ///
    /// # Errors
    /// Userinfo, an empty host or port, a port of 0 or above 65535, and every host that [`Host::parse`] refuses.
    pub(crate) fn parse(text: &'a str) -> Result<Self, InvalidAuthority> {
        if text.contains('@') {
            return Err(InvalidAuthority("user information (the part before \"@\") is not allowed in a host"));
        }
        let (host, port) = if text.starts_with('[') {
            let end = text.find(']').ok_or(InvalidAuthority("the bracketed IPv6 address has no closing bracket"))?;
            let (host, rest) = text.split_at(end + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(InvalidAuthority("there is text between the IPv6 address and the port")),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = port.map(parse_port).transpose()?;
        Ok(Self { host: canonical_host(host)?, port })
    }

    /// The host, to be kept.
    #[must_use]
    pub(crate) fn into_host(self) -> Host {
        Host::from_canonical(self.host)
    }

    /// The port that this authority means under `scheme`.
    #[must_use]
    pub(crate) fn port_or_default(&self, scheme: Scheme) -> u16 {
        self.port.unwrap_or_else(|| scheme.default_port())
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidAuthority> {
    const PORT: InvalidAuthority = InvalidAuthority("the port is not a number from 1 to 65535");
    // `u16::from_str` accepts a sign; RFC 3986 section 3.2.3 does not.
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PORT);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(PORT),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_have_a_port_or_none() {
        assert_eq!(Authority::parse("a.test:8443").unwrap().port, Some(8443));
        assert_eq!(Authority::parse("a.test").unwrap().port, None);
        assert_eq!(Authority::parse("[::1]:80").unwrap().port, Some(80));
        for text in ["a:", "a:0", "a:65536", "a:+1", "a:99999", "a:1x", "a:1:2", "u@a:1", "[::1]x:1", ":80"] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
    }
}
