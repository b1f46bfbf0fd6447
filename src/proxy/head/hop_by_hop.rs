//! What leaves a head and its trailers on the way: hop-by-hop fields, and what servers read as a field that is sensitive.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;

use crate::connection_fields::CONNECTION_FIELDS;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// Besides those of every connection (RFC 9110 section 11.7, RFC 7540 section 3.2.1).
const OTHER_HOP_BY_HOP: [HeaderName; 4] =
    [PROXY_AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHENTICATION_INFO, HTTP2_SETTINGS];

/// What a trailer must not say: framing, routing, and authentication (RFC 9110 section 6.5.1).
const NO_TRAILERS: [HeaderName; 7] = [AUTHORIZATION, HOST, CONTENT_LENGTH, COOKIE, SET_COOKIE, TRAILER, VIA];

/// What a request wanted that is spoken anew on the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HopWishes {
    /// `TE: trailers`: the caller takes trailers.
    pub(super) trailers: bool,
    /// The protocols of `Upgrade`, nominated by `Connection`, that may be asked for on.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
    pub(in crate::proxy) nominated: Option<Nominated>,
}

/// The fields that `Connection` names besides those of every connection: they may come as trailers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nominated(Arc<[HeaderName]>);

/// Removes everything that was meant for this connection only, and says what was wanted.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) -> HopWishes {
    let trailers =
        headers.get_all(TE).iter().flat_map(list_members).any(|member| member.eq_ignore_ascii_case(b"trailers"));
    let mut wishes = HopWishes { trailers, ..HopWishes::default() };
    strip_nominated_and_hop_by_hop(headers, &mut wishes);
    wishes
}

/// One look at the names first: looking is cheaper than asking the map for each of them, and most messages have none.
fn strip_nominated_and_hop_by_hop(headers: &mut HeaderMap, wishes: &mut HopWishes) {
    if !headers.keys().any(|name| *name == TRAILER || is_hop_by_hop(name)) {
        return;
    }
    if let Some(connection) = headers.get(CONNECTION) {
        // By far the most frequent lines name nothing.
        let plain = [&b"keep-alive"[..], b"close"].iter().any(|word| connection.as_bytes().eq_ignore_ascii_case(word));
        if plain && headers.get_all(CONNECTION).iter().nth(1).is_none() {
            headers.remove(CONNECTION);
        } else {
            strip_nominated(headers, wishes);
        }
    }
    if headers.keys().any(is_hop_by_hop) {
        for name in CONNECTION_FIELDS.iter().chain(&OTHER_HOP_BY_HOP) {
            headers.remove(name);
        }
    }
    if headers.contains_key(TRAILER) {
        announce_what_stays(headers, wishes.nominated.as_ref());
    }
}

/// Removes `Connection` and every field it names, over all its lines.
fn strip_nominated(headers: &mut HeaderMap, wishes: &mut HopWishes) {
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    let mut nominated = Vec::new();
    for line in &lines {
        for member in list_members(line) {
            if member.eq_ignore_ascii_case(b"upgrade") {
                wishes.upgrade = permitted_protocols(headers);
            } else if let Ok(name) = HeaderName::from_bytes(member)
                && !is_never_hop_by_hop(&name)
            {
                headers.remove(&name);
                if name != "close" && !is_hop_by_hop(&name) {
                    nominated.push(name);
                }
            }
        }
    }
    wishes.nominated = (!nominated.is_empty()).then(|| Nominated(nominated.into()));
}

/// The protocols of an `Upgrade` that may be asked for on. Other versions of HTTP are not among them: what would come then are
/// requests that are not looked at. Neither is TLS, which would begin in the middle of a connection that has it.
fn permitted_protocols(upgrade: &HeaderMap) -> Option<HeaderValue> {
    let refused = |member: &&[u8]| {
        let name = member.split(|byte| *byte == b'/').next().unwrap_or_default();
        [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"].iter().any(|refused| name.eq_ignore_ascii_case(refused))
    };
    let members = upgrade.get_all(UPGRADE).iter().flat_map(list_members);
    let members: Vec<&[u8]> = members.filter(|member| !refused(member)).collect();
    if members.is_empty() { None } else { HeaderValue::from_bytes(&members.join(&b", "[..])).ok() }
}

/// `Trailer` names nothing that is taken out of the trailers on the way (RFC 9110 section 6.6.2).
fn announce_what_stays(headers: &mut HeaderMap, nominated: Option<&Nominated>) {
    let goes = |member: &[u8]| match HeaderName::from_bytes(member) {
        Ok(name) => is_no_trailer(&name) || nominated.is_some_and(|Nominated(names)| names.contains(&name)),
        Err(_no_name) => true,
    };
    if !headers.get_all(TRAILER).iter().flat_map(list_members).any(goes) {
        return;
    }
    let members: Vec<&[u8]> =
        headers.get_all(TRAILER).iter().flat_map(list_members).filter(|member| !goes(member)).collect();
    match HeaderValue::from_bytes(&members.join(&b", "[..])) {
        Ok(stay) if !members.is_empty() => drop(headers.insert(TRAILER, stay)),
        _ => drop(headers.remove(TRAILER)),
    }
}

/// For one connection, whether `Connection` names it or not.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    CONNECTION_FIELDS.contains(name) || OTHER_HOP_BY_HOP.contains(name)
}

