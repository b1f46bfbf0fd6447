//! `no_proxy`: what is reached without the parent proxy. Its entries mean what they mean in the environment variable of
//! that name to most programs, save that a name is never looked up for them.

use ipnet::IpNet;

use crate::dial::authority::Authority;
use crate::dial::host::Host;

/// One entry of `no_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoProxyRule {
    /// `localhost`, names below it, and loopback addresses.
    Loopback,
    /// `corp.example`: this name and all below it. `.corp.example`: those below it only.
    Name {
        /// The canonical name, without a leading dot.
        name: String,
        /// The name itself is not meant.
        below_only: bool,
        port: Option<u16>,
    },
    /// `10.0.0.0/8`, or one address: hosts that are written as an address in it.
    Network { network: IpNet, port: Option<u16> },
}

/// Why a text is no rule; fit for a sentence about the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no name, address or network")]
pub(crate) struct InvalidRule;

impl NoProxyRule {
    /// Reads `name`, `.name` or `*.name`, `address` or `network/length`; all but the last perhaps with `:port`.
    ///
    /// # Errors
    /// Anything else, also `*`.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidRule> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network { network: network.trunc(), port: None });
        }
        // An IPv6 address may come without brackets, as it does in the environment.
        if let Ok(ip) = text.parse::<std::net::IpAddr>() {
            return Ok(Self::Network { network: ip.to_canonical().into(), port: None });
        }
        let name = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
        let authority = Authority::parse(name.unwrap_or(text)).map_err(|_invalid| InvalidRule)?;
        let port = authority.port;
        let host = authority.into_host();
        match host.ip() {
            Some(_) if name.is_some() => Err(InvalidRule),
            Some(ip) => Ok(Self::Network { network: ip.to_canonical().into(), port }),
            None if host.as_str() == "localhost" && port.is_none() => Ok(Self::Loopback),
            None => Ok(Self::Name { name: host.to_string(), below_only: name.is_some(), port }),
        }
    }

    /// True if this host and port are reached directly.
    #[must_use]
    pub(crate) fn covers(&self, host: &Host, port: u16) -> bool {
        let at_port = |only: Option<u16>| only.is_none_or(|only| only == port);
        match self {
            Self::Loopback => host.is_loopback(),
            Self::Name { name, below_only, port } => {
                let below = |rest: &str| rest.ends_with('.');
                let matches = match host.as_str().strip_suffix(name.as_str()) {
                    Some("") => !below_only,
                    Some(rest) => below(rest),
                    None => false,
                };
                at_port(*port) && matches
            }
            Self::Network { network, port } => {
                at_port(*port) && host.ip().is_some_and(|ip| network.contains(&ip.to_canonical()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(rule: &str, host: &str, port: u16) -> bool {
        NoProxyRule::parse(rule).unwrap().covers(&Host::parse(host).unwrap(), port)
    }

    #[test]
    fn a_name_covers_itself_and_what_is_below_it() {
        for host in ["corp.example", "a.corp.example", "a.b.corp.example", "CORP.example."] {
            assert!(covers("corp.example", host, 443), "{host}");
            assert!(covers("Corp.Example.", host, 443), "{host}");
        }
        for host in ["xcorp.example", "example", "corp.example.org"] {
            assert!(!covers("corp.example", host, 443), "{host}");
        }
    }

    #[test]
    fn a_leading_dot_leaves_the_name_itself_out() {
        for rule in [".corp", "*.corp"] {
            assert!(covers(rule, "a.corp", 80) && covers(rule, "a.b.corp", 80));
            assert!(!covers(rule, "corp", 80) && !covers(rule, "acorp", 80));
        }
    }

    #[test]
    fn networks_are_held_against_addresses_in_every_spelling() {
        assert!(covers("10.0.0.0/8", "10.9.8.7", 80) && covers("10.0.0.0/8", "[::ffff:10.9.8.7]", 80));
        assert!(!covers("10.0.0.0/8", "11.0.0.1", 80) && !covers("10.0.0.0/8", "ten.test", 80));
        assert!(covers("fd00::/8", "[fd00::1]", 80) && covers("::1", "[::1]", 80) && covers("[::1]", "[::1]", 80));
        assert!(covers("192.0.2.7", "192.0.2.7", 80) && !covers("192.0.2.7", "192.0.2.8", 80));
    }

    #[test]
    fn a_port_narrows_a_rule() {
        assert!(covers("api.test:8443", "api.test", 8443) && !covers("api.test:8443", "api.test", 443));
        assert!(covers(".test:8443", "api.test", 8443) && !covers(".test:8443", "api.test", 443));
        assert!(covers("[::1]:80", "[::1]", 80) && !covers("[::1]:80", "[::1]", 81));
        assert!(covers("localhost:80", "localhost", 80) && !covers("localhost:80", "127.0.0.1", 80));
    }

    #[test]
    fn localhost_is_every_way_to_this_machine() {
        for host in ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(covers("localhost", host, 1), "{host}");
        }
        assert!(!covers("localhost", "10.0.0.1", 1));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in
            ["", "*", "a b", "10.0.0.0/33", "a:0", "a:x", "user@a", ".10.0.0.1", "http://a", "0x7f.1", "a,b", ".."]
        {
            assert!(NoProxyRule::parse(text).is_err(), "{text:?}");
        }
    }
}
