//! Java reads no proxy from the environment, but every virtual machine reads options from `JAVA_TOOL_OPTIONS` (and says on
//! stderr that it did).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::setup::Setup;

/// The options of an environment with attache's behind them; of two of the same name the last one counts.
pub(super) fn options(setup: &Setup<'_>, direct: &[String], before: Option<&str>) -> String {
    let mut options = before.unwrap_or_default().trim().to_owned();
    let mut add = |name: &str, value: &str| {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str(&quoted(&format!("-D{name}={value}")));
    };
    if let Some(proxy) = &setup.proxy {
        for scheme in ["http", "https"] {
            add(&format!("{scheme}.proxyHost"), &proxy.address.ip().to_string());
            add(&format!("{scheme}.proxyPort"), &proxy.address.port().to_string());
        }
        // For both schemes. With any entry in it Java adds this machine, which is where an upstream may be: then nothing may
        // be in it.
        let local = setup.upstreams.iter().any(|upstream| upstream.base().is_loopback());
        let patterns: Vec<String> = direct.iter().flat_map(|entry| patterns(entry)).collect();
        add("http.nonProxyHosts", &if local { String::new() } else { patterns.join("|") });
    }
    if let Some(store) = setup.trust.and_then(|trust| trust.java.as_ref()) {
        add("javax.net.ssl.trustStore", &store.path);
        add("javax.net.ssl.trustStoreType", store.kind);
        add("javax.net.ssl.trustStorePassword", &store.password);
    }
    options
}

/// An entry of `NO_PROXY` as Java writes it: `*` at one end, `|` between. What cannot be written so is left out: those
/// hosts are reached through the proxy.
fn patterns(entry: &str) -> Vec<String> {
    let suffix = entry.strip_prefix('*').unwrap_or(entry);
    if let Some(domain) = suffix.strip_prefix('.') {
        return plain(domain).map(|domain| vec![format!("*.{domain}")]).unwrap_or_default();
    }
    if entry == "*" {
        return vec![entry.to_owned()];
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let octets = network.parse::<Ipv4Addr>().map(|address| address.octets());
        return match (octets, bits) {
            (Ok([one, ..]), "8") => vec![format!("{one}.*")],
            (Ok([one, two, ..]), "16") => vec![format!("{one}.{two}.*")],
            (Ok([one, two, three, _]), "24") => vec![format!("{one}.{two}.{three}.*")],
            _ => Vec::new(),
        };
    }
    if entry.parse::<Ipv6Addr>().is_ok() {
        return vec![format!("[{entry}]")];
    }
    match plain(entry) {
        // What is below a host is meant too.
        Some(host) if host.parse::<Ipv4Addr>().is_err() => vec![host.to_owned(), format!("*.{host}")],
        Some(address) => vec![address.to_owned()],
        None => Vec::new(),
    }
}

/// A name or an IPv4 address without anything that means something to Java, and without a port.
fn plain(name: &str) -> Option<&str> {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!name.is_empty() && name.bytes().all(usual)).then_some(name)
}

/// Options end at white space, unless it stands between quotes; what is in one kind of quotes may hold the other.
fn quoted(option: &str) -> String {
    let whole = |text: &str, quote: char| format!("{quote}{text}{quote}");
    if !option.contains(|c: char| c.is_whitespace() || c == '\'' || c == '"') {
        return option.to_owned();
    }
    // Piece by piece: between double quotes, save the double quotes themselves.
    option.split_inclusive('"').fold(String::new(), |mut text, piece| {
        let (piece, quote) = piece.strip_suffix('"').map_or((piece, ""), |piece| (piece, "'\"'"));
        if !piece.is_empty() {
            text.push_str(&whole(piece, '"'));
        }
        text.push_str(quote);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_patterns_of_java() {
        for (entry, expected) in [
            ("*", &["*"][..]),
            (".corp.test", &["*.corp.test"]),
            ("*.corp.test", &["*.corp.test"]),
            ("corp.test", &["corp.test", "*.corp.test"]),
            ("10.0.0.0/8", &["10.*"]),
            ("172.16.0.0/16", &["172.16.*"]),
            ("192.0.2.0/24", &["192.0.2.*"]),
            ("172.16.0.0/12", &[]),
            ("fd00::/8", &[]),
            ("127.0.0.1", &["127.0.0.1"]),
            ("::1", &["[::1]"]),
            ("corp.test:8080", &[]),
            ("a|b", &[]),
        ] {
            assert_eq!(patterns(entry), expected, "{entry}");
        }
    }

    #[test]
    fn options_with_spaces_and_quotes_stay_one_option() {
        assert_eq!(quoted("-Da=b"), "-Da=b");
        assert_eq!(quoted("-Da=b c"), "\"-Da=b c\"");
        assert_eq!(quoted("-Da=it's"), "\"-Da=it's\"");
        assert_eq!(quoted("-Da=b\"c d"), "\"-Da=b\"'\"'\"c d\"");
    }
}
