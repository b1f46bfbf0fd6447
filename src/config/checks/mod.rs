//! Checks across tables: names that lead nowhere, addresses taken twice, upstreams that cannot be told apart.

pub(crate) mod callers;
mod distinct;
pub(crate) mod tables;
mod unused;

use std::collections::HashSet;

use crate::config::checks::tables::{Reached, Tables};
use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::file::File;
use crate::config::syntax::named::Names;
use crate::config::syntax::value::Spanned;
use crate::config::syntax::words::{listed, nearest};
use crate::config::tables::parent_proxy::Via;
use crate::config::tables::upstreams::Upstream;
use crate::dial::Scheme;
use crate::listen::ListenAddress;
use crate::oauth::Grant;
use crate::route::CallerAuthorization;

/// Reports what is wrong between the tables.
pub(crate) fn check(file: &File<'_>, tables: &Tables<'_>) {
    // Where the syntax is broken, whole tables may be missing from the tree.
    if !file.is_whole() {
        return;
    }
    names(file, tables);
    addresses(file, tables);
    let reached = Reached::by_each(tables);
    for Reached { listener, upstreams } in &reached {
        distinct::check(file, listener, upstreams);
    }
    plaintext(file, &tables.upstreams);
    parent_proxies(file, tables);
    exchanges(file, tables);
    origins_from_tokens(file, tables);
    callers::check(file, tables, &reached);
    unused::warn(file, tables, &reached);
}

fn names(file: &File<'_>, tables: &Tables<'_>) {
    for listener in &tables.listeners {
        let mut seen: HashSet<&str> = HashSet::new();
        for name in listener.upstreams.iter().flatten() {
            exists(file, name.at, "upstream", &name.value, &tables.upstream_names);
            if !seen.insert(&name.value) {
                file.problem(
                    name.at,
                    format!("the upstream \"{}\" is listed twice", file.written.shown(name.at, &name.value)),
                    "keep one of the two",
                );
            }
        }
    }
    for upstream in tables.upstreams.iter() {
        if let Some(name) = &upstream.config.credential {
            exists(file, upstream.credential_at, "credential", name, &tables.credential_names);
        }
    }
}

fn exists(file: &File<'_>, at: usize, kind: &str, name: &str, names: &Names<'_>) {
    if names.has(name) {
        return;
    }
    let shown = file.written.shown(at, name);
    let remedy = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if names.is_empty() && file.written.has(at) => format!("add a table [{kind}s.NAME]"),
        None if names.is_empty() => format!("add a table [{kind}s.{shown}]"),
        None => format!("the {kind}s in this file are {}", listed(names)),
    };
    file.problem(at, format!("there is no {kind} \"{shown}\""), remedy);
}

/// Sockets are opened with `SO_REUSEPORT`, so two listeners on one address would silently share its connections.
fn addresses(file: &File<'_>, tables: &Tables<'_>) {
    let listeners = tables.listeners.iter().filter_map(|listener| {
        listener.address.as_ref().map(|address| (format!("listeners.{}", listener.name), address.at, &address.value))
    });
    let admin = tables.admin.iter().map(|admin| ("admin".to_owned(), admin.at, &admin.value.address));
    let mut all: Vec<_> = listeners.chain(admin).collect();
    all.sort_by_key(|(_, at, _)| *at);
    for (index, (path, at, address)) in all.iter().enumerate() {
        if let Some((other, ..)) = all.iter().take(index).find(|(.., earlier)| same_address(earlier, address)) {
            let what = format!("is that of `{other}` too");
            let key = format!("{path}.address");
            file.wrong(*at, (ProblemKind::Other, &key), what, "choose another port for one of them");
        }
    }
}

fn same_address(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        // Port 0 is a free port, another one each time.
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            one.port() != 0 && one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
        }
        _ => one == other,
    }
}

