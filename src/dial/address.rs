//! Which addresses may be dialled. Decided on the address itself, after resolution and right before the connect, so that a
//! name that resolves differently a moment later changes nothing.

use crate::sync::{read, write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::RwLock;

use ipnet::IpNet;

/// What an upstream may dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AddressPolicy {
    /// Anything: the operator named the host.
    Any,
    /// Public addresses, and special ones only within these networks: a caller named the host.
    PublicAnd(Vec<IpNet>),
    /// This machine: what goes there goes in clear, because the host's name says that it is here (RFC 6761 section 6.3).
    Loopback,
}

impl AddressPolicy {
    /// True if this address may be dialled.
    #[must_use]
    pub(crate) fn permits(&self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => ip.to_canonical().is_loopback(),
            Self::PublicAnd(networks) => {
                let ip = ip.to_canonical();
                !is_special(ip) || networks.iter().any(|network| network.contains(&ip))
            }
        }
    }
}

/// Addresses that mean something else than a host on the public internet, by the registries of RFC 6890 and what came since:
/// loopback, private, link-local (with the cloud's metadata service), shared, multicast, reserved, and IPv6 forms that
/// carry such an IPv4 address.
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
        || a == 0 // "this network"; 0.0.0.0 reaches this machine
        || a >= 240 // reserved, and broadcast
        || (a == 100 && b & 0xc0 == 64) // shared (RFC 6598)
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 192 && b == 88 && c == 99) // 6to4 relays, retired
        || (a == 198 && b & 0xfe == 18) // benchmarking
        || ip.octets() == [168, 63, 129, 16] // Azure's service for its own machines, in public clothes
}

/// NAT64 is the one form that is unwrapped: in a network of IPv6 alone, its resolver gives every host of IPv4 such an address.
fn is_special_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let [.., high, low] = segments;
    let embedded = || {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Ipv4Addr::new(a, b, c, d)
    };
    ip.is_multicast()
        || segments[..6] == [0, 0, 0, 0, 0, 0] // unspecified, loopback, IPv4-compatible
        || segments[..6] == [0, 0, 0, 0, 0, 0xffff] && is_special_v4(embedded()) // IPv4-mapped
        || segments[..6] == [0, 0, 0, 0, 0xffff, 0] // IPv4-translated
        || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && is_special_v4(embedded()) // NAT64
        || segments[..3] == [0x64, 0xff9b, 1] // NAT64 of a network's own (RFC 8215)
        || segments[0] == 0x0100 // discard-only, and what lies around it
        || segments[0] == 0x2001 && segments[1] < 0x0200 // protocol assignments: Teredo, benchmarking, ORCHID
        || segments[0] == 0x2001 && segments[1] == 0x0db8 // documentation
        || segments[0] == 0x2002 // 6to4, retired
        || segments[0] == 0x3fff && segments[1] < 0x1000 // documentation (RFC 9637)
        || segments[0] == 0x5f00 // segment routing (RFC 9602)
        || segments[0] & 0xfe00 == 0xfc00 // unique local
        || segments[0] & 0xffc0 == 0xfe80 // link-local
        || segments[0] & 0xffc0 == 0xfec0 // site-local, retired
}

/// Attache's own listening sockets: dialling one of them is a loop, or a way into the admin listener.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses {
    addresses: RwLock<Vec<SocketAddr>>,
}

impl OwnAddresses {
    /// The sockets as they are bound.
    #[must_use]
    pub(crate) const fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses: RwLock::new(addresses) }
    }

    /// After a reload.
    pub(crate) fn replace(&self, addresses: Vec<SocketAddr>) {
        *write(&self.addresses) = addresses;
    }

    fn any(&self, is: impl FnMut(&SocketAddr) -> bool) -> bool {
        read(&self.addresses).iter().any(is)
    }

    /// True if connecting there would reach one of them. A wildcard address is every address of this machine;
    /// [`OwnAddresses::reached`] looks again when there is a connection.
    #[must_use]
    pub(crate) fn contains(&self, dialled: SocketAddr) -> bool {
        let ip = dialled.ip().to_canonical();
        self.any(|own| {
            let (own, port) = (own.ip().to_canonical(), own.port());
            // Who dials the unspecified address reaches this machine by loopback.
            port == dialled.port()
                && (own == ip
                    || (ip.is_unspecified() && own.is_loopback())
                    || (own.is_unspecified() && is_of_this_machine(ip)))
        })
    }

    /// True if one of them has this port, at whatever address.
    #[must_use]
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.any(|own| own.port() == port)
    }

    /// True if this established connection is one to attache itself: both ends have the same address, at a wildcard's port.
    #[must_use]
    pub(crate) fn reached(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        local.ip().to_canonical() == peer.ip().to_canonical()
            && self.any(|own| own.ip().is_unspecified() && own.port() == peer.port())
    }
}

