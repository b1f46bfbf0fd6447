//! `[listeners.X]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::hosts::{nearly_right, with_host};
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::{Spanned, Value};
use crate::config::tables::client_identity::pair;
use crate::config::tables::front_proxies::{FrontProxies, front_proxies};
use crate::dial::Host;
use crate::listen::ListenAddress;
use crate::proxy::AcceptedHosts;
use crate::tls::server::ListenerTls;

/// `[listeners.X]` as it is written; the names in it are looked up later.
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) at: usize,
    pub(crate) address: Option<Spanned<ListenAddress>>,
    pub(crate) mode: Option<Mode>,
    /// `None` where the file names none.
    pub(crate) upstreams: Option<Vec<Spanned<String>>>,
    pub(crate) hosts: AcceptedHosts,
    /// `None` where the file names none.
    pub(crate) callers: Option<Vec<Spanned<String>>>,
    /// Users who may connect to a unix socket.
    pub(crate) users: Option<Vec<u32>>,
    pub(crate) socket_mode: Option<u32>,
    pub(crate) tls: Option<ListenerTls>,
    pub(crate) front: FrontProxies,
    pub(crate) title_case: bool,
}

/// `mode`, before what goes with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    Reverse,
    Socks5,
    Token,
}

const MODES: [(&str, Mode); 4] =
    [("forward", Mode::Forward), ("reverse", Mode::Reverse), ("socks5", Mode::Socks5), ("token", Mode::Token)];

/// Reads `[listeners.NAME]`.
pub(crate) fn listener(name: &str, mut table: TableReader<'_>) -> Listener {
    let address = address(&mut table);
    let mode = table
        .required("mode", "write \"forward\" for callers with HTTP_PROXY, \"reverse\" for callers with a base URL")
        .and_then(|mode| mode.choice(&MODES, &[]));

    let upstreams_at = ["upstream", "upstreams"].into_iter().find(|key| table.has(key));
    let upstreams = upstreams(&mut table);
    if let (Some(Mode::Token), Some(key)) = (mode, upstreams_at) {
        let what = format!("`{}.{key}` has no meaning on a token listener", table.path);
        table.file.problem(table.at, what, "remove it");
    }
    let upstreams = upstreams.filter(|_| mode != Some(Mode::Token));
    if mode == Some(Mode::Reverse) && !table.has("upstream") && !table.has("upstreams") {
        table.missing("upstream", "name the upstream that this listener stands for: upstream = \"NAME\"");
    }

    let local = address.as_ref().is_none_or(|address| address.value.is_local());
    let mut hosts = if local { AcceptedHosts::LocalAndUpstream } else { AcceptedHosts::Any };
    if let Some(value) = table.get("hosts") {
        if mode == Some(Mode::Forward) {
            value.wrong::<()>("has no meaning on a forward listener", "remove it");
        } else if mode == Some(Mode::Socks5) {
            value.wrong::<()>("has no meaning on a socks5 listener", "remove it");
        } else if mode == Some(Mode::Token) {
            value.wrong::<()>("has no meaning on a token listener", "remove it");
        } else if let Some(given) = accepted_hosts(&value) {
            hosts = given;
        }
    }

    let named = |value: Value<'_>| value.text().map(|text| Spanned { at: value.at, value: text.to_owned() });
    let written = table.get("callers").map(|value| value.one_or_list().unwrap_or_default());
    let callers: Option<Vec<Spanned<String>>> = written.map(|names| names.into_iter().filter_map(named).collect());
    let tls = table.table("tls").and_then(tls);
    let (users, socket_mode) = unix_socket(&mut table, address.as_ref());
    let front = front_proxies(&mut table, address.as_ref(), mode != Some(Mode::Socks5));
    // A value of the wrong type is a problem already, and says nothing about the address.
    let open = table.get("open").map_or(Some(false), |open| open.boolean());
    // Its callers prove themselves.
    let proven = callers.as_ref().is_some_and(|callers| !callers.is_empty())
        || tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if let Some(address) = address.as_ref()
        && !local
        && !proven
        && open == Some(false)
    {
        table.file.wrong(
            address.at,
            (ProblemKind::OpenToOthers, &format!("{}.address", table.path)),
            "is open to other machines, and all of them would get the tokens",
            "write 127.0.0.1 and the port, name its `callers`, or add open = true if every machine that reaches it may have them",
        );
    }
    if let Some(address) = address.as_ref()
        && !local
        && tls.is_none()
        && callers.is_some()
    {
        let what = format!("the passwords of `{}.callers` cross the network in clear", table.path);
        table.file.warning(address.at, what, "add tls = { certificate = \"cert.pem\", key = \"key.pem\" }");
    }

    let title_case = table.get("title_case").and_then(|value| value.boolean()).unwrap_or_default();
    let (name, at) = (name.to_owned(), table.at);
    table.finish();
    Listener { name, at, address, mode, upstreams, hosts, callers, users, socket_mode, tls, front, title_case }
}

