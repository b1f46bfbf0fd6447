//! Where a request wants to go: read once, strictly, and from one place (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
//!
//! Everything later, route, Host, SNI, dial and credential, follows from what is read here. A request that names two
//! places is refused and not repaired.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use crate::dial::{Authority, Scheme};
use crate::proxy::error::ProxyError;
use crate::proxy::head::hop_by_hop;

/// The target of a request, in the forms of RFC 9112 section 3.2.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Target<'a> {
    /// A path, with the `Host` it came with, if any.
    Origin(Option<Authority<'a>>),
    /// A whole URI; in HTTP/2, `:scheme`, `:authority` and `:path`.
    Absolute(Scheme, Authority<'a>),
    /// CONNECT.
    Authority(Authority<'a>, u16),
    /// `OPTIONS *`.
    Asterisk(Option<Authority<'a>>),
}

/// Reads the target and checks that `Host` says the same.
pub(in crate::proxy) fn parse(head: &Parts) -> Result<Target<'_>, ProxyError> {
    check_framing(head)?;
    let host = host_field(head)?;
    if head.method == Method::CONNECT {
        return connect(head, host);
    }
    let Some(authority) = head.uri.authority() else {
        if head.uri.path() == "*" {
            if head.method != Method::OPTIONS {
                return Err(only_options());
            }
            return Ok(Target::Asterisk(host));
        }
        return Ok(Target::Origin(host));
    };
    // HTTP/2 has it beside an authority (RFC 9113 section 8.3.1).
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(only_options());
    }
    let scheme = head.uri.scheme_str().unwrap_or("http");
    let scheme = Scheme::parse(scheme)
        .ok_or_else(|| ProxyError::bad_request(format!("the scheme {scheme:?} is neither http nor https")))?;
    let authority = read_authority(authority.as_str(), "the target")?;
    if let Some(host) = host
        && (host.host != authority.host || host.port_or_default(scheme) != authority.port_or_default(scheme))
    {
        return Err(ProxyError::bad_request("Host and the target name two different hosts; send one"));
    }
    Ok(Target::Absolute(scheme, authority))
}

fn only_options() -> ProxyError {
    ProxyError::bad_request("the target \"*\" goes with OPTIONS only")
}

fn connect<'a>(head: &'a Parts, host: Option<Authority<'a>>) -> Result<Target<'a>, ProxyError> {
    let authority = head.uri.authority().filter(|_| head.uri.scheme().is_none() || head.version == Version::HTTP_2);
    let authority =
        authority.ok_or_else(|| ProxyError::bad_request("CONNECT needs a target such as api.example.com:443"))?;
    let authority = read_authority(authority.as_str(), "the CONNECT target")?;
    let port = authority
        .port
        .ok_or_else(|| ProxyError::bad_request("CONNECT needs a port, as in CONNECT api.example.com:443"))?;
    // Many programs send `Host` without the port here, so only the hosts are compared.
    if host.is_some_and(|host| host.host != authority.host) {
        return Err(ProxyError::bad_request("Host and the CONNECT target name two different hosts; send one"));
    }
    let declares_body = head.headers.contains_key(http::header::TRANSFER_ENCODING)
        || head.headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if declares_body {
        return Err(ProxyError::framing("a CONNECT request has no body"));
    }
    Ok(Target::Authority(authority, port))
}

/// RFC 9112 section 3.2: exactly one valid `Host` in HTTP/1.1; at most one before and in HTTP/2.
fn host_field(head: &Parts) -> Result<Option<Authority<'_>>, ProxyError> {
    let mut lines = head.headers.get_all(HOST).iter();
    let Some(host) = lines.next() else {
        if head.version == Version::HTTP_11 {
            return Err(ProxyError::framing("an HTTP/1.1 request needs a Host field"));
        }
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(ProxyError::framing("the request has more than one Host field; send one"));
    }
    let text =
        host.to_str().map_err(|_invalid| ProxyError::bad_request("the Host field has characters no host has"))?;
    read_authority(text, "the Host field").map(Some)
}

fn check_framing(head: &Parts) -> Result<(), ProxyError> {
    if !hop_by_hop::has_plain_framing(&head.headers) {
        return Err(ProxyError::framing("Transfer-Encoding has to be exactly \"chunked\""));
    }
    // HTTP/1 takes white space around a value for no part of it, and HTTP/2 has none (RFC 9113 section 8.2.1): passed on, the
    // two sides would read two values.
    let is_padded = |value: &HeaderValue| {
        let ends = [value.as_bytes().first(), value.as_bytes().last()];
        ends.iter().any(|end| matches!(end, Some(b' ' | b'\t')))
    };
    if head.version == Version::HTTP_2
        && let Some((name, _)) = head.headers.iter().find(|(_, value)| is_padded(value))
    {
        return Err(ProxyError::bad_request(format!(
            "the value of {name} begins or ends with white space; send it without"
        )));
    }
    Ok(())
}

fn read_authority<'a>(text: &'a str, place: &str) -> Result<Authority<'a>, ProxyError> {
    Authority::parse(text).map_err(|error| ProxyError::bad_request(format!("{place} is not a host and port: {error}")))
}