/// A token in clear is only safe where it never leaves this machine: by its origin's name **and** where it is dialled.
fn plaintext(file: &File<'_>, upstreams: &[Upstream]) {
    for upstream in upstreams {
        let (connection, route) = (&upstream.config.connection, &upstream.config.route);
        let dialled_here = connection.connect.as_ref().is_none_or(|connect| connect.host.is_loopback())
            && !matches!(upstream.via.as_ref().map(|via| &via.value), Some(Via::Proxy(_)));
        let origin = connection.origin.base();
        let Some(credential) = &upstream.config.credential else { continue };
        if origin.scheme == Scheme::Http && !route.allow_plaintext && !(origin.is_loopback() && dialled_here) {
            let shown = file.written.shown(upstream.credential_at, credential);
            let what = format!("is plain http, which would show the token of \"{shown}\" to the network");
            let remedy = "write https://…, or add allow_plaintext = true if that network is trusted";
            let key = format!("upstreams.{}.origin", connection.name);
            file.wrong(upstream.origin_at, (ProblemKind::Plaintext, &key), what, remedy);
        }
    }
}

/// `via = "forward"` means what `[forward]` says, so it has to say something.
fn parent_proxies(file: &File<'_>, tables: &Tables<'_>) {
    for upstream in tables.upstreams.iter() {
        if let (Some(Spanned { at, value: Via::AsForward }), None) = (&upstream.via, &tables.forward.via) {
            let what = format!("`upstreams.{}.via` is \"forward\", and [forward] has no `via`", upstream.name());
            file.problem(*at, what, "add via = \"http://HOST:PORT\" to [forward], or write the proxy here");
        }
    }
}

/// A token response is what only a credential that asks for tokens has.
fn origins_from_tokens(file: &File<'_>, tables: &Tables<'_>) {
    for upstream in tables.upstreams.iter().filter(|upstream| upstream.config.route.origin_from.is_some()) {
        let name = upstream.config.credential.as_deref().unwrap_or_default();
        let credential = tables.credentials.named(name);
        let oauth = credential.and_then(|credential| credential.value.oauth());
        let known = upstream.config.credential.is_none() || credential.is_some();
        if known && oauth.is_none_or(|oauth| oauth.grant.is_of_callers()) {
            let what = format!(
                "`upstreams.{}.origin_from` needs a credential whose token response says where to go",
                upstream.name()
            );
            file.problem(
                upstream.credential_at,
                what,
                "name a credential that asks for tokens of its own, or remove origin_from",
            );
        }
    }
}

