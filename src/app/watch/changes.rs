//! What differs between two configurations, in lines for the log, the status page and the answer of a reload.

use std::collections::{HashMap, HashSet};

use crate::config::Config;

/// One line for each thing that was added, removed or changed; empty if there is no difference. What takes effect with the
/// next start only says so.
pub(crate) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    named(&mut lines, "listener", &old.listeners, &new.listeners, |listener| &listener.name);
    named(&mut lines, "credential", &old.credentials, &new.credentials, |credential| &credential.name);
    named(&mut lines, "upstream", &old.upstreams, &new.upstreams, |upstream| &upstream.connection.name);
    if old.forward != new.forward {
        lines.push("[forward] changed".to_owned());
    }
    if old.intercept != new.intercept {
        lines.push("[intercept] changed".to_owned());
    }
    if old.cache != new.cache {
        lines.push("[cache] changed".to_owned());
    }
    for line in needing_restart(old, new) {
        lines.push(format!("{line} changed, which takes effect with the next start"));
    }
    lines
}

/// Tables that are read when the program starts, and then not again.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let tables = [
        ("[limits]", old.limits != new.limits),
        ("[admin]", old.admin != new.admin),
        ("[telemetry]", old.telemetry != new.telemetry),
    ];
    tables.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

fn named<T: PartialEq>(lines: &mut Vec<String>, kind: &str, old: &[T], new: &[T], name: impl Fn(&T) -> &String) {
    let known: HashMap<&String, &T> = old.iter().map(|item| (name(item), item)).collect();
    for item in new {
        match known.get(name(item)).copied() {
            None => lines.push(format!("{kind} {:?} added", name(item))),
            Some(known) if known != item => lines.push(format!("{kind} {:?} changed", name(item))),
            Some(_) => {}
        }
    }
    let kept: HashSet<&String> = new.iter().map(&name).collect();
    for item in old.iter().filter(|item| !kept.contains(name(item))) {
        lines.push(format!("{kind} {:?} removed", name(item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("proxy.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn what_is_different_is_told_by_name() {
        let listener = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
        let upstream = |name: &str, rest: &str| format!("[upstreams.{name}]\norigin = \"https://{name}.test\"\n{rest}");
        let old = config(&[listener, &upstream("a", ""), &upstream("b", "")].concat());
        let new = config(
            &[listener, &upstream("a", "http = \"refuse\"\n"), &upstream("c", ""), "[limits]\ndrain = \"1s\"\n"]
                .concat(),
        );
        assert_eq!(changes(&old, &old), [""; 0]);
        let told = changes(&old, &new);
        // The listener reaches other upstreams now.
        assert_eq!(
            told,
            [
                "listener \"proxy\" changed",
                "upstream \"a\" changed",
                "upstream \"c\" added",
                "upstream \"b\" removed",
                "[limits] changed, which takes effect with the next start",
            ]
        );
    }
}
