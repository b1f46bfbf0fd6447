//! Origins: scheme, host and port in one canonical form (RFC 9110 section 4.3.1).

use std::fmt;
use std::str::FromStr;

use super::authority::Authority;
use super::host::{Host, InvalidAuthority};
use super::scheme::Scheme;

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
            self.host.to_string()
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
        Ok(Self { scheme, port: authority.port_or_default(scheme), host: authority.into_host() })
    }
}

pub(super) fn split_origin(text: &str) -> Result<(Scheme, &str), InvalidAuthority> {
    let (scheme, rest) =
        text.split_once("://").ok_or(InvalidAuthority("an origin begins with \"https://\" or \"http://\""))?;
    let scheme = Scheme::parse(scheme).ok_or(InvalidAuthority("the scheme of an origin is \"https\" or \"http\""))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(InvalidAuthority("an origin is scheme, host and port only, without a path, query or fragment"));
    }
    Ok((scheme, authority))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
