//! What is harmless and yet hardly meant: tables and keys that have no effect.

use std::collections::HashSet;

use crate::config::checks::callers;
use crate::config::checks::tables::{Reached, Tables};
use crate::config::syntax::file::File;
use crate::config::tables::listeners::Mode;
use crate::credential::{CredentialKind, CredentialSettings};
use crate::dial::Scheme;
use crate::proxy::Unmatched;

/// Warns of tables and keys that have no effect.
pub(crate) fn warn(file: &File<'_>, tables: &Tables<'_>, reached: &[Reached<'_>]) {
    if tables.listeners.is_empty() {
        return;
    }
    for listener in &tables.listeners {
        let empty = matches!(listener.mode, Some(Mode::Forward | Mode::Socks5)) && tables.upstream_names.is_empty();
        if empty && tables.forward.unmatched == Unmatched::Deny {
            let what = format!("`listeners.{}` has no upstreams, so it refuses every request", listener.name);
            file.warning(
                listener.at,
                what,
                "add [upstreams.NAME] with an origin, or [forward] with unmatched = \"pass\"",
            );
        }
    }
    let opens = |Reached { listener, upstreams }: &Reached<'_>| {
        matches!(listener.mode, Some(Mode::Forward | Mode::Socks5))
            && upstreams.iter().any(|upstream| upstream.config.credential.is_some() && upstream.config.route.intercept)
    };
    if let Some(at) = tables.intercept_at.filter(|_| !reached.iter().any(opens)) {
        file.warning(
            at,
            "`[intercept]` opens nothing: no forward or socks5 listener knows an upstream with a credential",
            "add one, or remove the table, and the certificate from those who trust it",
        );
    }
    let shares = |credential: &CredentialSettings| match &credential.kind {
        CredentialKind::OAuth(token) => token.unshared().is_none(),
        CredentialKind::Fixed(_) => false,
    };
    if let Some(at) = tables.cache_at.filter(|_| !tables.credentials.iter().any(|credential| shares(&credential.value)))
    {
        file.warning(
            at,
            "`[cache]` shares nothing: no credential has tokens that other replicas could use",
            "add one of kind \"oauth2\", or remove the table",
        );
    }
    let named = tables.upstreams.iter().filter_map(|upstream| upstream.config.credential.as_deref());
    let named: HashSet<&str> = named.collect();
    let served: HashSet<String> = callers::served_by_token_listeners(tables).collect();
    for credential in tables.credentials.iter() {
        let name = &credential.value.name;
        if !named.contains(name.as_str()) && !served.contains(name) {
            let what = format!("no upstream uses `credentials.{name}`");
            file.warning(credential.at, what, format!("write credential = \"{name}\" in an upstream, or remove it"));
        }
    }
    let by = |mode| -> HashSet<&str> {
        let those = reached.iter().filter(|reached| reached.listener.mode == Some(mode));
        those.flat_map(|reached| reached.upstreams.iter().map(|upstream| upstream.name())).collect()
    };
    let (by_forward, by_reverse, by_socks5) = (by(Mode::Forward), by(Mode::Reverse), by(Mode::Socks5));
    for upstream in tables.upstreams.iter() {
        let name = upstream.name();
        if ![&by_forward, &by_reverse, &by_socks5].iter().any(|reached| reached.contains(name)) {
            let what = format!("no listener reaches `upstreams.{name}`");
            file.warning(upstream.at, what, format!("write upstream = \"{name}\" in a listener, or remove it"));
        } else if upstream.config.route.path_prefix.is_some() && !by_reverse.contains(name) {
            let what = format!("`upstreams.{name}.path_prefix` is not used on a forward listener");
            file.warning(upstream.prefix_at, what, "remove it, or name the upstream in a reverse listener");
        }
        if let Some(via) = tables.forward.via.as_ref().filter(|_| upstream.via.is_none()) {
            let connection = &upstream.config.connection;
            let base = connection.origin.base();
            let (host, port) =
                connection.connect.as_ref().map_or((&base.host, base.port), |connect| (&connect.host, connect.port));
            if !via.except.iter().any(|rule| rule.covers(host, port)) {
                file.warning(
                    upstream.at,
                    format!("`upstreams.{name}` is reached directly, and not through the proxy of [forward]"),
                    "write via = \"forward\" if it should be, or via = \"none\"",
                );
            }
        }
        if let Some(at) = upstream.tls_at.filter(|_| upstream.origin().base().scheme == Scheme::Http) {
            file.warning(
                at,
                format!("`upstreams.{name}.tls` is not used: the origin is plain http"),
                "write https://…, or remove it",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{CREDENTIAL, config, forward, reverse, upstream};

    #[test]
    fn what_is_harmless_and_hardly_meant_is_a_warning() {
        let warnings = |text: &str| {
            config(text)
                .warnings
                .into_iter()
                .map(|warning| format!("{:?} {}", warning.at, warning.what))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            warnings(&forward("")),
            ["Some((1, 1)) `listeners.proxy` has no upstreams, so it refuses every request"]
        );
        assert_eq!(warnings(&forward("[forward]\nunmatched = \"pass\"\n")), [""; 0]);
        let prefixed = upstream("a", "http://a.test", "path_prefix = \"/a\"\ntls = { server_name = \"b.test\" }\n");
        assert_eq!(
            warnings(&forward(&format!("{prefixed}{CREDENTIAL}"))),
            [
                "Some((6, 15)) `upstreams.a.path_prefix` is not used on a forward listener",
                "Some((7, 7)) `upstreams.a.tls` is not used: the origin is plain http",
                "Some((8, 1)) no upstream uses `credentials.key`",
            ]
        );
        let unreached = upstream("a", "https://a.test", "") + &upstream("b", "https://b.test", "");
        assert_eq!(warnings(&reverse("[\"a\"]", &unreached)), ["Some((7, 1)) no listener reaches `upstreams.b`"]);
    }
}