/// True if this machine has this address: a socket can be bound to no other. Asked only where the port is one of attache's too.
fn is_of_this_machine(ip: IpAddr) -> bool {
    // Where the system lets sockets be bound to any address at all (ip_nonlocal_bind), that tells nothing.
    let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let can_be_bound = |ip| UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok();
    ip.is_loopback() || ip.is_unspecified() || (can_be_bound(ip) && !can_be_bound(foreign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public() -> AddressPolicy {
        AddressPolicy::PublicAnd(Vec::new())
    }

    /// What it is, and the addresses by which a caller would try to reach it.
    const THREATS: [(&str, &[&str]); 21] = [
        ("loopback", &["127.0.0.1", "127.255.255.254", "127.0.0.53", "::1"]),
        ("this network", &["0.0.0.0", "0.1.2.3", "::"]),
        ("private networks", &["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"]),
        ("unique local networks", &["fc00::1", "fd12:3456:789a::1", "fdff:ffff::"]),
        (
            "the metadata service",
            &["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "100.100.100.200", "168.63.129.16"],
        ),
        ("link-local", &["169.254.0.1", "fe80::1", "febf::1", "fec0::1", "feff::1"]),
        ("shared addresses of carriers", &["100.64.0.1", "100.127.255.255"]),
        ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"]),
        ("broadcast and reserved", &["255.255.255.255", "240.0.0.1", "254.0.0.1"]),
        ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"]),
        ("benchmarking", &["198.18.0.1", "198.19.255.255", "2001:2::1"]),
        ("protocol assignments", &["192.0.0.1", "192.0.0.170", "2001:1::1", "2001:10::1", "2001:1ff::1"]),
        ("IPv4-mapped", &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]),
        ("IPv4-compatible", &["::127.0.0.1", "::10.0.0.1", "::8.8.8.8"]),
        ("IPv4-translated", &["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"]),
        ("NAT64", &["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"]),
        ("NAT64 of a network's own", &["64:ff9b:1::a00:1", "64:ff9b:1:ffff::1", "64:ff9b:1:2:3:4:5:6"]),
        ("6to4 and its relays", &["2002:7f00:1::", "2002:a00:1::1", "2002:808:808::", "192.88.99.1"]),
        ("Teredo", &["2001::1", "2001:0:7f00:1::"]),
        ("discard-only", &["100::1"]),
        ("segment routing", &["5f00::1"]),
    ];

    #[test]
    fn what_is_no_public_host_is_refused_in_every_spelling() {
        for (threat, addresses) in THREATS {
            for ip in addresses {
                assert!(!public().permits(ip.parse().unwrap()), "{threat}: {ip}");
            }
        }
    }

    #[test]
    fn public_hosts_are_reached_also_beside_special_networks() {
        for ip in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "3fff:1000::1",
            "3ffe::1",
        ] {
            assert!(public().permits(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn this_machine_is_loopback_and_nothing_else() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(AddressPolicy::Loopback.permits(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["0.0.0.0", "10.0.0.1", "192.0.2.1", "::", "::127.0.0.1", "64:ff9b::127.0.0.1", "fe80::1"] {
            assert!(!AddressPolicy::Loopback.permits(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn permitted_networks_open_what_they_name_and_nothing_else() {
        let policy = AddressPolicy::PublicAnd(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/16".parse().unwrap()]);
        for ip in ["10.1.9.9", "::ffff:10.1.9.9", "fd00::1"] {
            assert!(policy.permits(ip.parse().unwrap()), "{ip}");
        }
        // By whatever else it is wrapped in, it is another address.
        for ip in ["10.2.0.1", "fd01::1", "127.0.0.1", "64:ff9b::10.1.9.9", "2002:a01:909::", "::10.1.9.9"] {
            assert!(!policy.permits(ip.parse().unwrap()), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv6_form_is_never_more_than_the_ipv4_address_in_it(bits in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = ip.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let alone = public().permits(ip.into());
            prop_assert_eq!(public().permits(ip.to_ipv6_mapped().into()), alone);
            prop_assert_eq!(public().permits(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), alone);
            for never in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, high, low, 0, 0, 0),
            ] {
                prop_assert!(!public().permits(never.into()), "{}", never);
            }
        }
    }

    #[test]
    fn own_listeners_are_recognised_in_every_spelling() {
        let own = OwnAddresses::new(vec!["127.0.0.1:8080".parse().unwrap(), "[::1]:8081".parse().unwrap()]);
        for dialled in ["127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", "0.0.0.0:8080", "[::]:8081", "[::1]:8081"] {
            assert!(own.contains(dialled.parse().unwrap()), "{dialled}");
        }
        for other in ["127.0.0.1:8082", "127.0.0.2:8080", "192.0.2.1:8080", "[2001:db8::1]:8081"] {
            assert!(!own.contains(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_wildcard_listener_is_every_address_of_this_machine() {
        let own = OwnAddresses::new(vec!["0.0.0.0:9000".parse().unwrap()]);
        for dialled in ["127.0.0.1:9000", "127.0.0.5:9000", "[::ffff:127.0.0.1]:9000", "0.0.0.0:9000", "[::]:9000"] {
            assert!(own.contains(dialled.parse().unwrap()), "{dialled}");
        }
        if let Some(ip) = outward() {
            assert!(own.contains(SocketAddr::new(ip, 9000)) && !own.contains(SocketAddr::new(ip, 9001)));
        }
        assert!(!own.contains("192.0.2.8:9000".parse().unwrap()));
        assert!(own.reached("192.0.2.7:5555".parse().unwrap(), "192.0.2.7:9000".parse().unwrap()));
        assert!(!own.reached("192.0.2.7:5555".parse().unwrap(), "192.0.2.8:9000".parse().unwrap()));
    }

    /// The address by which this machine would reach others, if it has one. Nothing is sent.
    fn outward() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    }
}
