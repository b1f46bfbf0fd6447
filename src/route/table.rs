//! From a request's target to a route. Every lookup hashes; its cost does not grow with the number of upstreams.

use std::collections::{BTreeSet, HashMap};

use super::paths::{NoRoute, PathTable, Selector};
use super::pattern::PathPrefix;
use super::reading;
use crate::dial::{OriginPattern, Scheme};

/// Targets that callers name themselves.
#[derive(Debug)]
pub struct ForwardTable<T> {
    origins: Vec<PathTable<T>>,
    exact: HashMap<Box<str>, Ports>,
    /// By what follows the first label.
    wildcard: HashMap<Box<str>, Ports>,
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

type Ports = HashMap<(Scheme, u16), Entry>;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The origin's place in [`ForwardTable::origins`].
    origin: usize,
    arrival: Arrival,
    /// It is the alias that the origin's own port gives: one of another port does not take it away.
    firm: bool,
    /// Several origins claim this alias: none of them gets it.
    ambiguous: bool,
}

/// How a target came to its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// By its own scheme and port.
    Same,
    /// An `http` target of an `https` origin.
    Alias,
}

impl<T> Default for ForwardTable<T> {
    fn default() -> Self {
        let tunnels = TunnelPorts::Listed(BTreeSet::from([Scheme::Https.default_port()]));
        Self { origins: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new(), tunnels }
    }
}

impl<T> ForwardTable<T> {
    /// Lets tunnels lead to these ports too, besides 443 and those of the routes.
    pub(crate) fn open(&mut self, ports: &TunnelPorts) {
        match (&mut self.tunnels, ports) {
            (TunnelPorts::Listed(known), TunnelPorts::Listed(more)) => known.extend(more),
            (known, TunnelPorts::Any) => *known = TunnelPorts::Any,
            (TunnelPorts::Any, _) => {}
        }
    }

    /// Where tunnels to hosts without a route may lead to.
    #[must_use]
    pub(crate) const fn tunnels(&self) -> &TunnelPorts {
        &self.tunnels
    }

    /// Adds a route. The caller has made sure that those of one origin can be told apart.
    pub fn insert(&mut self, pattern: &OriginPattern, selector: Selector<'_>, route: T) {
        let base = pattern.base();
        self.open(&TunnelPorts::Listed(BTreeSet::from([base.port])));
        let hosts = match pattern {
            OriginPattern::Exact(_) => &mut self.exact,
            OriginPattern::Wildcard { .. } => &mut self.wildcard,
        };
        let ports = hosts.entry(base.host.as_str().into()).or_default();
        let known = ports.get(&(base.scheme, base.port)).filter(|entry| entry.arrival == Arrival::Same);
        let origin = known.map_or(self.origins.len(), |entry| entry.origin);
        if known.is_none() {
            self.origins.push(PathTable::default());
            ports.insert(
                (base.scheme, base.port),
                Entry { origin, arrival: Arrival::Same, firm: true, ambiguous: false },
            );
            if base.scheme == Scheme::Https {
                let own = base.port == Scheme::Https.default_port();
                let entry = |firm| Entry { origin, arrival: Arrival::Alias, firm, ambiguous: false };
                alias(ports, base.port, entry(true));
                alias(ports, Scheme::Http.default_port(), entry(own));
            }
        }
        self.origins[origin].insert(selector, route);
    }

    /// The routes of the origin that a canonical host, scheme and port mean. An exact host wins over a wildcard.
    #[must_use]
    pub fn find(&self, scheme: Scheme, host: &str, port: u16) -> Option<(&PathTable<T>, Arrival)> {
        let exact = self.exact.get(host).and_then(|ports| ports.get(&(scheme, port)));
        let entry = exact.or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.wildcard.get(parent)?.get(&(scheme, port))
        })?;
        (!entry.ambiguous).then(|| (&self.origins[entry.origin], entry.arrival))
    }

    /// The routes of the origin that a tunnel to this host and port would reach, by either scheme.
    #[must_use]
    pub(crate) fn find_tunnel(&self, host: &str, port: u16) -> Option<&PathTable<T>> {
        let of = |scheme| self.find(scheme, host, port).filter(|(_, arrival)| *arrival == Arrival::Same);
        of(Scheme::Https).or_else(|| of(Scheme::Http)).map(|(routes, _)| routes)
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
    pub(crate) fn permit(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(ports) => ports.contains(&port),
        }
    }
}

/// An `http` name for an `https` origin. A real `http` origin there keeps its place, the origin of the scheme's own port
/// (`firm`) wins over one of another, and two of those are told apart by nobody.
fn alias(ports: &mut Ports, port: u16, entry: Entry) {
    use std::collections::hash_map::Entry as Slot;
    match ports.entry((Scheme::Http, port)) {
        Slot::Vacant(slot) => {
            slot.insert(entry);
        }
        Slot::Occupied(slot) if slot.get().arrival == Arrival::Same => {}
        Slot::Occupied(mut slot) if entry.firm => {
            slot.insert(entry);
        }
        Slot::Occupied(mut slot) => slot.get_mut().ambiguous |= !slot.get().firm,
    }
}

