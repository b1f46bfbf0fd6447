//! Hosts in one canonical form (RFC 3986 section 6.2).
//!
//! Every host that enters the program, whether from a request or from `proxy.toml`, passes [`Host::parse`]. What comes
//! out is compared, hashed, dialled, sent in SNI and written into `Host` as it is, so two spellings of one host can never
//! be treated as two, nor two hosts as one. Spellings that resolvers read in surprising ways (decimal, octal or hex
//! addresses, percent-encoding, zone identifiers, empty labels) are refused instead of being repaired.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

/// A host in canonical form: a lower-case name without trailing dot, a dotted-decimal IPv4 address, or a bracketed IPv6
/// address in its RFC 5952 form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Host(Box<str>);

impl Host {
    /// Reads a host strictly.
    ///
    /// # Errors
    /// Userinfo, percent-encoding, zone identifiers, empty or over-long labels, characters outside letters, digits, `-`
    /// and `_`, and numeric hosts that are not a plain IPv4 address.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        canonical_host(text).map(|host| Self(host.into()))
    }

    /// A text that [`canonical_host`] has passed.
    pub(super) fn from_canonical(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// A name that no host has (RFC 6761 section 6.4), for where the host comes with each request.
    #[must_use]
    pub(crate) fn placeholder() -> Self {
        Self("invalid".into())
    }

    /// The canonical text, brackets included for IPv6.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as resolvers and certificates have it: an IPv6 address without brackets.
    #[must_use]
    pub(crate) fn bare(&self) -> &str {
        self.0.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(&self.0)
    }

    #[must_use]
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        host_ip(&self.0)
    }

    /// True for `localhost`, names below it, and loopback addresses (RFC 6761 section 6.3).
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_host(&self.0)
    }
}

/// As [`Host::is_loopback`], of a text that is canonical already.
#[must_use]
pub(crate) fn is_loopback_host(canonical: &str) -> bool {
    match host_ip(canonical) {
        Some(IpAddr::V6(ip)) => ip.to_ipv4_mapped().map_or_else(|| ip.is_loopback(), |ip| ip.is_loopback()),
        Some(IpAddr::V4(ip)) => ip.is_loopback(),
        None => canonical == "localhost" || canonical.ends_with(".localhost"),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no host, port, authority or origin; the sentence is fit for a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAuthority(pub(super) &'static str);

pub(super) fn canonical_host(text: &str) -> Result<Cow<'_, str>, InvalidAuthority> {
    if let Some(inner) = text.strip_prefix('[') {
        return canonical_v6(text, inner);
    }
    // One trailing dot marks the DNS root; without it the name is the same.
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(InvalidAuthority("the host is empty"));
    }
    if name.len() > 253 {
        return Err(InvalidAuthority("the host is longer than 253 characters"));
    }
    let mut upper = false;
    let mut label_len = 0_usize;
    let mut label_numeric = true;
    let mut last_label = "";
    let mut label_start = 0;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' => {
                if label_len == 0 {
                    return Err(InvalidAuthority("the host has an empty label"));
                }
                label_len = 0;
                label_start = at + 1;
                label_numeric = true;
                continue;
            }
            b'A'..=b'Z' => upper = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            _ => return Err(InvalidAuthority("the host has a character that no host name has")),
        }
        label_numeric &= byte.is_ascii_digit();
        label_len += 1;
        if label_len > 63 {
            return Err(InvalidAuthority("a label of the host is longer than 63 characters"));
        }
        last_label = &name[label_start..=at];
    }
    if label_len == 0 {
        return Err(InvalidAuthority("the host has an empty label"));
    }
    // WHATWG URL "ends in a number": resolvers read such a host as an address in decimal, octal or hexadecimal.
    let hex = last_label.len() > 1
        && last_label.as_bytes()[0] == b'0'
        && last_label.as_bytes()[1].eq_ignore_ascii_case(&b'x')
        && last_label.bytes().skip(2).all(|b| b.is_ascii_hexdigit());
    if label_numeric || hex {
        // `Ipv4Addr` takes exactly four decimal parts without leading zeros.
        return match Ipv4Addr::from_str(name) {
            Ok(_) if name.len() == text.len() => Ok(Cow::Borrowed(text)),
            Ok(_) => Ok(Cow::Borrowed(name)),
            Err(_) => Err(InvalidAuthority("a numeric host has to be an IPv4 address in its usual form")),
        };
    }
    if upper { Ok(Cow::Owned(name.to_ascii_lowercase())) } else { Ok(Cow::Borrowed(name)) }
}

