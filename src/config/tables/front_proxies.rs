//! `proxy_protocol` and `trusted_proxies` of `[listeners.X]`: proxies in front of a listener, and what they may say.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::{Spanned, Value};
use crate::listen::{ForwardedField, ListenAddress, Networks, TrustedProxies};

/// The word for all who connect over a unix socket.
const UNIX: &str = "unix";

/// What to write for a list of networks.
const LIST: &str = "list the networks of the proxies in front, such as [\"10.0.0.0/8\"]";

/// Both, as they are written.
#[derive(Debug, Default)]
pub(crate) struct FrontProxies {
    pub(crate) proxy_protocol: Option<Networks>,
    pub(crate) trusted: Option<TrustedProxies>,
}

/// Reads both; `http`: what is spoken there has fields.
pub(crate) fn front_proxies(
    table: &mut TableReader<'_>,
    address: Option<&Spanned<ListenAddress>>,
    http: bool,
) -> FrontProxies {
    let is_unix = address.map(|address| matches!(address.value, ListenAddress::Unix(_)));
    let proxy_protocol = table.get("proxy_protocol").and_then(|value| proxy_protocol(&value, is_unix));
    let trusted = table.get("trusted_proxies").and_then(|value| {
        if !http {
            let remedy = "remove it; where callers of SOCKS are, `proxy_protocol` tells";
            return value.wrong("has no meaning on a socks5 listener", remedy);
        }
        let (networks, field) = match value.node {
            Node::Table(_) => from_table(TableReader::from_value(&value)?)?,
            _ => (networks(&value)?, None),
        };
        // A header that says where they are makes addresses of those who come over a unix socket.
        let needs_unix = is_unix == Some(true) && proxy_protocol.is_none();
        check_unix(&value, &networks, is_unix, needs_unix)?;
        Some(TrustedProxies { networks, field })
    });
    FrontProxies { proxy_protocol, trusted }
}

fn proxy_protocol(value: &Value<'_>, is_unix: Option<bool>) -> Option<Networks> {
    match value.node {
        Node::Boolean(false) => None,
        Node::Boolean(true) => value.wrong("= true would let every program say that it is at another address", LIST),
        _ => {
            let networks = networks(value)?;
            check_unix(value, &networks, is_unix, is_unix == Some(true))?;
            if is_unix == Some(true) && !networks.networks.is_empty() {
                return value.wrong("has networks, and the address is a unix socket", "write [\"unix\"]");
            }
            Some(networks)
        }
    }
}

fn from_table(mut table: TableReader<'_>) -> Option<(Networks, Option<ForwardedField>)> {
    let written = table.required("networks", LIST);
    let fields = [("Forwarded", ForwardedField::Forwarded), ("X-Forwarded-For", ForwardedField::XForwardedFor)];
    let field = table.get("field").map(|value| value.choice(&fields, &[]));
    table.finish();
    // A field that cannot be read is not one that is left out.
    Some((networks(&written?)?, field.map_or(Some(None), |field| field.map(Some))?))
}

/// `"unix"` and a unix socket belong together.
fn check_unix(value: &Value<'_>, networks: &Networks, is_unix: Option<bool>, needs_unix: bool) -> Option<()> {
    if networks.unix && is_unix == Some(false) {
        return value.wrong("has \"unix\", and the address is no unix socket", "remove it, and list networks");
    }
    if needs_unix && !networks.unix {
        return value.wrong("holds nothing that connects to a unix socket", "write [\"unix\"]");
    }
    Some(())
}

fn networks(value: &Value<'_>) -> Option<Networks> {
    if !matches!(value.node, Node::Array(_)) {
        return value.wrong_type("a list of networks", LIST);
    }
    let mut networks = Networks::default();
    for entry in value.list()? {
        if entry.text() == Some(UNIX) {
            networks.unix = true;
        } else {
            networks.networks.push(network(&entry)?);
        }
    }
    Some(networks)
}

