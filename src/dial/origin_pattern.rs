//! What an upstream covers: one origin, or the hosts below a name.

use std::fmt;
use std::str::FromStr;

use super::authority::Authority;
use super::host::{Host, InvalidAuthority, host_ip};
use super::origin::{Origin, split_origin};

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
        self.covers_host(host).then(|| Origin {
            scheme: base.scheme,
            host: Host::from_canonical(host),
            port: base.port,
        })
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
            if authority.contains('*') {
                return Err(InvalidAuthority("\"*.\" in front of a domain is the only wildcard, for one label"));
            }
            return Origin::from_str(text).map(Self::Exact);
        };
        let authority = Authority::parse(suffix)?;
        if host_ip(&authority.host).is_some() || !authority.host.contains('.') {
            return Err(InvalidAuthority("a wildcard needs a domain of at least two labels behind \"*.\""));
        }
        let port = authority.port_or_default(scheme);
        Ok(Self::Wildcard { suffix: Origin { scheme, port, host: authority.into_host() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let pattern: OriginPattern = "https://*.example.com".parse().unwrap();
        assert!(pattern.covers_host("a.example.com"));
        for host in ["example.com", "a.b.example.com", "aexample.com", ".example.com"] {
            assert!(!pattern.covers_host(host), "{host}");
        }
        assert!("https://*.com".parse::<OriginPattern>().is_err());
        for wrong in ["https://a.*.com", "https://api-*.example.com", "https://*"] {
            assert!(wrong.parse::<OriginPattern>().unwrap_err().to_string().contains("the only wildcard"), "{wrong}");
        }
    }
}
