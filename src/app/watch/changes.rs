//! What differs between two configurations, in lines for the log, the status page and the answer of a reload.

use std::collections::{HashMap, HashSet};

use crate::config::{Config, UpstreamConfig};

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

/// That for which a changed file waits as a whole, one line each: it says where or how secrets and tokens are sent, and who can
/// write a file is not always who may decide that. What a secret's file holds is no part of it: settings name the place.
pub(crate) fn waiting(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let known = old.credentials_by_name();
    for credential in &new.credentials {
        match known.get(credential.name.as_str()) {
            None => lines.push(format!("credential {:?} is new", credential.name)),
            Some(known) if *known != credential => lines.push(format!("credential {:?} is different", credential.name)),
            Some(_) => {}
        }
    }
    let fixed = |upstream: &UpstreamConfig| {
        let named = upstream.credential.as_ref();
        new.credentials.iter().any(|one| Some(&one.name) == named && one.oauth().is_none())
    };
    let known: HashMap<&str, &UpstreamConfig> =
        old.upstreams.iter().map(|upstream| (upstream.connection.name.as_str(), upstream)).collect();
    for upstream in &new.upstreams {
        let name = &upstream.connection.name;
        match known.get(name.as_str()) {
            None if fixed(upstream) => {
                lines.push(format!("upstream {name:?} is new, and its credential is a secret itself"));
            }
            None => {}
            Some(known) => {
                lines.extend(redirected(known, upstream).map(|key| format!("upstream {name:?} has another `{key}`")));
            }
        }
    }
    if old.cache != new.cache {
        lines.push("[cache] is different".to_owned());
    }
    lines
}

/// The keys by which an upstream's requests go elsewhere, or with something else.
fn redirected(old: &UpstreamConfig, new: &UpstreamConfig) -> impl Iterator<Item = &'static str> {
    let (was, is) = (&old.connection, &new.connection);
    let keys = [
        ("origin", was.origin != is.origin),
        ("connect", was.connect != is.connect),
        ("via", was.via != is.via),
        ("tls", was.tls != is.tls),
        ("credential", old.credential != new.credential),
    ];
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key))
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
        assert_eq!(waiting(&old, &new), [""; 0], "an upstream may come and go");
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

    #[test]
    fn whatever_changes_in_the_shared_cache_waits() {
        let with = |cache: &str| {
            config(&format!(
                "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[cache]\nkey = \"a key that is long enough to be one\"\n{cache}"
            ))
        };
        let old = with("shared = \"redis://a.test\"\n");
        assert_eq!(waiting(&old, &with("shared = \"redis://a.test:6379\"\n")), [""; 0], "the same in other words");
        for cache in [
            "shared = \"redis://b.test\"",
            "shared = \"rediss://a.test\"",
            "shared = \"redis://a.test\"\nprefix = \"other\"",
            "shared = \"redis://a.test\"\npassword = \"x\"",
        ] {
            let new = with(cache);
            assert_eq!(
                (waiting(&old, &new), changes(&old, &new)),
                (vec!["[cache] is different".to_owned()], vec!["[cache] changed".to_owned()]),
                "{cache}"
            );
        }
    }

    /// Each key of the rule, and what may change without it.
    #[test]
    fn what_says_where_and_how_a_secret_is_sent_waits() {
        let with = |credential: &str, upstream: &str, more: &str| {
            config(&format!(
                "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[forward]\nvia = \"http://proxy.test:1\"\n\
                 [credentials.a]\nclient_id = \"me\"\nclient_auth = \"none\"\n{credential}\
                 [credentials.fixed]\nkind = \"bearer\"\ntoken = \"sentinel\"\n\
                 [upstreams.a]\n{upstream}{more}"
            ))
        };
        let (endpoint, origin) =
            ("token_endpoint = \"https://login.test/token\"\n", "origin = \"https://a.test\"\ncredential = \"a\"\n");
        let old = with(endpoint, origin, "");
        let of = |credential: &str, upstream: &str, more: &str| waiting(&old, &with(credential, upstream, more));
        for different in [
            "token_endpoint = \"https://evil.test/token\"\n".to_owned(),
            format!("{endpoint}proxy = \"http://evil.test:1\"\n"),
            format!("{endpoint}issuer = \"https://evil.test\"\n"),
            format!("{endpoint}scope = \"more\"\n"),
            format!("{endpoint}headers = {{ X-A = \"b\" }}\n"),
            format!("{endpoint}timeout = \"3s\"\n"),
        ] {
            assert_eq!(of(&different, origin, ""), ["credential \"a\" is different"], "{different}");
        }
        for (different, key) in [
            (origin.replace("a.test", "evil.test"), "origin"),
            (origin.replace("\"a\"", "\"fixed\""), "credential"),
            (origin.replace("credential = \"a\"\n", ""), "credential"),
            (format!("{origin}connect = \"192.0.2.1:443\"\n"), "connect"),
            (format!("{origin}via = \"http://evil.test:1\"\n"), "via"),
            (format!("{origin}via = \"forward\"\n"), "via"),
            (format!("{origin}tls = {{ server_name = \"evil.test\" }}\n"), "tls"),
        ] {
            assert_eq!(of(endpoint, &different, ""), [format!("upstream \"a\" has another `{key}`")], "{different}");
        }
        let new = "[upstreams.b]\norigin = \"https://evil.test\"\n";
        assert_eq!(
            of(endpoint, origin, &format!("{new}credential = \"fixed\"\n")),
            ["upstream \"b\" is new, and its credential is a secret itself"]
        );
        let more = "[credentials.b]\nkind = \"bearer\"\ntoken = \"x\"\n";
        assert_eq!(of(endpoint, origin, more), ["credential \"b\" is new"]);
        for (upstream, more) in [
            (origin.to_owned(), new.to_owned()),
            (origin.to_owned(), format!("{new}credential = \"a\"\n")),
            (
                format!("{origin}http = \"refuse\"\nallow = [{{ methods = \"GET\" }}]\npool = {{ max = 5 }}\n"),
                String::new(),
            ),
            (origin.to_owned(), "[limits]\ndrain = \"1s\"\n".to_owned()),
        ] {
            assert_eq!(of(endpoint, &upstream, &more), [""; 0], "{upstream}{more}");
        }
    }
}
