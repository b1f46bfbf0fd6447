//! From a request's target to a route. Every lookup hashes; its cost does not grow with the number of upstreams.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::HttpScheme;
use super::pattern::PathPrefix;
use crate::upstream::{OriginPattern, Scheme};

/// Targets that callers name themselves.
#[derive(Debug)]
pub struct ForwardTable<T> {
    exact: HashMap<Box<str>, Ports<T>>,
    /// By what follows the first label.
    wildcard: HashMap<Box<str>, Ports<T>>,
    tunnels: TunnelPorts,
}

/// The ports that tunnels to hosts without a route may lead to: anything could be spoken there, such as SMTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelPorts {
    /// All.
    Any,
    /// These.
    Listed(BTreeSet<u16>),
}

type Ports<T> = HashMap<(Scheme, u16), Entry<T>>;

#[derive(Debug)]
struct Entry<T> {
    route: T,
    arrival: Arrival,
    /// Several upstreams claim this alias: nobody gets it.
    ambiguous: bool,
}

/// How a target came to its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// By its own scheme and port.
    Same,
    /// An `http` target that goes out as `https`.
    Upgraded,
    /// An `http` target of an `https` origin that refuses those.
    HttpRefused,
}

impl<T> Default for ForwardTable<T> {
    fn default() -> Self {
        let tunnels = TunnelPorts::Listed(BTreeSet::from([Scheme::Https.default_port()]));
        Self { exact: HashMap::new(), wildcard: HashMap::new(), tunnels }
    }
}

impl<T: Clone> ForwardTable<T> {
    /// Lets tunnels lead to these ports too, besides 443 and those of the routes.
    pub fn open(&mut self, ports: &TunnelPorts) {
        match (&mut self.tunnels, ports) {
            (TunnelPorts::Listed(known), TunnelPorts::Listed(more)) => known.extend(more),
            (known, TunnelPorts::Any) => *known = TunnelPorts::Any,
            (TunnelPorts::Any, _) => {}
        }
    }

    /// Where tunnels to hosts without a route may lead to.
    #[must_use]
    pub const fn tunnels(&self) -> &TunnelPorts {
        &self.tunnels
    }

    /// Adds a route. The caller has made sure that no two have the same pattern.
    pub fn insert(&mut self, pattern: &OriginPattern, http: HttpScheme, route: T) {
        let base = pattern.base();
        self.open(&TunnelPorts::Listed(BTreeSet::from([base.port])));
        let hosts = match pattern {
            OriginPattern::Exact(_) => &mut self.exact,
            OriginPattern::Wildcard { .. } => &mut self.wildcard,
        };
        let ports = hosts.entry(base.host.as_str().into()).or_default();
        ports
            .insert((base.scheme, base.port), Entry { route: route.clone(), arrival: Arrival::Same, ambiguous: false });
        if base.scheme == Scheme::Https {
            let arrival = match http {
                HttpScheme::Upgrade => Arrival::Upgraded,
                HttpScheme::Refuse => Arrival::HttpRefused,
            };
            let own = base.port == Scheme::Https.default_port();
            alias(ports, base.port, Entry { route: route.clone(), arrival, ambiguous: false }, true);
            alias(ports, Scheme::Http.default_port(), Entry { route, arrival, ambiguous: false }, own);
        }
    }

    /// The route for a canonical host, scheme and port. An exact host wins over a wildcard.
    #[must_use]
    pub fn find(&self, scheme: Scheme, host: &str, port: u16) -> Option<(&T, Arrival)> {
        let exact = self.exact.get(host).and_then(|ports| ports.get(&(scheme, port)));
        let entry = exact.or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.wildcard.get(parent)?.get(&(scheme, port))
        })?;
        (!entry.ambiguous).then_some((&entry.route, entry.arrival))
    }

    /// The route whose origin a tunnel to this host and port would reach, by either scheme.
    #[must_use]
    pub fn find_tunnel(&self, host: &str, port: u16) -> Option<&T> {
        let of = |scheme| self.find(scheme, host, port).filter(|(_, arrival)| *arrival == Arrival::Same);
        of(Scheme::Https).or_else(|| of(Scheme::Http)).map(|(route, _)| route)
    }
}

impl Default for TunnelPorts {
    /// None.
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

impl TunnelPorts {
    /// True if a tunnel may lead there.
    #[must_use]
    pub fn permit(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(ports) => ports.contains(&port),
        }
    }
}

