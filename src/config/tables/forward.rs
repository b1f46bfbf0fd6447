//! `[forward]`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::Value;
use crate::config::tables::parent_proxy;
use crate::proxy::{ForwardSaid, ForwardSettings, PrivateAddresses, Unmatched};
use crate::route::TunnelPorts;

/// Reads `[forward]`.
pub(crate) fn forward(mut table: TableReader<'_>) -> (ForwardSettings, ForwardSaid) {
    let (mut forward, mut said) = (ForwardSettings::default(), ForwardSaid::default());
    let unmatched = [("deny", Unmatched::Deny), ("pass", Unmatched::Pass), ("report", Unmatched::Report)];
    let value = table.get("unmatched").inspect(|_| said.unmatched = true);
    set(&mut forward.unmatched, value.and_then(|value| value.choice(&unmatched, &[])));
    let value = table.get("private_addresses").inspect(|_| said.private_addresses = true);
    set(&mut forward.private_addresses, value.and_then(|value| private_addresses(&value)));
    let value = table.get("connect_ports").inspect(|_| said.connect_ports = true);
    set(&mut forward.connect_ports, value.and_then(|value| connect_ports(&value)));
    (forward.via, said.via) = parent_proxy::forward_via(&mut table);
    table.finish();
    (forward, said)
}

fn connect_ports(value: &Value<'_>) -> Option<TunnelPorts> {
    if let Node::String(_) = value.node {
        return value.choice(&[("any", ())], &[]).map(|()| TunnelPorts::Any);
    }
    let port = |entry: &Value<'_>| entry.integer(1..=65535).and_then(|port| u16::try_from(port).ok());
    Some(TunnelPorts::Listed(value.list()?.iter().filter_map(port).collect()))
}

fn private_addresses(value: &Value<'_>) -> Option<PrivateAddresses> {
    if let Node::String(_) = value.node {
        let all = value.choice(&[("deny", false), ("allow", true)], &[])?;
        return Some(if all { PrivateAddresses::Allow } else { PrivateAddresses::Deny });
    }
    Some(PrivateAddresses::Networks(value.list()?.iter().filter_map(network).collect()))
}

/// A network, or an address that stands for itself.
fn network(value: &Value<'_>) -> Option<IpNet> {
    let text = value.text()?;
    match text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_neither| error)) {
        Ok(network) => Some(network.trunc()),
        Err(_) => value
            .wrong("has an entry that is no network", "write an address and a prefix length, such as \"10.0.0.0/8\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    #[test]
    fn a_table_left_out_has_its_defaults() {
        assert_eq!(config(LISTENER).forward, ForwardSettings::default());
    }

    #[test]
    fn connect_ports_are_a_word_or_numbers() {
        let forward = |value: &str| config(&format!("{LISTENER}[forward]\nconnect_ports = {value}\n")).forward;
        assert_eq!(forward("\"any\"").connect_ports, TunnelPorts::Any);
        assert_eq!(forward("[8443, 22]").connect_ports, TunnelPorts::Listed([22, 8443].into()));
        let found = problems(&format!("{LISTENER}[forward]\nconnect_ports = [0, 65536, \"443\", 8443]\n"));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].contains("`forward.connect_ports` is out of range; write a whole number from 1 to 65535"));
    }

    #[test]
    fn private_addresses_are_a_word_or_networks() {
        let forward = |value: &str| config(&format!("{LISTENER}[forward]\nprivate_addresses = {value}\n")).forward;
        assert_eq!(forward("\"allow\"").private_addresses, PrivateAddresses::Allow);
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        assert_eq!(forward("[\"10.1.2.3/8\", \"::1\"]").private_addresses, PrivateAddresses::Networks(networks));
        let found =
            problems(&format!("{LISTENER}[forward]\nprivate_addresses = [\"10.0.0.0/99\"]\nunmatched = \"alow\"\n"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("proxy.toml:5:22: `forward.private_addresses` has an entry that is no network; "));
    }
}
