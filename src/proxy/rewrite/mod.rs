//! An answer that names its own origin is told in the caller's terms, so that a program which follows it comes back here:
//! `Location`, `Content-Location`, `Link`, `Refresh` and `Set-Cookie`. Of a request, `Destination` (RFC 4918 section 10.3)
//! is told in the origin's.
//!
//! Most messages have none of these fields: then one look at the names is all that it costs.

mod cookie;
mod destination_field;
mod hints;
mod link;
mod reference;
mod refresh;

use http::header::{CONTENT_LOCATION, HOST, LINK, LOCATION, REFRESH, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, uri};

pub(in crate::proxy) use self::hints::changed_before;
use self::reference::Names;
use crate::dial::Scheme;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::proxy::source::InTunnel;
use crate::runtime::{ListenerRuntime, ModeRuntime};

const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// Under which scheme and host, and where, the caller of one request knows the origin. Noted before the head is rewritten.
#[derive(Debug)]
pub(in crate::proxy) struct Terms {
    scheme: Scheme,
    /// Where the target named one. Otherwise it is in `Host`, which stays in the head.
    authority: Option<uri::Authority>,
    /// The listener is the base URL; otherwise `http` was made https.
    base: bool,
    /// The path was the prefix and nothing else.
    bare: bool,
}

impl Terms {
    /// `None` where caller and origin mean the same, or where it is not wanted.
    pub(in crate::proxy) fn of(
        listener: &ListenerRuntime,
        inside: Option<&InTunnel>,
        route: &ResolvedRoute,
        head: &Parts,
    ) -> Option<Self> {
        let settings = &route.at.route.settings;
        if !settings.rewrite {
            return None;
        }
        let base = matches!(listener.mode, ModeRuntime::Reverse { .. });
        let connection = if base && listener.tls.is_some() { Scheme::Https } else { Scheme::Http };
        let target = head.uri.scheme_str().and_then(Scheme::parse).unwrap_or(connection);
        let scheme = inside.map_or(target, |inside| inside.scheme);
        if !base && scheme == route.origin().scheme {
            return None;
        }
        let prefix = settings.path_prefix.as_ref().filter(|_| base);
        let bare = prefix.is_some_and(|prefix| head.uri.path() == prefix.as_str());
        Some(Self { scheme, authority: head.uri.authority().cloned(), base, bare })
    }

    fn names<'a>(&'a self, route: &'a ResolvedRoute, head: &'a Parts) -> Names<'a> {
        let host = || head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let prefix = route.at.route.settings.path_prefix.as_ref().filter(|_| self.base);
        Names {
            origin: route.origin(),
            scheme: self.scheme,
            host: self.authority.as_ref().map(uri::Authority::as_str).or_else(host),
            base: self.base,
            prefix: prefix.map_or("", |prefix| prefix.as_str()),
            path: head.uri.path(),
            bare: self.bare,
        }
    }
}

/// Tells in the origin's terms what names the caller's base URL in a request that is about to leave.
pub(in crate::proxy) fn tell_upstream(terms: Option<&Terms>, route: &ResolvedRoute, head: &mut Parts) {
    let Some(terms) = terms else { return };
    let mut lines = head.headers.get_all(DESTINATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return };
    let rewritten = destination_field::rewritten(&terms.names(route, head), line.as_bytes());
    if let Some(rewritten) = rewritten.and_then(|rewritten| HeaderValue::try_from(rewritten).ok()) {
        head.headers.insert(DESTINATION, rewritten);
    }
}

/// Tells in the caller's terms what names the origin in an answer. `head` is the request as it was sent.
pub(in crate::proxy) fn tell_caller(
    terms: Option<&Terms>,
    route: &ResolvedRoute,
    head: &Parts,
    headers: &mut HeaderMap,
) {
    let Some(terms) = terms else { return };
    if headers.keys().any(may_name_the_origin) {
        terms.names(route, head).tell(headers);
    }
}

/// By the names' lengths first: every field of every answer comes here.
fn may_name_the_origin(name: &HeaderName) -> bool {
    match name.as_str().len() {
        4 => name == LINK,
        7 => name == REFRESH,
        8 => name == LOCATION,
        10 => name == SET_COOKIE,
        16 => name == CONTENT_LOCATION,
        _ => false,
    }
}

impl Names<'_> {
    fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut().filter(|(name, _)| may_name_the_origin(name)) {
            let said = value.as_bytes();
            let rewritten = if *name == SET_COOKIE {
                cookie::rewritten(self, said)
            } else if *name == LINK {
                link::rewritten(self, said)
            } else if *name == REFRESH {
                refresh::rewritten(self, said)
            } else {
                self.rewritten(said)
            };
            if let Some(mut rewritten) = rewritten.and_then(|rewritten| HeaderValue::try_from(rewritten).ok()) {
                rewritten.set_sensitive(value.is_sensitive());
                *value = rewritten;
            }
        }
    }
}

#[cfg(test)]
mod tests;