/// Where the caller's own token is what is exchanged, nothing else can become of it.
fn exchanges(file: &File<'_>, tables: &Tables<'_>) {
    for upstream in tables.upstreams.iter() {
        let Some(name) = &upstream.config.credential else { continue };
        let credential = tables.credentials.named(name);
        let grant = credential.and_then(|credential| credential.value.oauth()).map(|oauth| &oauth.grant);
        if grant.is_some_and(Grant::is_of_callers)
            && upstream.config.route.caller_authorization != CallerAuthorization::Replace
        {
            let shown = file.written.shown(upstream.credential_at, name);
            file.problem(
                upstream.credential_at,
                format!("credential \"{shown}\" is made of the caller's own Authorization, which `caller_authorization` gives another use"),
                "remove caller_authorization",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{CREDENTIAL, forward, problems, reverse, upstream};

    #[test]
    fn names_that_lead_nowhere_are_answered_with_the_nearest() {
        let orders = upstream("orders", "https://a.test", "");
        let found = problems(&reverse("[\"ordrs\"]", &orders));
        assert_eq!(found, ["proxy.toml:4:14: there is no upstream \"ordrs\"; did you mean \"orders\"?"]);
        let found = problems(&reverse("[\"billing\"]", &orders));
        assert_eq!(
            found,
            ["proxy.toml:4:14: there is no upstream \"billing\"; the upstreams in this file are `orders`"]
        );
        let found = problems(&forward(&upstream("orders", "https://a.test", "credential = \"key\"\n")));
        assert_eq!(found, ["proxy.toml:6:14: there is no credential \"key\"; add a table [credentials.key]"]);
        let found = problems(&reverse("[\"orders\", \"orders\"]", &orders));
        assert_eq!(found, ["proxy.toml:4:24: the upstream \"orders\" is listed twice; keep one of the two"]);
    }

    #[test]
    fn a_name_of_a_broken_table_is_no_second_problem() {
        let found = problems(&reverse("[\"orders\"]", "[upstreams.orders]\norigin = \"orders\"\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("proxy.toml:6:10: `upstreams.orders.origin` is not valid: "), "{found:#?}");
    }

    #[test]
    fn an_address_belongs_to_one_listener() {
        let two = |one: &str, other: &str| {
            problems(&format!(
                "[listeners.a]\naddress = \"{one}\"\nmode = \"forward\"\n[admin]\naddress = \"{other}\"\n"
            ))
        };
        assert_eq!(
            two("127.0.0.1:8080", "localhost:8080"),
            ["proxy.toml:5:11: `admin.address` is that of `listeners.a` too; choose another port for one of them"]
        );
        assert_eq!(two("unix:/a", "unix:/a").len(), 1);
        assert_eq!(two("127.0.0.1:0", "127.0.0.1:0"), [""; 0]);
        assert_eq!(two("127.0.0.1:1", "127.0.0.1:2"), [""; 0]);
    }

    #[test]
    fn a_token_does_not_go_out_in_clear() {
        let to = |origin: &str, rest: &str| {
            let rest = format!("credential = \"key\"\n{rest}");
            problems(&forward(&format!("{}{CREDENTIAL}", upstream("a", origin, &rest))))
        };
        assert_eq!(
            to("http://a.test", ""),
            [
                "proxy.toml:5:10: `upstreams.a.origin` is plain http, which would show the token of \"key\" to the network; \
              write https://…, or add allow_plaintext = true if that network is trusted"
            ]
        );
        assert_eq!(to("http://localhost:1", "connect = \"192.0.2.1:80\"\n").len(), 1);
        assert_eq!(to("http://a.test", "allow_plaintext = true\n"), [""; 0]);
        assert_eq!(to("http://localhost:1", ""), [""; 0]);
        assert_eq!(to("http://[::1]:1", "connect = \"[::1]:2\"\n"), [""; 0]);
        assert_eq!(problems(&forward(&upstream("a", "http://a.test", ""))), [""; 0]);
    }

    #[test]
    fn a_forward_listener_tells_upstreams_apart_by_their_origin() {
        let both = upstream("a", "https://a.test", "") + &upstream("b", "https://A.test:443", "");
        let found = problems(&forward(&both));
        assert_eq!(
            found,
            [
                "proxy.toml:1:1: `listeners.proxy` cannot tell its upstreams \"a\" and \"b\" apart: their origin is the same; \
              give each `paths` or `callers` of its own, or list `upstreams` on the listener, with one of the two"
            ]
        );
        assert_eq!(problems(&forward(&format!("upstreams = [\"a\"]\n{both}"))), [""; 0]);
        let wildcard = upstream("a", "https://*.a.test", "") + &upstream("b", "https://b.a.test", "");
        assert_eq!(problems(&forward(&wildcard)), [""; 0]);
    }

    #[test]
    fn a_reverse_listener_tells_upstreams_apart_by_prefix_and_then_by_host() {
        let both = |a: &str, b: &str| {
            problems(&reverse(
                "[\"a\", \"b\"]",
                &(upstream("a", "https://x.test", a) + &upstream("b", "https://x.test:8443", b)),
            ))
        };
        let found = both("", "");
        assert!(
            found[0].starts_with("proxy.toml:4:19: `listeners.base` cannot tell its upstreams \"a\" and \"b\" apart: "),
            "{found:#?}"
        );
        assert!(
            found[0]
                .ends_with("give each `paths` or `callers` of its own, or a `path_prefix`, or a listener of its own")
        );
        assert_eq!(both("path_prefix = \"/a\"\n", "path_prefix = \"/a/\"\n").len(), 1);
        assert_eq!(both("path_prefix = \"/a\"\n", "path_prefix = \"/b\"\n"), [""; 0]);
        assert_eq!(both("path_prefix = \"/a\"\n", ""), [""; 0]);
        let by_host = upstream("a", "https://a.test", "") + &upstream("b", "https://b.test", "");
        assert_eq!(problems(&reverse("[\"a\", \"b\"]", &by_host)), [""; 0]);
        assert_eq!(problems(&reverse("\"a\"", &upstream("a", "https://*.a.test", ""))), [""; 0]);
    }

    #[test]
    fn what_is_exchanged_cannot_be_kept_or_refused_as_well() {
        let exchange = CREDENTIAL.replace("client_id", "grant = \"token_exchange\"\nclient_id");
        for word in ["keep", "reject"] {
            let rest = format!("credential = \"key\"\ncaller_authorization = \"{word}\"\n");
            let found = problems(&forward(&(upstream("a", "https://a.test", &rest) + &exchange)));
            assert!(found.len() == 1 && found[0].contains("made of the caller's own Authorization"), "{found:#?}");
        }
    }
}