/// An `http` name for an `https` origin. A real `http` origin there keeps its place, the origin of the scheme's own port
/// (`firm`) wins over one of another, and two of those are told apart by nobody.
fn alias<T>(ports: &mut Ports<T>, port: u16, entry: Entry<T>, firm: bool) {
    use std::collections::hash_map::Entry as Slot;
    match ports.entry((Scheme::Http, port)) {
        Slot::Vacant(slot) => {
            slot.insert(entry);
        }
        Slot::Occupied(mut slot) if slot.get().arrival != Arrival::Same => {
            if firm {
                slot.insert(entry);
            } else {
                slot.get_mut().ambiguous |= true;
            }
        }
        Slot::Occupied(_) => {}
    }
}

/// Routes of a listener that is itself the base URL: by path prefix, else by host.
#[derive(Debug)]
pub struct ReverseTable<T> {
    prefixes: HashMap<Box<str>, Hosts<T>>,
    /// Segments of the longest prefix: how often a lookup hashes at the most.
    depth: usize,
    /// Those without a prefix.
    rest: Hosts<T>,
}

#[derive(Debug)]
struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    wildcard: HashMap<Box<str>, T>,
    /// The only one here: any host is fine.
    single: Option<T>,
    count: usize,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), single: None, count: 0 }
    }
}

impl<T> Default for ReverseTable<T> {
    fn default() -> Self {
        Self { prefixes: HashMap::new(), depth: 0, rest: Hosts::default() }
    }
}

impl<T: Clone> ReverseTable<T> {
    /// Adds a route. The caller has made sure that no two have the same prefix and pattern.
    pub fn insert(&mut self, prefix: Option<&PathPrefix>, pattern: &OriginPattern, route: T) {
        let hosts = match prefix {
            Some(prefix) => {
                self.depth = self.depth.max(prefix.depth());
                self.prefixes.entry(prefix.as_str().into()).or_default()
            }
            None => &mut self.rest,
        };
        hosts.insert(pattern, route);
    }

    /// The route for a path and a canonical host, with the length of the prefix to strip. The longest prefix wins.
    #[must_use]
    pub fn find(&self, path: &str, host: Option<&str>) -> Option<(&T, usize)> {
        if self.depth > 0 {
            for end in prefix_ends(path, self.depth).into_iter().rev() {
                if let Some(route) = self.prefixes.get(&path[..end]).and_then(|hosts| hosts.find(host)) {
                    return Some((route, end));
                }
            }
        }
        self.rest.find(host).map(|route| (route, 0))
    }

    /// True where it takes the right host to get anywhere with this path.
    #[must_use]
    pub fn needs_host(&self, path: &str) -> bool {
        let prefixed = prefix_ends(path, self.depth).into_iter().any(|end| self.prefixes.contains_key(&path[..end]));
        prefixed || self.rest.count > 0
    }
}

impl<T: Clone> Hosts<T> {
    fn insert(&mut self, pattern: &OriginPattern, route: T) {
        self.count += 1;
        self.single = (self.count == 1).then(|| route.clone());
        let hosts = match pattern {
            OriginPattern::Exact(_) => &mut self.exact,
            OriginPattern::Wildcard { .. } => &mut self.wildcard,
        };
        hosts.insert(pattern.base().host.as_str().into(), route);
    }

    fn find(&self, host: Option<&str>) -> Option<&T> {
        self.single.as_ref().or_else(|| {
            let host = host?;
            get(&self.exact, host).or_else(|| get(&self.wildcard, host.split_once('.')?.1))
        })
    }
}

fn get<'a, K: Borrow<str> + Eq + Hash, T>(map: &'a HashMap<K, T>, key: &str) -> Option<&'a T> {
    if map.is_empty() { None } else { map.get(key) }
}

