//! Routes of one origin, told apart by `paths` and `callers`. A lookup goes down the segments of the path: its cost does not
//! grow with the number of routes, but with that of segments such as `report-*.csv` beside each other.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::pattern::{self, PathPattern};
use super::reading::{self, Ambiguous};

/// Which requests of an origin a route is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selector<'a> {
    /// Empty: every path.
    pub paths: &'a [PathPattern],
    /// `None`: every caller.
    pub callers: Option<&'a [String]>,
    /// Tunnels to it are opened: such a route stands for its origin rather than another.
    pub opened: bool,
}

/// The routes of one origin.
#[derive(Debug)]
pub struct PathTable<T> {
    routes: Vec<T>,
    /// The usual case: one route, for all of the origin.
    plain: bool,
    patterns: Node,
    /// The same with percent-encoding taken away, where a pattern has any.
    decoded: Option<Node>,
    /// Routes for every path.
    rest: Routes,
    /// The route that stands for all of the origin in a tunnel, where one is opened.
    opened: Routes,
    /// The same where none is.
    unopened: Routes,
}

/// Where patterns stand that agree so far.
#[derive(Debug, Clone, Default)]
struct Node {
    literal: HashMap<Box<str>, Self>,
    /// Segments such as `report-*.csv`, the most literal first.
    partial: Vec<(Box<str>, Self)>,
    /// `*` alone.
    any: Option<Box<Self>>,
    /// Patterns that end here.
    here: Routes,
    /// Patterns whose last segment is `*`: everything below.
    below: Routes,
}

/// Routes of the same pattern.
#[derive(Debug, Clone, Default)]
struct Routes {
    by_caller: HashMap<Box<str>, usize>,
    everybody: Option<usize>,
}

/// Why no route of an origin takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute<'a, T> {
    /// Their paths do not cover it.
    Path,
    /// Those that cover it are for other callers; one of them.
    Caller(&'a T),
    /// The path can be read in several ways, which lead to different routes.
    Ambiguous,
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            plain: false,
            patterns: Node::default(),
            decoded: None,
            rest: Routes::default(),
            opened: Routes::default(),
            unopened: Routes::default(),
        }
    }
}

impl<T> PathTable<T> {
    /// Adds a route. The caller has made sure that no two have the same pattern and caller.
    pub fn insert(&mut self, selector: Selector<'_>, route: T) {
        let index = self.routes.len();
        self.plain = self.routes.is_empty() && selector.paths.is_empty() && selector.callers.is_none();
        self.routes.push(route);
        let tunnels = if selector.opened { &mut self.opened } else { &mut self.unopened };
        tunnels.offer(selector.callers, index);
        if selector.paths.is_empty() {
            self.rest.insert(selector.callers, index);
        }
        if self.decoded.is_none() && selector.paths.iter().any(PathPattern::is_encoded) {
            // Before the first pattern with an encoded character, both are the same.
            self.decoded = Some(self.patterns.clone());
        }
        for pattern in selector.paths {
            self.patterns.insert(pattern.segments(), pattern.is_open(), selector.callers, index);
            if let Some(decoded) = &mut self.decoded {
                decoded.insert(pattern.decoded_segments(), pattern.is_open(), selector.callers, index);
            }
        }
    }

    /// The route for a path (without its query) of this caller.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, path: &str, caller: Option<&str>) -> Result<&T, NoRoute<'_, T>> {
        if self.plain {
            return self.routes.first().ok_or(NoRoute::Path);
        }
        let found = reading::agreed(path, |path, decoded| self.index(path, decoded, |routes| routes.of(caller)));
        match found {
            Ok(Some(index)) => Ok(&self.routes[index]),
            Ok(None) => {
                let others = self.index(path, false, Routes::any);
                Err(others.map_or(NoRoute::Path, |other| NoRoute::Caller(&self.routes[other])))
            }
            Err(Ambiguous) => Err(NoRoute::Ambiguous),
        }
    }

    /// The route that stands for all of the origin where there is no path yet; `None` where all are for other callers.
    #[must_use]
    pub(crate) fn for_tunnel(&self, caller: Option<&str>) -> Option<&T> {
        let index = self.opened.of(caller).or_else(|| self.unopened.of(caller))?;
        self.routes.get(index)
    }

    /// All of them, in the configuration's order.
    #[must_use]
    pub(crate) fn routes(&self) -> &[T] {
        &self.routes
    }

    fn index(&self, path: &str, decoded: bool, of: impl Fn(&Routes) -> Option<usize>) -> Option<usize> {
        let patterns = self.decoded.as_ref().filter(|_| decoded).unwrap_or(&self.patterns);
        patterns.find(Some(path.strip_prefix('/').unwrap_or(path)), true, &of).or_else(|| of(&self.rest))
    }
}

impl Node {
    fn insert(&mut self, segments: &[Box<str>], open: bool, callers: Option<&[String]>, index: usize) {
        let node = segments.iter().fold(self, |node, segment| node.child(segment));
        let routes = if open { &mut node.below } else { &mut node.here };
        routes.insert(callers, index);
    }

    fn child(&mut self, segment: &str) -> &mut Self {
        if segment == "*" {
            return self.any.get_or_insert_default();
        }
        if !segment.contains('*') {
            return self.literal.entry(segment.into()).or_default();
        }
        let at = self.partial.iter().position(|(known, _)| **known == *segment).unwrap_or_else(|| {
            let length = Reverse(segment.len());
            let at = self.partial.partition_point(|(known, _)| Reverse(known.len()) <= length);
            self.partial.insert(at, (segment.into(), Self::default()));
            at
        });
        &mut self.partial[at].1
    }

    /// Segment by segment from the left: literal before `*`, longer before shorter. `rest` is `None` behind the last one.
    fn find(&self, rest: Option<&str>, root: bool, of: &impl Fn(&Routes) -> Option<usize>) -> Option<usize> {
        let Some(rest) = rest else { return of(&self.here) };
        let (segment, behind) = match rest.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (rest, None),
        };
        let literal = || self.literal.get(segment)?.find(behind, false, of);
        let partial = || {
            let mut covering = self.partial.iter().filter(|(pattern, _)| pattern::segment_covers(pattern, segment));
            covering.find_map(|(_, node)| node.find(behind, false, of))
        };
        let any = || self.any.as_ref()?.find(behind, false, of);
        let below = || if root || !rest.is_empty() { of(&self.below) } else { None };
        literal().or_else(partial).or_else(any).or_else(below)
    }
}

impl Routes {
    fn insert(&mut self, callers: Option<&[String]>, index: usize) {
        match callers {
            Some(callers) => self.by_caller.extend(callers.iter().map(|caller| (caller.as_str().into(), index))),
            None => self.everybody = Some(index),
        }
    }

    /// The same, if there is none yet.
    fn offer(&mut self, callers: Option<&[String]>, index: usize) {
        for caller in callers.into_iter().flatten() {
            self.by_caller.entry(caller.as_str().into()).or_insert(index);
        }
        if callers.is_none() {
            self.everybody.get_or_insert(index);
        }
    }

    /// The one that names the caller, else the one for everybody.
    fn of(&self, caller: Option<&str>) -> Option<usize> {
        caller.and_then(|caller| self.by_caller.get(caller)).copied().or(self.everybody)
    }

    /// Every caller.
    fn any(&self) -> Option<usize> {
        self.everybody.or_else(|| self.by_caller.values().next().copied())
    }
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
