//! Which names have an address inside, and which name an address stands for: what is dialled says no more than that.
//!
//! Addresses are of 198.18.0.0/15, which no network has (RFC 2544); each name has one of its own for as long as the program
//! runs.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use crate::dial::{Host, OriginPattern};
use crate::sync::lock;

/// The machine's own address in this network; the first name has the next one. Programs look up addresses only where there is
/// one besides loopback.
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// How many names there may be: of a wildcard, and of others, a program may make up as many as it likes.
const MOST: usize = 65_536;

/// Ports that lead to attache whatever the origins' are.
const ALWAYS: [u16; 2] = [80, 443];

/// The names that are known inside.
#[derive(Debug)]
pub(super) struct Names {
    origins: Vec<OriginPattern>,
    others: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Host, u32>,
    names: Vec<Host>,
}

/// What there is to say about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is this machine (RFC 6761 section 6.3).
    Local,
    Address(Ipv4Addr),
    /// It is no upstream's.
    Unknown,
    /// There are too many already.
    Full,
}

impl Names {
    pub(super) fn new(origins: Vec<OriginPattern>, others: bool) -> Self {
        Self { origins, others, known: Mutex::default() }
    }

    /// Where what is dialled leads to attache.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        self.origins.iter().map(|origin| origin.base().port).chain(ALWAYS).collect()
    }

    /// The address of a name.
    pub(super) fn look_up(&self, name: &Host) -> Answer {
        if name.is_loopback() {
            return Answer::Local;
        }
        if !self.others && !self.covers(name.as_str()) {
            return Answer::Unknown;
        }
        let mut known = lock(&self.known);
        if let Some(number) = known.numbers.get(name) {
            return Answer::Address(address(*number));
        }
        let Some(number) = u32::try_from(known.names.len()).ok().filter(|_| known.names.len() < MOST) else {
            return Answer::Full;
        };
        known.names.push(name.clone());
        known.numbers.insert(name.clone(), number);
        Answer::Address(address(number))
    }

    /// The host that is meant by this address: one whose name has it, or an upstream that has an address for a name.
    pub(super) fn meant_by(&self, address: IpAddr) -> Option<Host> {
        let address = address.to_canonical();
        if let IpAddr::V4(v4) = address
            && let Some(number) = v4.to_bits().checked_sub(OWN.to_bits() + 1)
            && let Some(name) = lock(&self.known).names.get(usize::try_from(number).ok()?)
        {
            return Some(name.clone());
        }
        let host = Host::parse(&bracketed(address)).ok()?;
        if self.covers(host.as_str()) {
            return Some(host);
        }
        let local = Host::parse("localhost").ok()?;
        (address.is_loopback() && self.covers(local.as_str())).then_some(local)
    }

    /// True if this is where programs of the machine itself are to be found, whatever the upstreams are.
    pub(super) fn is_own(address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        ip.is_loopback() || ip == IpAddr::V4(OWN) || ip.is_unspecified() || ip.is_multicast()
    }

    fn covers(&self, host: &str) -> bool {
        self.origins.iter().any(|origin| origin.covers_host(host))
    }
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(OWN.to_bits() + 1 + number)
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(origins: &[&str], others: bool) -> Names {
        Names::new(origins.iter().map(|origin| origin.parse().unwrap()).collect(), others)
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn found(names: &Names, name: &str) -> Ipv4Addr {
        match names.look_up(&host(name)) {
            Answer::Address(address) => address,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let names = names(&["https://orders.example.com", "https://*.example.org:8443"], false);
        let (orders, a) = (found(&names, "orders.example.com"), found(&names, "a.example.org"));
        assert_eq!((orders, a), (Ipv4Addr::new(198, 18, 0, 2), Ipv4Addr::new(198, 18, 0, 3)));
        assert_eq!(found(&names, "ORDERS.example.com."), orders);
        assert_eq!(names.meant_by(a.into()), Some(host("a.example.org")));
        assert_eq!(names.meant_by(a.to_ipv6_mapped().into()), Some(host("a.example.org")));
        assert_eq!(names.ports(), [80, 443, 8443].into());
    }

    #[test]
    fn other_names_have_no_address_unless_they_are_to() {
        let few = names(&["https://orders.example.com"], false);
        for name in ["example.com", "a.orders.example.com", "example.net"] {
            assert_eq!(few.look_up(&host(name)), Answer::Unknown, "{name}");
        }
        assert_eq!(few.look_up(&host("a.localhost")), Answer::Local);
        assert_eq!(found(&names(&[], true), "example.net"), Ipv4Addr::new(198, 18, 0, 2));
    }

    #[test]
    fn an_address_means_nothing_unless_it_is_an_upstreams() {
        let names = names(&["http://10.1.2.3:8080", "http://localhost:9000"], true);
        let meant = |address: &str| names.meant_by(address.parse().unwrap());
        for address in ["1.2.3.4", "198.18.0.1", "198.18.0.2", "198.19.255.255", "::2"] {
            assert_eq!(meant(address), None, "{address}");
        }
        assert_eq!(meant("10.1.2.3"), Some(host("10.1.2.3")));
        assert_eq!(meant("127.0.0.1"), Some(host("localhost")));
        assert_eq!(meant("::1"), Some(host("localhost")));
    }

    #[test]
    fn names_that_a_program_makes_up_have_an_end() {
        let names = names(&[], true);
        for number in 0..MOST {
            names.look_up(&host(&format!("n{number}.example")));
        }
        assert_eq!(found(&names, "n65535.example"), Ipv4Addr::new(198, 19, 0, 1));
        assert_eq!(names.look_up(&host("one-more.example")), Answer::Full);
        assert_eq!(found(&names, "n0.example"), Ipv4Addr::new(198, 18, 0, 2));
    }
}
