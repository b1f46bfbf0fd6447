//! Where the caller of a request is, as proxies in front have written into it: `Forwarded` (RFC 7239) or `X-Forwarded-For`.
//!
//! Each proxy appends where the request came to it from. So the end of the list is the word of the nearest one, and what stands
//! further left counts only as far as those who wrote it are trusted: the rest is what anybody may write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::listen::{CallerAddress, ForwardedField, Networks, TrustedProxies};
use crate::proxy::error::ProxyError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from that has come from `peer`.
///
/// # Errors
/// A `Forwarded` that cannot be read, or two fields that do not agree: which one the proxy has written cannot be told.
pub(in crate::proxy) fn caller_address(
    proxies: &TrustedProxies,
    peer: CallerAddress,
    headers: &HeaderMap,
) -> Result<CallerAddress, ProxyError> {
    if !proxies.networks.hold(peer) {
        return Ok(peer);
    }
    let by_forwarded = || by_forwarded(&proxies.networks, peer, headers);
    let by_x_forwarded_for = || by_x_forwarded_for(&proxies.networks, peer, headers);
    match proxies.field {
        Some(ForwardedField::Forwarded) => by_forwarded(),
        Some(ForwardedField::XForwardedFor) => Ok(by_x_forwarded_for()),
        None if !headers.contains_key(FORWARDED) => Ok(by_x_forwarded_for()),
        None if !headers.contains_key(X_FORWARDED_FOR) => by_forwarded(),
        // A proxy that writes one of them passes the other one on as it came.
        None => match (by_forwarded()?, by_x_forwarded_for()) {
            (one, other) if one == other => Ok(one),
            _ => Err(ProxyError::bad_request(
                "Forwarded and X-Forwarded-For say that this request comes from two places; have the proxy in front take off the \
                 one that it does not write, or name its field: trusted_proxies = { networks = […], field = \"…\" }",
            )),
        },
    }
}

fn by_x_forwarded_for(networks: &Networks, peer: CallerAddress, headers: &HeaderMap) -> CallerAddress {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let members = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let members = members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    nearest_untrusted(networks, peer, members.map(node))
}

fn by_forwarded(networks: &Networks, peer: CallerAddress, headers: &HeaderMap) -> Result<CallerAddress, ProxyError> {
    let mut nodes = Vec::new();
    for line in headers.get_all(FORWARDED) {
        read_line(line, &mut nodes).ok_or_else(|| {
            ProxyError::bad_request(
                "the Forwarded field of this request is malformed (RFC 7239), and it has to say where the request comes from",
            )
        })?;
    }
    Ok(nearest_untrusted(networks, peer, nodes.into_iter().rev()))
}

/// Goes from the nearest proxy to where it says the request came from, and on for as long as that is a trusted proxy too.
fn nearest_untrusted(
    networks: &Networks,
    peer: CallerAddress,
    nodes: impl Iterator<Item = Option<IpAddr>>,
) -> CallerAddress {
    let mut at = peer;
    for node in nodes {
        // Not told: the proxy that keeps it to itself is the last one known.
        let Some(ip) = node else { break };
        at = CallerAddress::Ip(ip);
        if !networks.hold(at) {
            break;
        }
    }
    at
}

/// One line of `Forwarded`: what each element says of `for`. `None` if it is malformed; what stands behind a quote that is not
/// closed would be anybody's guess.
fn read_line(line: &HeaderValue, nodes: &mut Vec<Option<IpAddr>>) -> Option<()> {
    let mut rest = Rest(line.as_bytes());
    loop {
        let (mut node, mut any) = (None, false);
        loop {
            rest.skip_blanks();
            let name = rest.word();
            if !name.is_empty() {
                any = true;
                rest.take(b'=')?;
                let value = rest.value()?;
                if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
                    return None;
                }
            }
            rest.skip_blanks();
            if rest.take(b';').is_none() {
                break;
            }
        }
        if any {
            nodes.push(node.and_then(|value| self::node(&value)));
        }
        if rest.0.is_empty() {
            return Some(());
        }
        rest.take(b',')?;
    }
}

