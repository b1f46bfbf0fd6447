//! `limits.connections_per_address`: one machine must not take all the connections there are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Open connections by where they come from; shared by all workers, and asked once for each connection.
#[derive(Debug)]
pub(crate) struct PerAddress {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PerAddress {
    /// At most so many from each address.
    #[must_use]
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// Counts a connection from there until the guard is dropped. One beyond the limit is counted too: it is told why it is not
    /// served.
    pub(super) fn count(self: &Arc<Self>, from: IpAddr) -> AddressGuard {
        let from = network_of(from);
        let mut open = lock(&self.open);
        let count = open.entry(from).or_default();
        *count += 1;
        AddressGuard { of: Arc::clone(self), from, is_over: *count > self.max }
    }
}

/// What stands for one machine: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from.
#[must_use]
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct AddressGuard {
    of: Arc<PerAddress>,
    from: IpAddr,
    pub(super) is_over: bool,
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        let mut open = lock(&self.of.open);
        if let Some(count) = open.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_machine_and_given_back() {
        let places = PerAddress::new(1);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.count(at("10.0.0.1"));
        assert!(!first.is_over && places.count(at("::ffff:10.0.0.1")).is_over, "the same machine, written otherwise");
        assert!(!places.count(at("10.0.0.2")).is_over);
        let six = places.count(at("2001:db8::1"));
        assert!(!six.is_over && places.count(at("2001:db8::2")).is_over);
        drop((first, six));
        assert!(!places.count(at("10.0.0.1")).is_over);
        assert!(places.open.lock().unwrap().is_empty(), "nothing is remembered of those that have gone");
    }
}
