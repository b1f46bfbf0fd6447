//! A reverse listener: it is itself the base URL.

use std::sync::Arc;

use http::HeaderMap;
use http::header::ORIGIN;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::choice::{self, Choice};
use super::destination::{Destination, Reached};
use super::error::Refusal;
use super::target::{self, Target};
use crate::route::{NoRoute, ReverseTable};
use crate::runtime::{HostRule, Lane};
use crate::upstream::Authority;

/// The destination of a reverse-proxy request.
pub(super) fn destination(
    table: &ReverseTable<Arc<Lane>>,
    hosts: Option<&[HostRule]>,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, Refusal> {
    // An absolute-form target is taken on a reverse listener too; its authority is the host (RFC 9112 section 3.2.2).
    let (host, asterisk) = match target::parse(head)? {
        Target::Absolute(_, authority) => (Some(authority), false),
        Target::Origin(host) => (host, false),
        Target::Asterisk(host) => (host, true),
        Target::Authority(..) => {
            return Err(Refusal::bad_request(
                "this listener is a base URL, not a proxy: CONNECT goes to a forward listener",
            ));
        }
    };
    check_host(hosts, host.as_ref())?;
    check_site(hosts, &head.headers)?;
    let host = host.as_ref().map(|authority| &*authority.host);
    let path = if asterisk { "/" } else { head.uri.path() };
    let found = match table.find(path, host) {
        Ok(found) => found,
        Err(NoRoute::Ambiguous) => return Err(choice::ambiguous()),
        Err(NoRoute::Path | NoRoute::Caller(_)) => {
            return Err(Refusal::no_route(match host {
                Some(host) if table.needs_host(path) => {
                    format!("no upstream of this listener is called {host:?}; send the Host of one")
                }
                None if table.needs_host(path) => "several upstreams are here; send the Host of one".to_owned(),
                _ => format!("no upstream of this listener has {path:?}; check the path and their `path_prefix`"),
            }));
        }
    };
    let path = if asterisk { Some(PathAndQuery::from_static("*")) } else { strip_prefix(head, found.prefix)? };
    let asked = path.as_ref().map_or_else(|| head.uri.path(), PathAndQuery::path);
    let lane = match choice::choose(found.routes, asked, caller)? {
        Choice::Lane(lane) => lane,
        Choice::Refused(refused) => return Ok(refused),
    };
    let pattern = &lane.route.upstream.settings.origin;
    let fallback = pattern.base().host.as_str();
    let reached = match pattern {
        crate::upstream::OriginPattern::Exact(_) => Reached::new(lane, pattern, fallback, path),
        _ if lane.route.settings.origin_from.is_some() => Some(Reached::without_origin(lane, path)),
        crate::upstream::OriginPattern::Wildcard { .. } => {
            host.and_then(|host| Reached::new(lane, pattern, host, path))
        }
    };
    reached.map(Destination::Route).ok_or_else(|| {
        Refusal::no_route(format!(
            "upstream {:?} covers {pattern}; say which host in the Host field",
            lane.route.name()
        ))
    })
}

/// A page in a browser can reach a loopback listener under a name of its own (DNS rebinding); its Host gives it away.
fn check_host(hosts: Option<&[HostRule]>, host: Option<&Authority<'_>>) -> Result<(), Refusal> {
    let (Some(rules), Some(authority)) = (hosts, host) else { return Ok(()) };
    if rules.iter().any(|rule| rule.accepts(&authority.host)) {
        return Ok(());
    }
    Err(Refusal::denied(format!(
        "this listener does not answer to the host {:?}; name it in the listener's `hosts`, or use its loopback address",
        authority.host
    )))
}

/// A page of another site can send requests to a loopback listener without any name of its own: forms and images need no
/// permission. Browsers say where such a request comes from (Fetch Metadata; RFC 6454), and other programs say nothing.
fn check_site(hosts: Option<&[HostRule]>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(rules) = hosts else { return Ok(()) };
    let refused = || {
        Refusal::denied(
            "a page of another site asks for this in a browser, and would get what the token gives; \
             if that is meant, write hosts = \"any\" on the listener",
        )
    };
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Err(refused());
    }
    // "null" is a page that hides where it comes from.
    let is_ours = |origin: &str| {
        let host = origin.split_once("://").and_then(|(_, authority)| Authority::parse(authority).ok());
        host.is_some_and(|authority| rules.iter().any(|rule| rule.accepts(&authority.host)))
    };
    let foreign = headers.get_all(ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(is_ours));
    if foreign { Err(refused()) } else { Ok(()) }
}

/// The path behind the prefix, byte for byte; `/one` alone becomes `/`. `None`: nothing to strip.
fn strip_prefix(head: &Parts, prefix: usize) -> Result<Option<PathAndQuery>, Refusal> {
    if prefix == 0 {
        return Ok(None);
    }
    let whole = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = &whole[prefix..];
    let stripped = if rest.starts_with('/') { rest.parse() } else { format!("/{rest}").parse() };
    stripped.map(Some).map_err(|_invalid| Refusal::bad_request("the path cannot be read"))
}