/// Reads `tls`, and its files.
fn tls(mut table: TableReader<'_>) -> Option<ListenerTls> {
    let certificate = table.required("certificate", "name the PEM file with the listener's certificate");
    let key = table.get("key");
    let client_ca = table.get("client_ca").and_then(|value| value.certificates());
    table.finish();
    let identity = pair(&certificate?, key.as_ref())?;
    Some(ListenerTls { identity, client_ca })
}

/// Reads `users` and `socket_mode`, which are about unix sockets alone.
fn unix_socket(
    table: &mut TableReader<'_>,
    address: Option<&Spanned<ListenAddress>>,
) -> (Option<Vec<u32>>, Option<u32>) {
    let (users, mode) = (table.get("users"), table.get("socket_mode"));
    if let Some(value) = users.as_ref().or(mode.as_ref())
        && address.is_some_and(|address| matches!(address.value, ListenAddress::Tcp(_)))
    {
        value.wrong::<()>(
            "is about unix sockets, and the address is none",
            "remove it, or write \"unix:/path/to/socket\"",
        );
        return (None, None);
    }
    let user = |value: &Value<'_>| value.integer(0..=u32::MAX);
    let users = users.and_then(|value| value.list()).map(|list| list.iter().filter_map(user).collect());
    let octal = |value: Value<'_>| {
        let mode = value.text().and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
        mode.or_else(|| value.wrong("is no mode of a file", "write it as chmod takes it, such as \"0660\""))
    };
    (users, mode.and_then(octal))
}

/// Reads `address`.
pub(crate) fn address(table: &mut TableReader<'_>) -> Option<Spanned<ListenAddress>> {
    const REMEDY: &str = "write an IP address and a port, such as \"127.0.0.1:8080\", or \"unix:/path/to/socket\"";
    let value = table.required("address", REMEDY)?;
    let text = value.text()?;
    let at = value.at;
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return value.wrong("has a socket path that does not begin with \"/\"", "write \"unix:/path/to/socket\"");
        }
        return Some(Spanned { at, value: ListenAddress::Unix(PathBuf::from(path)) });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Spanned { at, value: ListenAddress::Tcp(address) });
    }
    if nearly_right(&value) {
        return None;
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => match port.parse() {
            // Not looked up: a name that resolves to two addresses would be two sockets.
            Ok(port) => Some(Spanned { at, value: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) }),
            Err(_) => value.wrong("has no port from 0 to 65535", "write a port, such as \"localhost:8080\""),
        },
        Some(("", port)) => value.wrong(
            "has no host",
            format!("write \"127.0.0.1:{port}\" for this machine, or \"0.0.0.0:{port}\" for every address it has"),
        ),
        Some((host, _)) if Host::parse(host).is_ok_and(|host| host.ip().is_none()) => {
            value.wrong("has a host name, which may have several addresses", REMEDY)
        }
        _ => value.wrong("is not an address", REMEDY),
    }
}

fn upstreams(table: &mut TableReader<'_>) -> Option<Vec<Spanned<String>>> {
    let (one, several) = (table.get("upstream"), table.get("upstreams"));
    if let (Some(_), Some(several)) = (&one, &several) {
        several.wrong::<()>("stands beside `upstream`", "keep `upstreams` alone, with all names in it");
    }
    let written = match (one, several) {
        (_, Some(several)) => several.one_or_list(),
        (Some(one), None) => Some(vec![one]),
        (None, None) => return None,
    };
    let named = |value: Value<'_>| value.text().map(|text| Spanned { at: value.at, value: text.to_owned() });
    // A list that cannot be read is an empty one here: it is a problem already, and no reason for a second.
    Some(written.unwrap_or_default().into_iter().filter_map(named).collect())
}