/// Routes of a listener that is itself the base URL: by path prefix, else by host; those of one prefix and host by path.
#[derive(Debug)]
pub struct ReverseTable<T> {
    prefixes: HashMap<Box<str>, usize>,
    /// The same with percent-encoding taken away.
    decoded: HashMap<Box<str>, usize>,
    hosts: Vec<Hosts<T>>,
    /// Segments of the longest prefix: how often a lookup hashes at the most.
    depth: usize,
    /// Those without a prefix.
    rest: Hosts<T>,
}

/// What a path and a host lead to.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// The routes of that prefix and host.
    pub routes: &'a PathTable<T>,
    /// The length of the prefix, to be stripped.
    pub prefix: usize,
}

/// A prefix, and where it ends in one reading of the path.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    at: usize,
    end: usize,
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

#[derive(Debug)]
struct Hosts<T> {
    origins: Vec<PathTable<T>>,
    exact: HashMap<Box<str>, usize>,
    wildcard: HashMap<Box<str>, usize>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { origins: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> Default for ReverseTable<T> {
    fn default() -> Self {
        let (prefixes, decoded) = (HashMap::new(), HashMap::new());
        Self { prefixes, decoded, hosts: Vec::new(), depth: 0, rest: Hosts::default() }
    }
}

impl<T> ReverseTable<T> {
    /// Adds a route. The caller has made sure that those of one prefix and pattern can be told apart.
    pub fn insert(&mut self, prefix: Option<&PathPrefix>, pattern: &OriginPattern, selector: Selector<'_>, route: T) {
        let hosts = match prefix {
            Some(prefix) => {
                self.depth = self.depth.max(prefix.depth());
                let new = self.hosts.len();
                let at = *self.prefixes.entry(prefix.as_str().into()).or_insert(new);
                if at == new {
                    self.hosts.push(Hosts::default());
                    let decoded = reading::decoded(prefix.as_str()).unwrap_or_else(|| prefix.as_str().to_owned());
                    self.decoded.insert(decoded.into(), at);
                }
                &mut self.hosts[at]
            }
            None => &mut self.rest,
        };
        hosts.insert(pattern, selector, route);
    }

    /// The routes for a path and a canonical host. The longest prefix wins.
    ///
    /// # Errors
    /// [`NoRoute::Path`] where no prefix and host lead anywhere, [`NoRoute::Ambiguous`] where the path can be read in several
    /// ways, which lead to different prefixes.
    pub fn find(&self, path: &str, host: Option<&str>) -> Result<Found<'_, T>, NoRoute<'_, T>> {
        let prefix = match self.depth {
            0 => None,
            _ => {
                // Without a prefix it is for those without one, where there are any.
                let rest = || self.rest.find(host).map(|_| None);
                let choose = |path: &str, decoded| self.prefix(path, decoded, host).map(Some).or_else(rest);
                reading::agreed(path, choose).map_err(|_ambiguous| NoRoute::Ambiguous)?.flatten()
            }
        };
        let (hosts, prefix) = prefix.map_or((&self.rest, 0), |found| (&self.hosts[found.at], found.end));
        hosts.find(host).map(|routes| Found { routes, prefix }).ok_or(NoRoute::Path)
    }

    fn prefix(&self, path: &str, decoded: bool, host: Option<&str>) -> Option<Prefix> {
        let prefixes = if decoded { &self.decoded } else { &self.prefixes };
        let ends = prefix_ends(path, self.depth);
        let mut known = ends.into_iter().rev().filter_map(|end| Some(Prefix { at: *prefixes.get(&path[..end])?, end }));
        known.find(|prefix| self.hosts[prefix.at].find(host).is_some())
    }

    /// True where it takes the right host to get anywhere with this path.
    #[must_use]
    pub(crate) fn needs_host(&self, path: &str) -> bool {
        let prefixed = prefix_ends(path, self.depth).into_iter().any(|end| self.prefixes.contains_key(&path[..end]));
        prefixed || !self.rest.origins.is_empty()
    }
}

impl<T> Hosts<T> {
    fn insert(&mut self, pattern: &OriginPattern, selector: Selector<'_>, route: T) {
        let hosts = match pattern {
            OriginPattern::Exact(_) => &mut self.exact,
            OriginPattern::Wildcard { .. } => &mut self.wildcard,
        };
        let new = self.origins.len();
        let at = *hosts.entry(pattern.base().host.as_str().into()).or_insert(new);
        if at == new {
            self.origins.push(PathTable::default());
        }
        self.origins[at].insert(selector, route);
    }

    fn find(&self, host: Option<&str>) -> Option<&PathTable<T>> {
        // The only one here: any host is fine.
        if let [only] = self.origins.as_slice() {
            return Some(only);
        }
        let host = host?;
        let at = self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1))?;
        Some(&self.origins[*at])
    }
}

/// Where the first `depth` segments of a path end.
fn prefix_ends(path: &str, depth: usize) -> Vec<usize> {
    let slashes = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()]).take(depth).collect()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