/// What has not been read of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// A name, or a value without quotes. More than a token of RFC 9110: an IPv6 address or a port often stands without quotes.
    fn word(&mut self) -> &'a [u8] {
        let ends = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b',' | b';' | b'=' | b'"' | b'\\');
        let (word, rest) = self.0.split_at(self.0.iter().position(ends).unwrap_or(self.0.len()));
        self.0 = rest;
        word
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        if self.take(b'"').is_none() {
            return Some(self.word().to_vec()).filter(|word| !word.is_empty());
        }
        let mut value = Vec::new();
        loop {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            match first {
                b'"' => return Some(value),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    value.push(*escaped);
                }
                other => value.push(*other),
            }
        }
    }
}

/// The address of a node (RFC 7239 section 6), with or without a port. `None` for `unknown`, for a name that stands for an address,
/// and for what is none.
fn node(written: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(written).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        let ip = ip.parse::<Ipv6Addr>().ok().filter(|_| port.is_empty() || port.starts_with(':'))?;
        return Some(IpAddr::V6(ip).to_canonical());
    }
    let (ip, _port) = text.split_once(':')?;
    ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1:5000";

    fn proxies(field: Option<ForwardedField>) -> TrustedProxies {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ff::/48".parse().unwrap()];
        TrustedProxies { networks: Networks { unix: false, networks }, field }
    }

    /// Where these fields say that a request comes from, which has come from there.
    fn from(peer: &str, field: Option<ForwardedField>, fields: &[(&str, &str)]) -> Result<String, ProxyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let peer = CallerAddress::Socket(peer.parse().unwrap());
        caller_address(&proxies(field), peer, &headers).map(|address| address.to_string())
    }

    fn told(fields: &[(&str, &str)]) -> String {
        from(PROXY, None, fields).unwrap_or_else(|error| error.sentence().to_owned())
    }

    #[test]
    fn the_last_address_that_is_not_a_proxys_is_the_callers() {
        for (list, address) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.0.0.2, 10.0.0.3", "192.0.2.7"),
            ("198.51.100.1, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
            ("10.9.9.9, 192.0.2.7", "192.0.2.7"),
            ("10.9.9.9, 10.0.0.2", "10.9.9.9"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711, 2001:db8:ff::1", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7 ,", "192.0.2.7"),
            // What is not told leaves the proxy that does not tell it.
            ("192.0.2.7, unknown", PROXY),
            ("192.0.2.7, 1.2.3, 10.0.0.2", "10.0.0.2"),
            ("fe80::1%eth0", PROXY),
            ("", PROXY),
            (",", PROXY),
        ] {
            assert_eq!(told(&[("x-forwarded-for", list)]), address, "{list}");
        }
        assert_eq!(told(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7, 10.0.0.2")]), "192.0.2.7");
        assert_eq!(told(&[]), PROXY);
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        for (list, address) in [
            // The examples of its sections 4, 6.1, 7.1 and 7.4.
            (r#"For="[2001:db8:cafe::17]:4711""#, "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            (r#"for="_gazonk""#, PROXY),
            ("for=_hidden, for=_SEVKISEK", PROXY),
            (r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#, PROXY),
            (r#"for=192.0.2.43, for="[2001:db8:cafe::17]""#, "2001:db8:cafe::17"),
            ("for=unknown;by=_x, for=10.0.0.9", "10.0.0.9"),
            // And what else there may be.
            (r#"for="192.0.2.7:80";host="a,b;for=1.1.1.1""#, "192.0.2.7"),
            (r#"for="192.0\.2.7""#, "192.0.2.7"),
            (r#"host="\"";for=192.0.2.7"#, "192.0.2.7"),
            ("for=192.0.2.7:80 ; proto=https ,for=10.0.0.2", "192.0.2.7"),
            ("for=[2001:db8::7]:80", "2001:db8::7"),
            ("for=192.0.2.7, proto=http", PROXY),
            (", for=192.0.2.7 ,;,", "192.0.2.7"),
        ] {
            assert_eq!(told(&[("forwarded", list)]), address, "{list}");
        }
        assert_eq!(told(&[("forwarded", "for=192.0.2.7"), ("forwarded", "for=10.0.0.2")]), "192.0.2.7");
        for malformed in [
            r#"for="1.1.1.1, for=192.0.2.7"#,
            "for",
            "for=",
            "for=1.1.1.1;for=192.0.2.7",
            "for =192.0.2.7",
            "for=1.1.1.1 x",
        ] {
            let error = from(PROXY, None, &[("forwarded", malformed)]).unwrap_err();
            assert_eq!(error.status(), 400, "{malformed}");
            assert!(!error.sentence().contains("192.0.2.7"), "{}", error.sentence());
        }
    }

    #[test]
    fn only_what_a_trusted_proxy_has_written_counts() {
        let both = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=198.51.100.1")];
        let of =
            |peer, field, fields: &[(&str, &str)]| from(peer, field, fields).map_err(|error| error.status().as_u16());
        let [forwarded, x_forwarded_for] = [ForwardedField::Forwarded, ForwardedField::XForwardedFor].map(Some);
        assert_eq!(of("192.0.2.99:1", None, &both), Ok("192.0.2.99:1".into()), "not one of the proxies");
        // A proxy that appends to one of them passes on what a caller has put into the other.
        assert_eq!(of(PROXY, None, &both), Err(400));
        assert_eq!(of(PROXY, forwarded, &both), Ok("198.51.100.1".into()));
        assert_eq!(of(PROXY, x_forwarded_for, &both), Ok("192.0.2.7".into()));
        assert_eq!(of(PROXY, x_forwarded_for, &both[1..]), Ok(PROXY.into()), "not its field");
        let agree = [("x-forwarded-for", "1.1.1.1, 192.0.2.7"), ("forwarded", "for=192.0.2.7;proto=https")];
        assert_eq!(of(PROXY, None, &agree), Ok("192.0.2.7".into()));
        let broken = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=\"")];
        assert_eq!(of(PROXY, x_forwarded_for, &broken), Ok("192.0.2.7".into()));
        assert_eq!(of(PROXY, None, &broken), Err(400));
    }

    #[test]
    fn over_a_unix_socket_the_word_trusts() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.7"));
        let over = |unix| {
            let proxies = TrustedProxies { networks: Networks { unix, networks: Vec::new() }, field: None };
            caller_address(&proxies, CallerAddress::User(Some(7)), &headers).unwrap().to_string()
        };
        assert_eq!((over(true), over(false)), ("192.0.2.7".into(), "unix:uid=7".into()));
    }

    proptest! {
        #[test]
        fn whatever_a_caller_has_written_the_proxys_own_word_counts(
            forged in "[ -~]{0,60}", octets in any::<[u8; 4]>(), separate in any::<bool>(),
        ) {
            let ip = Ipv4Addr::from(octets);
            prop_assume!(octets[0] != 10);
            for (name, own) in [("x-forwarded-for", ip.to_string()), ("forwarded", format!("for={ip};proto=https"))] {
                let joined = format!("{forged}, {own}");
                let fields: &[(&str, &str)] =
                    if separate { &[(name, &forged), (name, &own)] } else { &[(name, &joined)] };
                match from(PROXY, None, fields) {
                    Ok(address) => prop_assert_eq!(address, ip.to_string()),
                    // Never taken for another, but it may be unreadable.
                    Err(error) => prop_assert!(name == "forwarded" && error.status() == 400),
                }
            }
        }

        #[test]
        fn any_line_is_read_to_its_end(line in proptest::collection::vec((0x20_u8..=0x7e).prop_union(0x80_u8..=0xff), 0..80)) {
            let (line, mut nodes) = (HeaderValue::from_bytes(&line).unwrap(), Vec::new());
            let _read = read_line(&line, &mut nodes);
        }
    }
}
