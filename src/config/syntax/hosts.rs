//! Hosts as people write them: an IPv6 address without its brackets, a name in letters of its own script.

use std::fmt::Display;
use std::net::Ipv6Addr;

use crate::config::syntax::value::Value;

/// What `parse` makes of a text with a host in it. Its error must not repeat the text, which may hold a password.
pub(crate) fn with_host<'a, T, E: Display>(
    value: &Value<'a>,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
    remedy: &str,
) -> Option<T> {
    match parse(value.text()?) {
        Ok(found) => Some(found),
        Err(_) if nearly_right(value) => None,
        Err(error) => value.wrong(format_args!("is not valid: {error}"), remedy),
    }
}

/// Reports a host that is nearly right with what is right; false if it is something else. A URL with a user name or password is
/// not repeated.
pub(crate) fn nearly_right(value: &Value<'_>) -> bool {
    let Some(text) = value.node.as_str().filter(|text| !text.contains('@')) else { return false };
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let before = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |end| rest.split_at(end));
    if let Some(bracketed) = bracketed(authority) {
        let what = "has an IPv6 address without brackets";
        let right =
            if value.file.written.has(value.at) { "[ADDRESS]:PORT" } else { &format!("{before}{bracketed}{path}") };
        value.wrong::<()>(what, format!("write \"{right}\""));
        return true;
    }
    if let Some(ascii) = ascii(authority) {
        let what = "has a host name in letters beyond ASCII";
        let right = if value.file.written.has(value.at) { "xn--…" } else { &format!("{before}{ascii}{path}") };
        value.wrong::<()>(what, format!("write it as DNS has it: \"{right}\""));
        return true;
    }
    false
}

/// An IPv6 address as it has to stand before a port, with the port if there seems to be one.
fn bracketed(authority: &str) -> Option<String> {
    if authority.contains('[') {
        return None;
    }
    let is_port =
        |text: &str| text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    let apart = authority.rsplit_once(':').filter(|(_, port)| is_port(port));
    match apart.and_then(|(host, port)| Some((host.parse::<Ipv6Addr>().ok()?, port))) {
        Some((address, port)) => Some(format!("[{address}]:{port}")),
        None => authority.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]")),
    }
}

/// The name as DNS has it (RFC 5891), port and wildcard kept.
fn ascii(authority: &str) -> Option<String> {
    if authority.is_ascii() {
        return None;
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let (wildcard, name) = host.strip_prefix("*.").map_or(("", host), |name| ("*.", name));
    let Ok(url::Host::Domain(domain)) = url::Host::parse(name) else { return None };
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{wildcard}{domain}{port}"))
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{CREDENTIAL, forward, problems, upstream};

    fn first(text: &str) -> String {
        problems(text).remove(0)
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_shown_with_them() {
        for (written, right) in [
            ("https://::1:8443", "https://[::1]:8443"),
            ("https://fe80::1", "https://[fe80::1]"),
            ("https://2001:db8::10:443", "https://[2001:db8::10]:443"),
        ] {
            let found = first(&forward(&upstream("a", written, "")));
            assert!(
                found.ends_with(&format!(
                    "`upstreams.a.origin` has an IPv6 address without brackets; write \"{right}\""
                )),
                "{found}"
            );
        }
        let found = first("[listeners.a]\naddress = \"::1:8080\"\nmode = \"forward\"\n");
        assert!(found.ends_with("has an IPv6 address without brackets; write \"[::1]:8080\""), "{found}");
        let found = first(&forward(&upstream("a", "https://a.test", "connect = \"fe80::1:8443\"\n")));
        assert!(found.ends_with("write \"[fe80::1]:8443\""), "{found}");
        let endpoint = CREDENTIAL.replace("https://login.test/token", "https://::1:8443/token");
        let found = first(&forward(&endpoint));
        assert!(found.ends_with("write \"https://[::1]:8443/token\""), "{found}");
    }

    #[test]
    fn a_name_in_letters_of_its_own_is_shown_as_dns_has_it() {
        for (written, right) in [
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://*.Bücher.example:8443", "https://*.xn--bcher-kva.example:8443"),
        ] {
            let found = first(&forward(&upstream("a", written, "")));
            assert!(
                found.ends_with(&format!(
                    "has a host name in letters beyond ASCII; write it as DNS has it: \"{right}\""
                )),
                "{found}"
            );
        }
        let found = first(&forward(&upstream("a", "https://me:sentinel@bücher.example", "")));
        assert!(!found.contains("sentinel"), "{found}");
    }
}
