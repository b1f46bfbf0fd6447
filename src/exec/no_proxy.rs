//! `NO_PROXY`: the hosts that programs go to directly. What is there stays, save what names an upstream: that one is to be
//! reached through the proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dial::OriginPattern;

/// Programs reach their own machine directly, unless that is where an upstream is.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The merged list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Direct {
    /// In their order, each once.
    pub(super) entries: Vec<String>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// Puts the lists of an environment and the names of this machine together, for these upstreams.
pub(super) fn merge(before: &[String], upstreams: &[OriginPattern]) -> Direct {
    let mut direct = Direct { entries: Vec::new(), notes: Vec::new() };
    // curl takes spaces between entries, everybody takes commas.
    let written = before.iter().flat_map(|list| list.split([',', ' ', '\t', '\n'])).filter(|entry| !entry.is_empty());
    for entry in written {
        let known = |known: &String| known.eq_ignore_ascii_case(entry);
        let origin = |reach: Reach| upstreams.iter().find(|upstream| reach_of(entry, upstream) == Some(reach));
        if let Some(origin) = origin(Reach::Alone) {
            let note = format!("NO_PROXY: {entry:?} is left out, because requests to the upstream {origin} go through");
            if !direct.notes.contains(&note) {
                direct.notes.push(note);
            }
        } else if !direct.entries.iter().any(known) {
            if let Some(origin) = origin(Reach::AmongOthers) {
                let note = format!(
                    "NO_PROXY: {entry:?} covers the upstream {origin}, so programs go there directly and without a \
                     token; take it out of NO_PROXY"
                );
                direct.notes.push(note);
            }
            direct.entries.push(entry.to_owned());
        }
    }
    for name in LOOPBACK {
        let wanted = upstreams.iter().all(|upstream| reach_of(name, upstream).is_none());
        if wanted && !direct.entries.iter().any(|entry| entry.eq_ignore_ascii_case(name)) {
            direct.entries.push(name.to_owned());
        }
    }
    direct
}

/// How an entry covers an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It stands for this host, or for this machine.
    Alone,
    /// It stands for more, which may be meant.
    AmongOthers,
}

/// The widest reading of an entry that programs have: `*`, a host, `.suffix` and `*.suffix` (and a host stands for what is
/// below it), an address, a network; each perhaps with a port.
fn reach_of(entry: &str, upstream: &OriginPattern) -> Option<Reach> {
    let entry = entry.to_ascii_lowercase();
    if entry == "*" {
        return Some(Reach::AmongOthers);
    }
    let host = upstream.base().host.as_str();
    let suffix = entry.strip_prefix('*').unwrap_or(&entry);
    if let Some(suffix) = suffix.strip_prefix('.') {
        let wildcard = matches!(upstream, OriginPattern::Wildcard { .. });
        let covered = is_below(host, suffix) || (wildcard && host == suffix);
        return covered.then_some(Reach::AmongOthers);
    }
    if let (Ok(network), Some(ip)) = (entry.parse::<IpNet>(), upstream.base().host.ip()) {
        // Of the networks, that of loopback is the one that means this machine and nothing else.
        let reach = if network.network().is_loopback() { Reach::Alone } else { Reach::AmongOthers };
        return network.contains(&ip.to_canonical()).then_some(reach);
    }
    let name = without_port(&entry, upstream.base().port)?;
    if let Some(ip) = upstream.base().host.ip() {
        let same = name.parse::<IpAddr>().is_ok_and(|one| one.to_canonical() == ip.to_canonical());
        return same.then_some(Reach::Alone);
    }
    if upstream.covers_host(name) {
        return Some(Reach::Alone);
    }
    let wildcard_of = matches!(upstream, OriginPattern::Wildcard { .. }) && host == name;
    (wildcard_of || is_below(host, name)).then_some(Reach::AmongOthers)
}

