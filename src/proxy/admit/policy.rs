//! What a request to an upstream may be.

use http::header::MAX_FORWARDS;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::proxy::body::response::CallerBody;
use crate::proxy::error::ProxyError;
use crate::proxy::refusals::Refused;
use crate::proxy::routing::choice;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::route::Permission;

/// The upstream's rate, `allow`, and TRACE.
pub(in crate::proxy) fn check(resolved: &ResolvedRoute, head: &Parts) -> Result<(), ProxyError> {
    let route = &resolved.at.route;
    if let Some(rate) = &route.rate {
        let limit = || format!("upstreams.{}.requests_per_second", route.name());
        rate.admit().map_err(|after| ProxyError::too_many_requests(&limit(), after))?;
    }
    let path = resolved.path.as_ref().map_or_else(|| head.uri.path(), http::uri::PathAndQuery::path);
    match route.permits(&head.method, path) {
        Permission::Granted => {}
        Permission::Denied => {
            let (name, method) = (route.name(), &head.method);
            return Err(ProxyError::denied(format!(
                "the `allow` rules of upstream {name:?} do not cover {method} {path}"
            ))
            .refusing(Refused::Rules(name.into())));
        }
        Permission::Ambiguous => return Err(choice::ambiguous()),
    }
    if head.method == Method::TRACE && route.credential.is_some() {
        return Err(ProxyError::method("TRACE would send the token back in the response; it is not forwarded here"));
    }
    Ok(())
}

/// `Max-Forwards` of TRACE and OPTIONS (RFC 9110 section 7.6.2): at zero this proxy is the one that answers.
pub(in crate::proxy) fn max_forwards(head: &mut Parts) -> Result<Option<Response<CallerBody>>, ProxyError> {
    if head.method != Method::TRACE && head.method != Method::OPTIONS {
        return Ok(None);
    }
    let Some(value) = head.headers.get(MAX_FORWARDS) else { return Ok(None) };
    let left: Option<u32> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match left {
        None => Err(ProxyError::bad_request("Max-Forwards is not a number")),
        Some(0) if head.method == Method::TRACE => Err(ProxyError::method("TRACE is not answered by this proxy")),
        Some(0) => Ok(Some(options_of_proxy())),
        Some(left) => {
            head.headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(None)
        }
    }
}

/// What this proxy itself says to OPTIONS.
pub(in crate::proxy) fn options_of_proxy() -> Response<CallerBody> {
    let mut response = Response::new(CallerBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT");
    response.headers_mut().insert(http::header::ALLOW, methods);
    response
}
