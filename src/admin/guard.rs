//! Who may use the admin API. A web page in a browser can reach a loopback port, and no unix socket: its Host gives a rebound
//! name away, and it cannot send JSON across sites without asking first, which nothing here answers.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::{Problem, ProblemType, problem};
use super::verbose::is_verbose;
use crate::dial::Authority;
use crate::secret::Secret;

/// Without it a form of any web page could be sent here.
const NOT_JSON: &str = "a POST needs Content-Type: application/json, with a body or without; write curl -X POST -H 'Content-Type: application/json' URL";

/// What is asked of a request.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// Digest of `admin.token`.
    token: Option<[u8; 32]>,
    /// Only loopback names in Host.
    loopback_only: bool,
}

impl Guard {
    pub(super) fn new(token: Option<&Secret>, loopback_only: bool) -> Self {
        Self(Arc::new(Rules { token: token.map(Secret::fingerprint), loopback_only }))
    }

    /// For a unix socket where no other user is let in. Of an action it asks the same as elsewhere.
    pub(super) fn of_own_user() -> Self {
        Self::new(None, false)
    }
}

/// Refuses what is not allowed, before any handler sees it.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.0.loopback_only && !has_loopback_host(&request) {
        return problem(
            StatusCode::FORBIDDEN,
            "the admin API answers to loopback names only, such as 127.0.0.1 or localhost",
        );
    }
    if !is_open(request.uri()) && !guard.0.is_authorized(&request) {
        let detail = "the admin API wants its token: Authorization: Bearer ADMIN_TOKEN";
        return Problem::new(ProblemType::TokenRequired, StatusCode::FORBIDDEN, detail).into_response();
    }
    if request.method() == Method::POST && !is_json(&request) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_JSON);
    }
    next.run(request).await
}

/// Probes cannot be given a secret, and tell nothing. Neither can a browser that opens the page: it is the same text everywhere,
/// and asks a person for the token before it asks for anything.
fn is_open(uri: &Uri) -> bool {
    match uri.path() {
        "/livez" | "/healthz" | "/" => true,
        "/startupz" => !is_verbose(uri),
        path => path.starts_with("/page/"),
    }
}

fn has_loopback_host(request: &Request) -> bool {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = authority.or_else(|| hosts.next()?.to_str().ok());
    let Some(host) = host else { return request.version() == http::Version::HTTP_10 };
    let parsed = Authority::parse(host).ok().and_then(|host| crate::dial::Host::parse(&host.host).ok());
    parsed.is_some_and(|host| host.is_loopback()) && hosts.next().is_none()
}

impl Rules {
    /// Digests are compared, in constant time: neither length nor content of the token shows.
    fn is_authorized(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        let sent = request.headers().get(header::AUTHORIZATION).and_then(crate::http_auth::bearer);
        sent.is_some_and(|sent| {
            let sent = Secret::new(sent.to_owned()).fingerprint();
            verify_slices_are_equal(&sent, token).is_ok()
        })
    }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
