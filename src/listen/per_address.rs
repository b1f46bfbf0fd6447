//! `limits.connections_per_address`: one machine must not take all the connections there are.

use crate::sync::lock;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// Open connections by where they come from; shared by all workers, and asked once for each connection.
#[derive(Debug)]
pub(crate) struct PerAddress {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PerAddress {
    /// At most so many from each address.
    #[must_use]
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for a connection from there, until it is dropped. One beyond the limit has a place too: it is told why it is not
    /// served.
    pub(super) fn place(self: &Arc<Self>, from: IpAddr) -> Place {
        let from = network_of(from);
        let mut open = lock(&self.open);
        let count = open.entry(from).or_default();
        *count += 1;
        Place { of: Arc::clone(self), from, is_over: *count > self.most }
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
pub(super) struct Place {
    of: Arc<PerAddress>,
    from: IpAddr,
    pub(super) is_over: bool,
}

impl Drop for Place {
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
        let first = places.place(at("10.0.0.1"));
        assert!(!first.is_over && places.place(at("::ffff:10.0.0.1")).is_over, "the same machine, written otherwise");
        assert!(!places.place(at("10.0.0.2")).is_over);
        let six = places.place(at("2001:db8::1"));
        assert!(!six.is_over && places.place(at("2001:db8::2")).is_over);
        drop((first, six));
        assert!(!places.place(at("10.0.0.1")).is_over);
        assert!(places.open.lock().unwrap().is_empty(), "nothing is remembered of who has gone");
    }
}