/// Where the first `depth` segments of a path end.
fn prefix_ends(path: &str, depth: usize) -> Vec<usize> {
    let slashes = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()]).take(depth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    fn forward(origins: &[&str]) -> ForwardTable<usize> {
        let mut table = ForwardTable::default();
        for (at, text) in origins.iter().enumerate() {
            table.insert(&origin(text), HttpScheme::Upgrade, at);
        }
        table
    }

    #[test]
    fn scheme_host_and_port_all_have_to_match() {
        let table = forward(&["https://api.test", "https://*.wild.test:8443", "http://plain.test"]);
        assert_eq!(table.find(Scheme::Https, "api.test", 443), Some((&0, Arrival::Same)));
        assert_eq!(table.find(Scheme::Https, "api.test", 8443), None);
        assert_eq!(table.find(Scheme::Https, "plain.test", 80), None);
        assert_eq!(table.find(Scheme::Http, "plain.test", 80), Some((&2, Arrival::Same)));
        assert_eq!(table.find(Scheme::Https, "a.wild.test", 8443), Some((&1, Arrival::Same)));
        assert_eq!(table.find(Scheme::Https, "a.b.wild.test", 8443), None);
        assert_eq!(table.find(Scheme::Https, "wild.test", 8443), None);
    }

    #[test]
    fn tunnels_elsewhere_lead_to_443_to_the_ports_of_routes_and_to_those_that_are_opened() {
        let mut table = forward(&["https://api.test:8443", "http://plain.test"]);
        let reached = |table: &ForwardTable<usize>| -> Vec<u16> {
            [22, 25, 80, 443, 8443, 9443].into_iter().filter(|port| table.tunnels().permit(*port)).collect()
        };
        assert_eq!(reached(&forward(&[])), [443]);
        assert_eq!(reached(&table), [80, 443, 8443]);
        table.open(&TunnelPorts::Listed(BTreeSet::from([9443])));
        assert_eq!(reached(&table), [80, 443, 8443, 9443]);
        table.open(&TunnelPorts::Any);
        table.open(&TunnelPorts::default());
        assert_eq!(reached(&table).len(), 6);
    }

    #[test]
    fn http_names_of_an_https_origin_are_upgraded() {
        let table = forward(&["https://api.test", "https://other.test:8443"]);
        assert_eq!(table.find(Scheme::Http, "api.test", 80), Some((&0, Arrival::Upgraded)));
        assert_eq!(table.find(Scheme::Http, "api.test", 443), Some((&0, Arrival::Upgraded)));
        assert_eq!(table.find(Scheme::Http, "api.test", 8080), None);
        assert_eq!(table.find(Scheme::Http, "other.test", 80), Some((&1, Arrival::Upgraded)));
        assert_eq!(table.find(Scheme::Http, "other.test", 8443), Some((&1, Arrival::Upgraded)));
    }

    #[test]
    fn an_http_origin_keeps_its_place_beside_an_https_one() {
        let origins = ["http://api.test", "https://api.test"];
        for order in [[0, 1], [1, 0]] {
            let mut table = ForwardTable::default();
            for at in order {
                table.insert(&origin(origins[at]), HttpScheme::Upgrade, at);
            }
            assert_eq!(table.find(Scheme::Http, "api.test", 80), Some((&0, Arrival::Same)));
        }
    }

    #[test]
    fn an_http_name_that_two_origins_claim_belongs_to_the_one_with_the_usual_port_or_to_none() {
        let table = forward(&["https://api.test:8443", "https://api.test:9443"]);
        assert_eq!(table.find(Scheme::Http, "api.test", 80), None);
        let table = forward(&["https://api.test:8443", "https://api.test:9443", "https://api.test"]);
        assert_eq!(table.find(Scheme::Http, "api.test", 80), Some((&2, Arrival::Upgraded)));
        let table = forward(&["https://api.test", "https://api.test:8443"]);
        assert_eq!(table.find(Scheme::Http, "api.test", 443), Some((&0, Arrival::Upgraded)));
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let mut table = ReverseTable::default();
        for (at, prefix) in ["/one", "/one/two", "/three"].iter().enumerate() {
            let prefix = PathPrefix::parse(prefix).unwrap();
            table.insert(Some(&prefix), &origin("https://a.test"), at);
        }
        assert_eq!(table.find("/one", None), Some((&0, 4)));
        assert_eq!(table.find("/one/", None), Some((&0, 4)));
        assert_eq!(table.find("/one/two/x", None), Some((&1, 8)));
        assert_eq!(table.find("/one/twofold", None), Some((&0, 4)));
        assert_eq!(table.find("/oneself", None), None);
        assert_eq!(table.find("/", None), None);
        assert_eq!(table.find("/one%2ftwo", None), None);
    }

    #[test]
    fn several_without_a_prefix_are_told_apart_by_host() {
        let mut table = ReverseTable::default();
        table.insert(None, &origin("https://a.test"), 0);
        assert_eq!(table.find("/x", Some("anything")), Some((&0, 0)));
        table.insert(None, &origin("https://*.b.test"), 1);
        assert_eq!(table.find("/x", Some("a.test")), Some((&0, 0)));
        assert_eq!(table.find("/x", Some("c.b.test")), Some((&1, 0)));
        assert_eq!(table.find("/x", Some("anything")), None);
        assert_eq!(table.find("/x", None), None);
    }
}