fn is_below(host: &str, suffix: &str) -> bool {
    !suffix.is_empty() && host.strip_suffix(suffix).is_some_and(|labels| labels.ends_with('.'))
}

/// The host of `host`, `host:port`, `[v6]` and `[v6]:port`; nothing if the port is another one.
fn without_port(entry: &str, port: u16) -> Option<&str> {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let same = rest.is_empty() || rest.strip_prefix(':').is_some_and(|given| given.parse() == Ok(port));
        return same.then_some(host);
    }
    match entry.split_once(':') {
        Some((host, given)) if !given.contains(':') => (given.parse() == Ok(port)).then_some(host),
        _ => Some(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(origins: &[&str]) -> Vec<OriginPattern> {
        origins.iter().map(|origin| origin.parse().unwrap()).collect()
    }

    fn merged(before: &[&str], origins: &[&str]) -> Direct {
        let before: Vec<String> = before.iter().map(|list| (*list).to_owned()).collect();
        merge(&before, &upstreams(origins))
    }

    #[test]
    fn what_is_there_is_kept_once_and_this_machine_added() {
        let direct = merged(&["corp.test, 10.0.0.0/8", "CORP.test,.intern"], &["https://api.test"]);
        assert_eq!(direct.entries, ["corp.test", "10.0.0.0/8", ".intern", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(direct.notes, [""; 0]);
        assert_eq!(merged(&[], &[]).entries, LOOPBACK);
    }

    #[test]
    fn an_upstream_on_this_machine_is_not_passed_by() {
        let direct = merged(&["localhost,127.0.0.1,corp.test"], &["http://127.0.0.1:9000"]);
        assert_eq!(direct.entries, ["localhost", "corp.test", "::1"]);
        assert_eq!(
            direct.notes,
            ["NO_PROXY: \"127.0.0.1\" is left out, because requests to the upstream http://127.0.0.1:9000 go through"]
        );
        assert_eq!(merged(&["127.0.0.0/8"], &["http://127.0.0.1:9000"]).entries, ["localhost", "::1"]);
        assert_eq!(merged(&["localhost:1"], &["http://localhost:9000"]).entries, ["localhost:1", "127.0.0.1", "::1"]);
        assert_eq!(merged(&["[::1]:9"], &["http://[::1]:9", "http://localhost:9"]).entries, ["127.0.0.1"]);
    }

    #[test]
    fn what_covers_more_than_an_upstream_stays_and_is_told() {
        for entry in ["*", ".test", "*.test", "test", "example.test"] {
            let direct = merged(&[entry], &["https://api.example.test"]);
            assert_eq!(direct.entries[0], entry);
            assert!(direct.notes[0].contains("covers the upstream https://api.example.test, so"), "{direct:?}");
        }
        for entry in [".example.test", "example.test"] {
            assert_eq!(merged(&[entry], &["https://*.example.test"]).notes.len(), 1, "{entry}");
        }
        let wide = merged(&["10.0.0.0/8"], &["https://10.1.2.3"]);
        assert_eq!((wide.entries.len(), wide.notes.len()), (4, 1));
    }

    #[test]
    fn the_host_of_an_upstream_is_left_out() {
        for entry in ["api.test", "API.test", "api.test:443"] {
            let direct = merged(&[entry, "other.test"], &["https://api.test"]);
            assert_eq!((direct.entries[0].as_str(), direct.notes.len()), ("other.test", 1));
        }
        assert_eq!(merged(&["a.api.test"], &["https://*.api.test"]).entries, LOOPBACK);
    }

    #[test]
    fn what_looks_alike_is_another_host() {
        for entry in
            ["notapi.test", "pi.test", "api.test:8443", "api.test.example", "192.0.2.1", "::", "[", "a:b:c", ""]
        {
            assert_eq!(merged(&[entry], &["https://api.test", "https://192.0.2.2"]).notes, [""; 0], "{entry}");
        }
    }
}
