//! What a request to an upstream may be, and what becomes of the caller's own Authorization.

use std::sync::Arc;

use http::header::{AUTHORIZATION, MAX_FORWARDS};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::credential::Credential;
use crate::proxy::body::CallerBody;
use crate::proxy::error::Refusal;
use crate::proxy::routing::choice;
use crate::proxy::routing::destination::Reached;
use crate::route::{CallerAuthorization, Permission};

/// The upstream's rate, `allow`, and TRACE.
pub(in crate::proxy) fn check_policy(reached: &Reached, head: &Parts) -> Result<(), Refusal> {
    let route = &reached.listener_route.route;
    if let Some(rate) = &route.rate {
        let limit = || format!("upstreams.{}.requests_per_second", route.name());
        rate.admit().map_err(|after| Refusal::too_many_requests(&limit(), after))?;
    }
    let path = reached.path.as_ref().map_or_else(|| head.uri.path(), http::uri::PathAndQuery::path);
    match route.permits(&head.method, path) {
        Permission::Granted => {}
        Permission::Denied => {
            let (name, method) = (route.name(), &head.method);
            return Err(Refusal::denied(format!(
                "the `allow` rules of upstream {name:?} do not cover {method} {path}"
            )));
        }
        Permission::Ambiguous => return Err(choice::ambiguous()),
    }
    if head.method == Method::TRACE && route.credential.is_some() {
        return Err(Refusal::method("TRACE would send the token back in the response; it is not forwarded here"));
    }
    Ok(())
}

/// What happens to the caller's own Authorization, and which credential takes its place.
pub(in crate::proxy) fn caller_authorization<'a>(
    reached: &'a Reached,
    head: &mut Parts,
) -> Result<Option<&'a Arc<Credential>>, Refusal> {
    let Some(credential) = &reached.listener_route.route.credential else { return Ok(None) };
    if !head.headers.contains_key(AUTHORIZATION) {
        return Ok(Some(credential));
    }
    let metrics = &reached.listener_route.metrics;
    match reached.listener_route.route.settings.caller_authorization {
        CallerAuthorization::Replace => {
            metrics.replaced.inc();
            // Here and not only where ours is put on: under on_token_error = "pass" there may be none to put on.
            head.headers.remove(AUTHORIZATION);
            Ok(Some(credential))
        }
        CallerAuthorization::Keep => {
            metrics.kept.inc();
            // Both leave, where ours goes elsewhere.
            Ok((!credential.is_in_authorization()).then_some(credential))
        }
        CallerAuthorization::Reject => {
            metrics.rejected.inc();
            let detail = "this upstream's requests are authorized by the proxy: leave out the Authorization field";
            Err(Refusal::bad_request(detail))
        }
    }
}

/// `Max-Forwards` of TRACE and OPTIONS (RFC 9110 section 7.6.2): at zero we are the one who answers.
pub(in crate::proxy) fn max_forwards(head: &mut Parts) -> Result<Option<Response<CallerBody>>, Refusal> {
    if head.method != Method::TRACE && head.method != Method::OPTIONS {
        return Ok(None);
    }
    let Some(value) = head.headers.get(MAX_FORWARDS) else { return Ok(None) };
    let left: Option<u32> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match left {
        None => Err(Refusal::bad_request("Max-Forwards is not a number")),
        Some(0) if head.method == Method::TRACE => Err(Refusal::method("TRACE is not answered by this proxy")),
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