/// A network, or an address that stands for itself.
fn network(value: &Value<'_>) -> Option<IpNet> {
    let text = value.text()?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(network) = parsed else {
        let remedy = "write an address and a prefix length, such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
        return value.wrong("has an entry that is no network", remedy);
    };
    let whole = network.trunc();
    if whole != network {
        let remedy = format!("write \"{whole}\" for the network, or \"{}\" for the one address", network.addr());
        return value.wrong("has an address with a prefix length that cuts it off", remedy);
    }
    if let IpAddr::V6(ip) = network.addr()
        && ip.to_ipv4_mapped().is_some()
    {
        return value.wrong("has an IPv4 network in the form of IPv6", "write it as IPv4, such as \"10.0.0.0/8\"");
    }
    if network.prefix_len() == 0 {
        let what = format!("`{}` has {network}: every program may say that it is at another address", value.path);
        value.file.warning(value.at, what, "list the networks of the proxies in front");
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

    fn listener(rest: &str) -> String {
        format!("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{rest}\n")
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_are_listed_and_false_is_none() {
        let read = |rest: &str| config(&listener(rest)).listeners.remove(0);
        assert_eq!(read("").proxy_protocol, None);
        assert_eq!(read("proxy_protocol = false").proxy_protocol, None);
        let networks = Networks { unix: false, networks: nets(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]) };
        let listed = "[\"10.0.0.0/8\", \"192.0.2.1\", \"2001:db8::/32\"]";
        assert_eq!(read(&format!("proxy_protocol = {listed}")).proxy_protocol, Some(networks.clone()));
        let trusted = |field| Some(TrustedProxies { networks: networks.clone(), field });
        assert_eq!(read(&format!("trusted_proxies = {listed}")).trusted_proxies, trusted(None));
        for (written, field) in
            [("Forwarded", ForwardedField::Forwarded), ("X-Forwarded-For", ForwardedField::XForwardedFor)]
        {
            let read = read(&format!("trusted_proxies = {{ networks = {listed}, field = \"{written}\" }}"));
            assert_eq!(read.trusted_proxies, trusted(Some(field)));
        }
    }

    #[test]
    fn a_unix_socket_has_its_word() {
        let socket = |rest: &str| listener(rest).replace("127.0.0.1:0", "unix:/run/a.sock");
        let read = config(&socket("proxy_protocol = [\"unix\"]")).listeners.remove(0);
        assert_eq!(read.proxy_protocol, Some(Networks { unix: true, networks: Vec::new() }));
        let both = "proxy_protocol = [\"unix\"]\ntrusted_proxies = [\"10.0.0.0/8\"]";
        assert_eq!(problems(&socket(both)), [""; 0], "a header tells addresses");
        for (wrong, told) in [
            (
                socket("proxy_protocol = [\"10.0.0.0/8\"]"),
                "holds nothing that connects to a unix socket; write [\"unix\"]",
            ),
            (socket("proxy_protocol = [\"unix\", \"10.0.0.0/8\"]"), "has networks, and the address is a unix socket"),
            (socket("trusted_proxies = [\"10.0.0.0/8\"]"), "holds nothing that connects to a unix socket"),
            (listener("proxy_protocol = [\"unix\"]"), "has \"unix\", and the address is no unix socket; remove it"),
        ] {
            let found = problems(&wrong);
            assert!(found.len() == 1 && found[0].contains(told), "{found:#?}");
        }
    }

    #[test]
    fn what_is_no_network_is_told_with_what_to_write() {
        for (wrong, told) in [
            (
                "proxy_protocol = true",
                "proxy.toml:4:18: `listeners.proxy.proxy_protocol` = true would let every program say that it is at another \
                 address; list the networks of the proxies in front, such as [\"10.0.0.0/8\"]",
            ),
            (
                "proxy_protocol = [\"10.1.2.3/8\"]",
                "proxy.toml:4:19: `listeners.proxy.proxy_protocol` has an address with a prefix length that cuts it off; \
                 write \"10.0.0.0/8\" for the network, or \"10.1.2.3\" for the one address",
            ),
            ("proxy_protocol = \"10.0.0.0/8\"", "is a string, not a list of networks; list the networks"),
            ("proxy_protocol = [\"10.0.0.0/33\"]", "has an entry that is no network; write an address and a prefix"),
            ("proxy_protocol = [\"balancer.test\"]", "has an entry that is no network"),
            ("proxy_protocol = [\"::ffff:10.0.0.0/104\"]", "has an IPv4 network in the form of IPv6"),
            ("proxy_protocol = []", "is an empty list"),
            ("trusted_proxies = true", "`listeners.proxy.trusted_proxies` is a boolean, not a list of networks"),
            ("trusted_proxies = { field = \"Forwarded\" }", "`listeners.proxy.trusted_proxies.networks` is missing"),
            (
                "trusted_proxies = { networks = [\"10.0.0.0/8\"], field = \"X-Forwarded-Fo\" }",
                "did you mean \"X-Forwarded-For\"?",
            ),
        ] {
            let found = problems(&listener(wrong));
            assert!(found.len() == 1 && found[0].contains(told), "{wrong}: {found:#?}");
        }
        let socks = listener("trusted_proxies = [\"10.0.0.0/8\"]").replace("forward", "socks5");
        let found = problems(&socks);
        assert!(found.len() == 1 && found[0].contains("has no meaning on a socks5 listener"), "{found:#?}");
    }

    #[test]
    fn that_everybody_may_claim_any_address_is_warned_of() {
        let told = "every program may say that it is at another address";
        let warnings = |rest: &str| {
            let warnings = config(&listener(rest)).warnings;
            warnings.iter().filter(|warning| warning.to_string().contains(told)).count()
        };
        for rest in ["proxy_protocol = [\"0.0.0.0/0\"]", "trusted_proxies = [\"10.0.0.0/8\", \"::/0\"]"] {
            assert_eq!(warnings(rest), 1, "{rest}");
        }
        assert_eq!(warnings("proxy_protocol = [\"10.0.0.0/8\"]"), 0);
    }
}
