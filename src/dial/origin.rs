//! Origins: scheme, host and port in one canonical form (RFC 9110 section 4.3.1, RFC 3986 section 6.2).
//!
//! Every host that enters the program, whether from a request or from `proxy.toml`, passes [`Host::parse`]. What comes
//! out is compared, hashed, dialled, sent in SNI and written into `Host` as it is, so two spellings of one host can never
//! be treated as two, nor two hosts as one. Spellings that resolvers read in surprising ways (decimal, octal or hex
//! addresses, percent-encoding, zone identifiers, empty labels) are refused instead of being repaired.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The two URI schemes that attache forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `http`, default port 80.
    Http,
    /// `https`, default port 443.
    Https,
}

impl Scheme {
    /// The port that a URI of this scheme means when it names none (RFC 9110 sections 4.2.1 and 4.2.2).
    #[must_use]
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme as it is written in a URI.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads a scheme in any case; `None` for anything that attache does not forward.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no host, port, authority or origin; the sentence is fit for a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAuthority(&'static str);

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

    /// A name that is nobody's (RFC 6761 section 6.4), for where the host comes with each request.
    #[must_use]
    pub(crate) fn placeholder() -> Self {
        Self("invalid".into())
    }

    /// The canonical text, brackets included for IPv6.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if the host is one.
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

    /// The port that this authority means under `scheme`.
    #[must_use]
    pub(crate) fn port_or_default(&self, scheme: Scheme) -> u16 {
        self.port.unwrap_or_else(|| scheme.default_port())
    }
}

/// Scheme, host and port: what is matched, dialled, verified and given a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// `http` or `https`.
    pub(crate) scheme: Scheme,
    /// The canonical host.
    pub(crate) host: Host,
    /// The port, the scheme's own if none was written.
    pub(crate) port: u16,
}

impl Origin {
    /// Host and port as they are written into `Host`: the port only where it is not the scheme's own.
    #[must_use]
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.0.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// True where the origin is on this machine, so that plaintext leaks nothing to a network.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl FromStr for Origin {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, authority) = split_origin(text)?;
        let authority = Authority::parse(authority)?;
        Ok(Self { scheme, port: authority.port_or_default(scheme), host: Host(authority.host.into()) })
    }
}

/// The origins that an upstream covers: one, or every host one label below a suffix (`https://*.example.com`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OriginPattern {
    /// Exactly this origin.
    Exact(Origin),
    /// Any single label in front of `suffix.host`; scheme and port as in `suffix`. One label only, as in a wildcard
    /// certificate (RFC 9525 section 6.3).
    Wildcard {
        /// The origin without the `*.`.
        suffix: Origin,
    },
}

impl OriginPattern {
    /// Scheme, port and host (for a wildcard the part behind `*.`).
    #[must_use]
    pub(crate) const fn base(&self) -> &Origin {
        match self {
            Self::Exact(origin) | Self::Wildcard { suffix: origin } => origin,
        }
    }

    /// True if this canonical host is covered.
    #[must_use]
    pub(crate) fn covers_host(&self, host: &str) -> bool {
        match self {
            Self::Exact(origin) => origin.host.as_str() == host,
            Self::Wildcard { suffix } => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix.host.as_str())
            }
        }
    }

    /// The concrete origin for a host that this pattern covers.
    #[must_use]
    pub(crate) fn at_host(&self, host: &str) -> Option<Origin> {
        let base = self.base();
        self.covers_host(host).then(|| Origin { scheme: base.scheme, host: Host(host.into()), port: base.port })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => origin.fmt(f),
            Self::Wildcard { suffix } => write!(f, "{}://*.{}", suffix.scheme, suffix.authority()),
        }
    }
}

impl FromStr for OriginPattern {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, authority) = split_origin(text)?;
        let Some(suffix) = authority.strip_prefix("*.") else {
            return Origin::from_str(text).map(Self::Exact);
        };
        let authority = Authority::parse(suffix)?;
        if host_ip(&authority.host).is_some() || !authority.host.contains('.') {
            return Err(InvalidAuthority("a wildcard needs a domain of at least two labels behind \"*.\""));
        }
        let port = authority.port_or_default(scheme);
        Ok(Self::Wildcard { suffix: Origin { scheme, port, host: Host(authority.host.into()) } })
    }
}

fn split_origin(text: &str) -> Result<(Scheme, &str), InvalidAuthority> {
    let (scheme, rest) =
        text.split_once("://").ok_or(InvalidAuthority("an origin begins with \"https://\" or \"http://\""))?;
    let scheme = Scheme::parse(scheme).ok_or(InvalidAuthority("the scheme of an origin is \"https\" or \"http\""))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(InvalidAuthority("an origin is scheme, host and port only, without a path, query or fragment"));
    }
    Ok((scheme, authority))
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

fn canonical_host(text: &str) -> Result<Cow<'_, str>, InvalidAuthority> {
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

fn host_ip(host: &str) -> Option<IpAddr> {
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

    #[test]
    fn authorities_have_a_port_or_none() {
        assert_eq!(Authority::parse("a.test:8443").unwrap().port, Some(8443));
        assert_eq!(Authority::parse("a.test").unwrap().port, None);
        assert_eq!(Authority::parse("[::1]:80").unwrap().port, Some(80));
        for text in ["a:", "a:0", "a:65536", "a:+1", "a:99999", "a:1x", "a:1:2", "u@a:1", "[::1]x:1", ":80"] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_compare_with_the_default_port_filled_in() {
        let a: Origin = "https://API.test".parse().unwrap();
        let b: Origin = "HTTPS://api.test:443/".parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "https://api.test");
        assert_ne!(a, "http://api.test".parse().unwrap());
        assert!("https://api.test/v1".parse::<Origin>().is_err());
        assert!("api.test".parse::<Origin>().is_err());
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let pattern: OriginPattern = "https://*.example.com".parse().unwrap();
        assert!(pattern.covers_host("a.example.com"));
        for host in ["example.com", "a.b.example.com", "aexample.com", ".example.com"] {
            assert!(!pattern.covers_host(host), "{host}");
        }
        assert!("https://*.com".parse::<OriginPattern>().is_err());
        assert!("https://a.*.com".parse::<OriginPattern>().is_err());
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