fn is_no_trailer(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || NO_TRAILERS.contains(name) || is_alias(&name.as_str().replace('_', "-"), name)
}

/// Fields that a message cannot do without: naming them in `Connection` is an attack or a mistake, not a wish
/// (RFC 9110 section 7.6.1: "a sender MUST NOT send a connection option corresponding to a field that is intended for all
/// recipients").
fn is_never_hop_by_hop(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, VIA, TRAILER].contains(name)
}

/// The members of one line of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1). As bytes: one
/// that is no ASCII makes no other member go unread.
pub(in crate::proxy) fn list_members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Removes `X_Forwarded_For`, `Proxy_Authorization` and their like: names that some servers read as the ones with
/// hyphens, so that a caller could say with an underscore what it may not say at all.
pub(super) fn strip_underscore_aliases(headers: &mut HeaderMap) {
    // Nearly no request has such a name: look before allocating.
    if !headers.keys().any(|name| name.as_str().contains('_')) {
        return;
    }
    let aliases: Vec<HeaderName> =
        headers.keys().filter(|name| is_alias(&name.as_str().replace('_', "-"), name)).cloned().collect();
    for name in aliases {
        headers.remove(name);
    }
}

/// Removes a field, and what some servers read as the same field.
pub(in crate::proxy) fn remove_with_aliases(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    let hyphenated = |name: &HeaderName| name.as_str().replace('_', "-");
    if headers.keys().all(|other| other.as_str().len() != name.as_str().len()) {
        return;
    }
    let removed = hyphenated(name);
    let aliases: Vec<HeaderName> = headers.keys().filter(|other| hyphenated(other) == removed).cloned().collect();
    for alias in aliases {
        headers.remove(alias);
    }
}

fn is_alias(hyphenated: &str, name: &HeaderName) -> bool {
    let sensitive =
        [AUTHORIZATION, PROXY_AUTHORIZATION, HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, COOKIE, VIA];
    name.as_str().contains('_')
        && (hyphenated.starts_with("x-forwarded-")
            || hyphenated.starts_with("proxy-")
            || hyphenated == "forwarded"
            || sensitive.iter().any(|field| field.as_str() == hyphenated))
}

/// HTTP/2 may split `Cookie` over several lines; HTTP/1 may not (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

/// Cleans an upstream's response head: hop-by-hop fields go, and the length says only what the framing says.
pub(in crate::proxy) fn clean_response(headers: &mut HeaderMap, status: StatusCode) -> Option<Nominated> {
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length, which then must not be forwarded.
        headers.remove(CONTENT_LENGTH);
    }
    let mut hop = HopWishes::default();
    strip_nominated_and_hop_by_hop(headers, &mut hop);
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        headers.remove(CONTENT_LENGTH);
    }
    hop.nominated
}

/// `Transfer-Encoding` is exactly one `chunked`, or is not there (RFC 9112 section 6.1). hyper accepts more.
pub(in crate::proxy) fn has_plain_framing(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Drops what a trailer must not say, and what is meant for one connection.
pub(in crate::proxy) fn filter_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    map_trailers(frame, |trailers| {
        strip_nominated(trailers, &mut HopWishes::default());
        for name in CONNECTION_FIELDS.iter().chain(&OTHER_HOP_BY_HOP).chain(&NO_TRAILERS) {
            trailers.remove(name);
        }
        strip_underscore_aliases(trailers);
    })
}

impl Nominated {
    /// Drops what the head has named: the trailers are no head, but this is about all fields of that name.
    pub(in crate::proxy) fn filter_trailers(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        map_trailers(frame, |trailers| {
            for name in &*self.0 {
                trailers.remove(name);
            }
        })
    }
}

fn map_trailers(frame: Frame<Bytes>, change: impl FnOnce(&mut HeaderMap)) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            change(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

#[cfg(test)]
#[path = "hop_by_hop_tests.rs"]
mod tests;
