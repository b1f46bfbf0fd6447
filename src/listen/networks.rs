//! Proxies in front of a listener, by where they are: what they say of the callers behind them is believed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::caller::CallerAddress;

/// `listeners.L.proxy_protocol`, and the networks of `listeners.L.trusted_proxies`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Networks {
    /// All who connect over a unix socket.
    pub(crate) unix: bool,
    pub(crate) networks: Vec<IpNet>,
}

/// `listeners.L.trusted_proxies`: who may say in a request where its caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedProxies {
    pub(crate) networks: Networks,
    /// The one field that they write; `None`: whichever is there.
    pub(crate) field: Option<ForwardedField>,
}

/// The fields that tell where a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedField {
    /// RFC 7239.
    Forwarded,
    XForwardedFor,
}

impl Networks {
    /// True if what is at this address belongs to them.
    #[must_use]
    pub(crate) fn hold(&self, address: CallerAddress) -> bool {
        match address {
            CallerAddress::Socket(address) => self.hold_ip(address.ip()),
            CallerAddress::Ip(ip) => self.hold_ip(ip),
            CallerAddress::User(_) => self.unix,
        }
    }

    fn hold_ip(&self, ip: IpAddr) -> bool {
        // An IPv4 address is one, also where a socket of both families shows it.
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_a_network_however_it_is_written() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let networks = Networks { unix: false, networks };
        let at = |text: &str| CallerAddress::Socket(text.parse().unwrap());
        assert!(networks.hold(at("10.1.2.3:4")) && networks.hold(at("[::ffff:10.1.2.3]:4")));
        assert!(networks.hold(at("[2001:db8::1]:4")));
        assert!(!networks.hold(at("11.1.2.3:4")) && !networks.hold(at("[2001:db9::1]:4")));
        assert!(!networks.hold(CallerAddress::User(Some(0))));
        assert!(Networks { unix: true, networks: Vec::new() }.hold(CallerAddress::User(None)));
    }
}