fn accepted_hosts(value: &Value<'_>) -> Option<AcceptedHosts> {
    if let Node::String(_) = value.node {
        return value.choice(&[("any", ())], &[]).map(|()| AcceptedHosts::Any);
    }
    let host = |entry: &Value<'_>| {
        with_host(entry, Host::parse, "write a host name or an IP address, without scheme, port or \"*\"")
            .map(|host| host.to_string())
    };
    Some(AcceptedHosts::Listed(value.list()?.iter().filter_map(host).collect()))
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};
    use crate::proxy::{AcceptedHosts, ListenerMode};

    fn forward(address: &str) -> String {
        format!("[listeners.proxy]\naddress = \"{address}\"\nmode = \"forward\"\n")
    }

    #[test]
    fn addresses_are_ip_addresses_localhost_or_sockets() {
        for (written, read) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("unix:/run/attache/proxy.sock", "unix:/run/attache/proxy.sock"),
        ] {
            assert_eq!(config(&forward(written)).listeners[0].address.to_string(), read);
        }
        for written in
            ["8080", ":8080", "127.0.0.1", "example.com:80", "::1:8080", "localhost:x", "unix:run/x", "127.0.0.1:99999"]
        {
            let found = problems(&forward(written));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].starts_with("proxy.toml:2:11: `listeners.proxy.address` "), "{found:#?}");
        }
    }

    #[test]
    fn a_listener_for_other_machines_has_to_say_so() {
        for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
            let found = problems(&forward(address));
            assert!(found[0].contains("open to other machines"), "{found:#?}");
            assert!(found[0].contains("add open = true"), "{found:#?}");
            assert_eq!(problems(&format!("{}open = true\n", forward(address))), [""; 0]);
            assert_eq!(problems(&format!("{}open = false\n", forward(address))).len(), 1);
        }
    }

    #[test]
    fn an_admin_listener_for_other_machines_needs_a_token() {
        let admin = |rest: &str| format!("{}[admin]\n{rest}", forward("127.0.0.1:0"));
        let found = problems(&admin("address = \"0.0.0.0:8079\"\n"));
        assert!(found[0].starts_with("proxy.toml:5:11: `admin.address` is open to other machines without a token; "));
        let read = config(&admin("address = \"0.0.0.0:8079\"\ntoken = { env = \"SECRET\" }\n"));
        assert!(read.admin.unwrap().token.is_some());
        assert!(config(&admin("address = \"127.0.0.1:8079\"\n")).admin.unwrap().token.is_none());
    }

    #[test]
    fn a_socks5_listener_knows_upstreams_as_a_forward_one_does() {
        let socks = forward("127.0.0.1:1080").replace("\"forward\"", "\"socks5\"");
        let upstream = "[upstreams.a]\norigin = \"https://a.test\"\n";
        let read = config(&format!("{socks}{upstream}"));
        assert_eq!(read.listeners[0].mode, ListenerMode::Socks5 { upstreams: vec!["a".into()] });
        assert_eq!(read.warnings, []);
        assert!(problems(&format!("{socks}hosts = \"any\"\n"))[0].contains("no meaning on a socks5 listener"));
        let elsewhere = problems(&socks.replace("127.0.0.1", "0.0.0.0"));
        assert!(elsewhere[0].contains("open to other machines"), "{elsewhere:#?}");
    }

    #[test]
    fn a_reverse_listener_names_its_upstreams_and_guards_its_hosts() {
        let reverse = |address: &str, rest: &str| {
            format!(
                "[listeners.a]\naddress = \"{address}\"\nmode = \"reverse\"\n{rest}\n[upstreams.a]\norigin = \"https://a.test\"\n"
            )
        };
        let found = problems(&reverse("127.0.0.1:0", ""));
        assert!(
            found[0].starts_with("proxy.toml:1:1: `listeners.a.upstream` is missing; name the upstream"),
            "{found:#?}"
        );
        let hosts = |address: &str, rest: &str| match config(&reverse(address, rest)).listeners.remove(0).mode {
            ListenerMode::Reverse { hosts, upstreams } if upstreams == ["a"] => hosts,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(hosts("127.0.0.1:0", "upstream = \"a\""), AcceptedHosts::LocalAndUpstream);
        assert_eq!(hosts("0.0.0.0:80", "upstreams = [\"a\"]\nopen = true"), AcceptedHosts::Any);
        assert_eq!(hosts("127.0.0.1:0", "upstream = \"a\"\nhosts = \"any\""), AcceptedHosts::Any);
        let listed = AcceptedHosts::Listed(vec!["gateway.test".into()]);
        assert_eq!(hosts("127.0.0.1:0", "upstream = \"a\"\nhosts = [\"Gateway.test\"]"), listed);
        let found = problems(&reverse(
            "127.0.0.1:0",
            "upstream = \"a\"\nupstreams = [\"a\"]\nhosts = [\"a.test:80\", \"b.test\"]",
        ));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("`listeners.a.upstreams` stands beside `upstream`"));
        assert!(found[1].starts_with("proxy.toml:6:10: `listeners.a.hosts` is not valid: "), "{found:#?}");
        assert!(
            problems(&format!("{}hosts = \"any\"\n", forward("127.0.0.1:0")))[0].contains("no meaning on a forward")
        );
    }
}