fn canonical_v6<'a>(text: &'a str, inner: &str) -> Result<Cow<'a, str>, InvalidAuthority> {
    let inner = inner.strip_suffix(']').ok_or(InvalidAuthority("the bracketed IPv6 address has no closing bracket"))?;
    // Zone identifiers (`%25eth0`) mean something on one machine only and never belong in a URI that is forwarded.
    let ip = Ipv6Addr::from_str(inner)
        .map_err(|_invalid| InvalidAuthority("the address in brackets is not a plain IPv6 address"))?;
    let canonical = format!("[{ip}]");
    if canonical == text { Ok(Cow::Borrowed(text)) } else { Ok(Cow::Owned(canonical)) }
}

pub(super) fn host_ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        // Only what begins with a digit can be an address, and names are asked about more often.
        None if !host.starts_with(|first: char| first.is_ascii_digit()) => None,
        None => host.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_have_one_spelling() {
        for (text, canonical) in [
            ("API.Example.com", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("a_b.example", "a_b.example"),
            ("[0:0::1]", "[::1]"),
            ("[2001:DB8::a]", "[2001:db8::a]"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("LocalHost.", "localhost"),
            ("[::FFFF:7f00:1]", "[::ffff:127.0.0.1]"),
            ("[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(Host::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn surprising_hosts_are_refused() {
        for text in [
            "",
            ".",
            "a..test",
            ".test",
            "a;b",
            "a,b",
            "a'b",
            "a b",
            "a%2eb",
            "[fe80::1%25eth0]",
            "a/b",
            "a\\b",
            "a#b",
            "bücher.example",
            "[::1",
            "user@host",
            "*",
            "*.example.com",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_in_disguise_are_refused() {
        let spelled = "2130706433 0x7f.1 0177.0.0.1 127.1 1.2.3.4.5 256.1.1.1 0x7f000001 2130706433. 0X7F.1 127.0.0.0x1 \
            example.0x 017700000001 127.0.1 127.0.0.01 127.0.0.1.. example.com.1 ::1 [127.0.0.1] [::1%lo] [v1.fe80] １２７.0.0.1 127。0。0。1";
        for text in spelled.split_whitespace() {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_hosts_are_fixed_points(text in "\\PC{0,40}") {
            if let Ok(host) = Host::parse(&text) {
                let again = Host::parse(host.as_str()).unwrap();
                prop_assert_eq!(&again, &host);
                prop_assert!(!host.as_str().bytes().any(|b| b.is_ascii_uppercase() || b == b'@' || b == b'/'));
            }
        }

        #[test]
        fn case_and_trailing_dot_never_matter(text in "[a-zA-Z0-9_-]{1,20}(\\.[a-zA-Z][a-zA-Z0-9-]{0,10}){1,3}") {
            let plain = Host::parse(&text.to_ascii_lowercase());
            prop_assert_eq!(Host::parse(&text.to_ascii_uppercase()).ok(), plain.clone().ok());
            prop_assert_eq!(Host::parse(&format!("{text}.")).ok(), plain.ok());
        }

        #[test]
        fn whatever_the_resolver_reads_as_an_address_is_one_here(n in any::<u32>()) {
            prop_assert!(Host::parse(&n.to_string()).is_err());
            let text = format!("{n:#x}");
            prop_assert!(Host::parse(&text).is_err());
        }
    }
}
