//! A reverse listener: it is itself the base URL.

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

use super::choice;
use super::destination::{Destination, ResolvedRoute};
use super::target::{self, Target};
use crate::dial::{Authority, Origin};
use crate::proxy::error::ProxyError;
use crate::route::{NoRoute, ReverseTable};
use crate::runtime::{HostRule, ListenerRoute};

/// The destination of a reverse-proxy request.
pub(in crate::proxy) fn destination(
    table: &ReverseTable<Arc<ListenerRoute>>,
    hosts: Option<&[HostRule]>,
    head: &Parts,
    caller: Option<&str>,
) -> Result<Destination, ProxyError> {
    // An absolute-form target is taken on a reverse listener too; its authority is the host (RFC 9112 section 3.2.2).
    let (host, asterisk) = match target::parse(head)? {
        Target::Absolute(_, authority) => (Some(authority), false),
        Target::Origin(host) => (host, false),
        Target::Asterisk(host) => (host, true),
        Target::Authority(..) => {
            return Err(ProxyError::bad_request(
                "this listener is a base URL, not a proxy: CONNECT goes to a forward listener",
            ));
        }
    };
    check_host(hosts, host.as_ref())?;
    check_site(hosts, host.as_ref(), &head.headers)?;
    let host = host.as_ref().map(|authority| &*authority.host);
    let path = if asterisk { "/" } else { head.uri.path() };
    let found = match table.find(path, host) {
        Ok(found) => found,
        Err(NoRoute::Ambiguous) => return Err(choice::ambiguous()),
        Err(NoRoute::Path | NoRoute::Caller(_)) => {
            return Err(ProxyError::no_route(match host {
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
    let at = choice::choose(found.routes, asked, caller)?;
    let pattern = &at.route.upstream.settings.origin;
    let fallback = pattern.base().host.as_str();
    let reached = match pattern {
        crate::dial::OriginPattern::Exact(_) => ResolvedRoute::new(at, pattern, fallback, path),
        _ if at.route.settings.origin_from.is_some() => Some(ResolvedRoute::without_origin(at, path)),
        crate::dial::OriginPattern::Wildcard { .. } => {
            host.and_then(|host| ResolvedRoute::new(at, pattern, host, path))
        }
    };
    reached.map(Destination::Route).ok_or_else(|| {
        ProxyError::no_route(format!(
            "upstream {:?} covers {pattern}; say which host in the Host field",
            at.route.name()
        ))
    })
}

/// A page in a browser can reach a loopback listener under a name of its own (DNS rebinding); its Host gives it away.
fn check_host(hosts: Option<&[HostRule]>, host: Option<&Authority<'_>>) -> Result<(), ProxyError> {
    let (Some(rules), Some(authority)) = (hosts, host) else { return Ok(()) };
    if rules.iter().any(|rule| rule.accepts(&authority.host)) {
        return Ok(());
    }
    Err(ProxyError::denied(format!(
        "this listener does not answer to the host {:?}; name it in the listener's `hosts`, or use its loopback address",
        authority.host
    )))
}

/// A page of another origin can send requests to a loopback listener without any name of its own: forms and images need no
/// permission. Browsers say where such a request comes from (Fetch Metadata; RFC 6454), and other programs say nothing. Another
/// port of the same host is another origin, though browsers call it the same site: on a developer's machine anything may serve it.
fn check_site(hosts: Option<&[HostRule]>, host: Option<&Authority<'_>>, headers: &HeaderMap) -> Result<(), ProxyError> {
    let Some(rules) = hosts else { return Ok(()) };
    let refused = || {
        ProxyError::denied(
            "a page of another origin (a site, or another port of this machine) asks for this in a browser, and would get what \
             the token gives; if that is meant, write hosts = \"any\" on the listener",
        )
    };
    if headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site" || site == "same-site") {
        return Err(refused());
    }
    let is_own = |origin: &HeaderValue| {
        // "null" is a page that hides where it comes from.
        let origin: Option<Origin> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| {
            let asked = |host: &Authority<'_>| {
                *host.host == *origin.host.as_str() && host.port_or_default(origin.scheme) == origin.port
            };
            // Programs that are no browsers name the upstream's own.
            let of = |rule: &HostRule| match rule {
                HostRule::Of(pattern) => pattern.at_host(origin.host.as_str()).as_ref() == Some(&origin),
                HostRule::Loopback | HostRule::Named(_) => false,
            };
            host.is_some_and(asked) || rules.iter().any(of)
        })
    };
    if headers.get_all(ORIGIN).iter().all(is_own) { Ok(()) } else { Err(refused()) }
}

/// The path behind the prefix, byte for byte; `/one` alone becomes `/`. `None`: nothing to strip.
fn strip_prefix(head: &Parts, prefix: usize) -> Result<Option<PathAndQuery>, ProxyError> {
    if prefix == 0 {
        return Ok(None);
    }
    let whole = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = &whole[prefix..];
    let stripped = if rest.starts_with('/') { rest.parse() } else { format!("/{rest}").parse() };
    stripped.map(Some).map_err(|_invalid| ProxyError::bad_request("the path cannot be read"))
}
