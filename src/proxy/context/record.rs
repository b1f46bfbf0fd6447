//! What the head of a request says, for its line in the access log.

use std::time::SystemTime;

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use crate::proxy::outcome::Outcome;
use crate::proxy::request_id::RequestId;
use crate::proxy::source::RequestSource;
use crate::runtime::{ListenerRuntime, ModeRuntime};
use crate::telemetry::{AccessRecord, UNMATCHED, bare_referer, shortened};

/// Of one that has just come. What follows is filled in on its way.
pub(super) fn record(listener: &ListenerRuntime, source: RequestSource<'_>, head: &Parts) -> AccessRecord {
    // What stands before an @ may be a password.
    let bare = |text: &str| text.rsplit('@').next().unwrap_or_default().to_owned();
    let host = head.uri.authority().map(|authority| bare(authority.as_str()));
    let scheme = match (head.uri.scheme_str(), source.inside) {
        (_, Some(inside)) => inside.scheme.as_str(),
        (Some("https"), None) => "https",
        (Some(_), None) => "http",
        (None, None) if listener.tls.is_some() => "https",
        (None, None) => "http",
    };
    // HTTP/2 has no forms of targets: it is written as HTTP/1.1 would have it.
    let is_absolute = head.uri.scheme().is_some()
        && (head.version != Version::HTTP_2
            || matches!(listener.mode, ModeRuntime::Forward(_)) && source.inside.is_none());
    let field = |name: HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let host = host.or_else(|| Some(bare(head.headers.get(HOST)?.to_str().ok()?)));
    AccessRecord {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        request_id: RequestId::from_head(head).text().to_owned(),
        peer: source.address.to_string(),
        listener: listener.name.clone(),
        upstream: UNMATCHED.to_owned(),
        method: head.method.to_string(),
        host: host.unwrap_or_default(),
        path: if head.method == Method::CONNECT { String::new() } else { head.uri.path().to_owned() },
        scheme: scheme.into(),
        protocol: protocol(head.version).into(),
        user_agent: field(USER_AGENT).map(shortened),
        referer: field(REFERER).map(bare_referer),
        is_absolute,
        outcome: Outcome::Passed.label().into(),
        ..AccessRecord::default()
    }
}

/// As request lines have it.
const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
