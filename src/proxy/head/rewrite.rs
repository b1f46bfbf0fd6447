//! A head on its way through.
//!
//! Hop-by-hop fields go first; `Via` and the authorization are put on afterwards, so that no `Connection` of a caller can
//! name them away (RFC 9110 section 7.6.1).

use http::header::TE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version, request, response};

use super::hop_by_hop::{
    HopWishes, Nominated, clean_response, join_cookies, strip_hop_by_hop, strip_underscore_aliases,
};
use super::via::ViaIdentity;

/// Makes a caller's head one that goes out: hop-by-hop fields and, where a credential is injected, underscore aliases go, `Via`
/// comes, and the path is the upstream's. Gives what the caller wishes of the next hop. The authorization is put on afterwards.
pub fn rewrite_request(
    via: &ViaIdentity,
    head: &mut request::Parts,
    path: Option<PathAndQuery>,
    injecting: bool,
) -> HopWishes {
    let mut wishes = strip_hop_by_hop(&mut head.headers);
    if injecting {
        strip_underscore_aliases(&mut head.headers);
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    if wishes.trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    via.append(&mut head.headers, head.version);
    if let Some(path) = path {
        head.uri = Uri::from(path);
    }
    if head.version < Version::HTTP_11 {
        wishes.upgrade = None;
    }
    wishes
}

/// Makes an upstream's head one for the caller, as the request path does with every answer that is not a switch of protocols:
/// hop-by-hop fields go and `Via` comes. Gives the fields that are not to come as trailers either.
pub fn rewrite_response(via: &ViaIdentity, head: &mut response::Parts) -> Option<Nominated> {
    let nominated = clean_response(&mut head.headers, head.status);
    via.append(&mut head.headers, head.version);
    nominated
}
