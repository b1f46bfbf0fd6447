//! Upstreams that a listener has to tell apart: by origin, path prefix or host, and those of one origin by `paths` and
//! `callers`.

use std::collections::HashMap;

use crate::config::syntax::file::File;
use crate::config::tables::listeners::{Listener, Mode};
use crate::config::tables::upstreams::Upstream;
use crate::dial::OriginPattern;
use crate::route::pattern::PathPrefix;

/// What a listener finds an origin by.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Origin(String),
    /// Path prefix; a wildcard or not; host.
    Base(Option<&'a str>, bool, &'a str),
}

/// Reports upstreams that nothing tells apart, and those of one origin that are dialled in different ways.
pub(crate) fn check(file: &File<'_>, listener: &Listener, reached: &[&Upstream]) {
    let Some(mode) = listener.mode else { return };
    let mut origins: HashMap<Key<'_>, Vec<&Upstream>> = HashMap::new();
    let mut claims: HashMap<(Key<'_>, Option<String>, Option<&str>), &Upstream> = HashMap::new();
    for upstream in reached {
        let Some(known) = key(mode, upstream) else { return };
        let group = origins.entry(known).or_default();
        if let Some(first) = group.first() {
            is_dialled_alike(file, listener, first, upstream);
        }
        group.push(upstream);
        let mut rival = None;
        for (path, caller) in selectors(upstream) {
            let Some(key) = key(mode, upstream) else { return };
            rival = rival.or(claims.insert((key, path, caller), upstream));
        }
        if let Some(rival) = rival {
            report(file, listener, mode, rival, upstream);
        }
    }
}

fn key(mode: Mode, upstream: &Upstream) -> Option<Key<'_>> {
    match mode {
        Mode::Token => None,
        Mode::Forward | Mode::Socks5 => Some(Key::Origin(upstream.origin().to_string())),
        Mode::Reverse => {
            let prefix = upstream.config.route.path_prefix.as_ref().map(PathPrefix::as_str);
            let is_wildcard = matches!(upstream.origin(), OriginPattern::Wildcard { .. });
            Some(Key::Base(prefix, is_wildcard, upstream.origin().base().host.as_str()))
        }
    }
}

/// Every path of it with every caller of it; `None` for all of them, which is a claim of its own: one that names a path or
/// a caller goes before it.
fn selectors(upstream: &Upstream) -> impl Iterator<Item = (Option<String>, Option<&str>)> {
    let route = &upstream.config.route;
    let mut paths: Vec<Option<String>> = route.paths.iter().map(|path| Some(path.to_string())).collect();
    if paths.is_empty() {
        paths.push(None);
    }
    paths.into_iter().flat_map(move |path| {
        let callers: Vec<Option<&str>> = match &route.callers {
            Some(callers) => callers.iter().map(|caller| Some(caller.as_str())).collect(),
            None => vec![None],
        };
        callers.into_iter().map(move |caller| (path.clone(), caller))
    })
}

fn report(file: &File<'_>, listener: &Listener, mode: Mode, earlier: &Upstream, upstream: &Upstream) {
    let named = listener.upstreams.iter().flatten().find(|name| name.value == upstream.name());
    let what = format!(
        "`listeners.{}` cannot tell its upstreams \"{}\" and \"{}\" apart",
        listener.name,
        earlier.name(),
        upstream.name()
    );
    let tell = "give each `paths` or `callers` of its own";
    let (why, remedy) = match mode {
        Mode::Reverse => {
            ("path_prefix and host are the same", format!("{tell}, or a `path_prefix`, or a listener of its own"))
        }
        _ => ("their origin is the same", format!("{tell}, or list `upstreams` on the listener, with one of the two")),
    };
    file.problem(named.map_or(listener.at, |name| name.at), format!("{what}: {why}"), remedy);
}

/// A tunnel is dialled before anybody knows which of them is meant.
fn is_dialled_alike(file: &File<'_>, listener: &Listener, earlier: &Upstream, upstream: &Upstream) {
    if earlier.config.connection.connect == upstream.config.connection.connect {
        return;
    }
    let what = format!(
        "`upstreams.{}.connect` is not that of \"{}\", which has the same origin on `listeners.{}`",
        upstream.name(),
        earlier.name(),
        listener.name
    );
    file.problem(upstream.at, what, "write the same `connect` in both, or in none");
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    const CALLERS: &str =
        "[callers.a]\npassword = { env = \"SECRET\" }\n[callers.b]\npassword = { env = \"SECRET\" }\n";

    /// A forward listener with callers, and two upstreams of one origin with these lines.
    fn both(one: &str, other: &str) -> Vec<String> {
        let upstream = |name: &str, rest: &str| format!("[upstreams.{name}]\norigin = \"https://api.test\"\n{rest}\n");
        problems(&format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\ncallers = [\"a\", \"b\"]\n{}{}{CALLERS}",
            upstream("one", one),
            upstream("two", other)
        ))
    }

    #[test]
    fn paths_and_callers_tell_upstreams_of_one_origin_apart() {
        for (one, other) in [
            ("paths = [\"/one/*\"]", "paths = [\"/two/*\"]"),
            ("paths = [\"/one/*\"]", ""),
            ("paths = [\"/one/*\"]", "paths = [\"/one/*/x\", \"/one\"]"),
            ("callers = [\"a\"]", "callers = [\"b\"]"),
            ("callers = [\"a\"]", ""),
            ("paths = [\"/x\"]\ncallers = [\"a\"]", "paths = [\"/x\"]"),
            ("paths = [\"/x\"]\ncallers = [\"a\"]", "paths = [\"/x\"]\ncallers = [\"b\"]"),
        ] {
            assert_eq!(both(one, other), [""; 0], "{one} | {other}");
        }
        for (one, other) in [
            ("", ""),
            ("paths = [\"/x\", \"/y\"]", "paths = [\"/y\"]"),
            ("callers = [\"a\", \"b\"]", "callers = [\"b\"]"),
            ("paths = [\"/x\"]\ncallers = [\"a\"]", "paths = [\"/x\"]\ncallers = [\"b\", \"a\"]"),
        ] {
            let found = both(one, other);
            assert!(
                found.len() == 1 && found[0].contains("cannot tell its upstreams \"one\" and \"two\" apart"),
                "{found:#?}"
            );
            assert!(found[0].contains("give each `paths` or `callers` of its own"), "{found:#?}");
        }
    }

    #[test]
    fn upstreams_of_one_origin_are_dialled_alike() {
        let (one, other) = ("paths = [\"/one/*\"]\nconnect = \"10.0.0.5:443\"", "paths = [\"/two/*\"]");
        let found = both(one, other);
        assert!(found.len() == 1 && found[0].contains("`upstreams.two.connect` is not that of \"one\""), "{found:#?}");
        assert_eq!(both(one, &format!("{other}\nconnect = \"10.0.0.5:443\"")), [""; 0]);
    }
}
