//! Which addresses may be dialled. Decided on the address itself, after resolution and right before the connect, so that a
//! name that resolves differently a moment later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// What an upstream may dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Anything: the operator named the host.
    Any,
    /// Public addresses, and special ones only within these networks: a caller named the host.
    PublicAnd(Vec<IpNet>),
}

impl AddressPolicy {
    /// True if this address may be dialled.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::PublicAnd(networks) => {
                let ip = ip.to_canonical();
                !is_special(ip) || networks.iter().any(|network| network.contains(&ip))
            }
        }
    }
}

/// Addresses that mean something else than a host on the public internet: loopback, private, link-local (with the cloud's
/// metadata service), shared (RFC 6598), multicast, reserved, and IPv6 forms that carry such an IPv4 address.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_special_v4(ip),
        IpAddr::V6(ip) => is_special_v6(ip),
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_special_v4(Ipv4Addr::new(a, b, c, d))
    };
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || segments[0] & 0xfe00 == 0xfc00 // unique local
        || segments[0] & 0xffc0 == 0xfe80 // link-local
        || segments[0] & 0xffc0 == 0xfec0 // site-local, retired
        || segments[0] == 0x2001 && segments[1] == 0x0db8 // documentation
        || segments[..6] == [0, 0, 0, 0, 0, 0] // IPv4-compatible, retired
        || segments[..4] == [0x64, 0xff9b, 1, 0] // local-use NAT64
        || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && embedded(segments[6], segments[7]) // NAT64
        || segments[0] == 0x2002 && embedded(segments[1], segments[2]) // 6to4
        || segments[0] == 0x2001 && segments[1] == 0 // Teredo
}

/// Our own listening sockets: dialling one of them is a loop, or a way into the admin listener.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses {
    addresses: Vec<SocketAddr>,
}

impl OwnAddresses {
    /// The sockets as they are bound.
    #[must_use]
    pub const fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses }
    }

    /// True if connecting there would reach one of them. A wildcard address is every address of this machine, which from
    /// here is known of the loopback ones only; [`OwnAddresses::reached`] catches the others once connected.
    #[must_use]
    pub fn contains(&self, dialled: SocketAddr) -> bool {
        let ip = dialled.ip().to_canonical();
        self.addresses.iter().any(|own| {
            let own_ip = own.ip().to_canonical();
            let local = ip.is_loopback() || ip.is_unspecified();
            own.port() == dialled.port()
                && (own_ip == ip || (own_ip.is_unspecified() && local) || (ip.is_unspecified() && own_ip.is_loopback()))
        })
    }

    /// True if one of them has this port, at whatever address.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        self.addresses.iter().any(|own| own.port() == port)
    }

    /// True if this established connection is one to ourselves: both ends have the same address, at a wildcard's port.
    #[must_use]
    pub fn reached(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        local.ip().to_canonical() == peer.ip().to_canonical()
            && self.addresses.iter().any(|own| own.ip().is_unspecified() && own.port() == peer.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        let policy = AddressPolicy::PublicAnd(Vec::new());
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0:1::1",
        ] {
            assert!(!policy.permits(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "93.184.216.34", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::"] {
            assert!(policy.permits(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn permitted_networks_open_what_they_name_and_nothing_else() {
        let policy = AddressPolicy::PublicAnd(vec!["10.1.0.0/16".parse().unwrap()]);
        assert!(policy.permits("10.1.9.9".parse().unwrap()));
        assert!(policy.permits("::ffff:10.1.9.9".parse().unwrap()));
        assert!(!policy.permits("10.2.0.1".parse().unwrap()));
    }

    #[test]
    fn own_listeners_are_recognised() {
        let own = OwnAddresses::new(vec!["127.0.0.1:8080".parse().unwrap(), "0.0.0.0:9000".parse().unwrap()]);
        assert!(own.contains("127.0.0.1:8080".parse().unwrap()));
        assert!(own.contains("[::ffff:127.0.0.1]:8080".parse().unwrap()));
        assert!(own.contains("127.0.0.5:9000".parse().unwrap()));
        assert!(!own.contains("127.0.0.1:8081".parse().unwrap()));
        assert!(own.reached("192.0.2.7:5555".parse().unwrap(), "192.0.2.7:9000".parse().unwrap()));
        assert!(!own.reached("192.0.2.7:5555".parse().unwrap(), "192.0.2.8:9000".parse().unwrap()));
    }
}
