//! Probes: whether the program lives, has started, and is ready for callers.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::report::{CredentialStatus, Readiness};
use super::state::{AdminState, Shared};
use super::status;
use super::verbose::{Check, is_verbose, verbose};

/// `/livez`, `/healthz`: it answers.
pub(super) async fn alive(uri: Uri) -> Response {
    if is_verbose(&uri) { verbose("livez", &[Check::ok("ping".to_owned())]) } else { "ok\n".into_response() }
}

/// `/startupz`: who asks finds every address bound and a configuration live. What is waited for is the first token of each
/// required credential, once.
pub(super) async fn started(State(shared): AdminState, uri: Uri) -> Response {
    let verbose_is_asked = is_verbose(&uri);
    if !verbose_is_asked && shared.started.load(Ordering::Relaxed) {
        return "ok\n".into_response();
    }
    let credentials = required(&shared);
    let had_one = |credential: &CredentialStatus| credential.usable || credential.generation > 0;
    let started = shared.started.load(Ordering::Relaxed) || credentials.iter().all(had_one);
    if started {
        shared.started.store(true, Ordering::Relaxed);
    }
    if verbose_is_asked {
        let mut checks = vec![Check::ok("listeners".to_owned()), Check::ok("configuration".to_owned())];
        // They count until there was a first token, and not after that.
        let credentials = credentials.iter().filter(|credential| !started || had_one(credential));
        checks.extend(credentials.map(|credential| Check::of(credential, had_one(credential))));
        return verbose("startupz", &checks);
    }
    if started { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, NOT_STARTED).into_response() }
}

const NOT_STARTED: &str = "not started: a required credential has had no token yet; /startupz?verbose names it\n";

/// `/readyz`: each required credential has something to put on a request, and the end is not near.
pub(super) async fn ready(State(shared): AdminState, uri: Uri) -> Response {
    let stopping = shared.facts.stopping.has_begun();
    if is_verbose(&uri) {
        let mut checks = vec![Check::ok("ping".to_owned())];
        let why = stopping.then(|| "attache is stopping, callers have to go elsewhere".to_owned());
        checks.push(Check { name: "shutdown".to_owned(), failed: why });
        checks.extend(required(&shared).iter().map(|credential| Check::of(credential, credential.usable)));
        return verbose("readyz", &checks);
    }
    let runtime = shared.runtime.current();
    let credentials = status::credentials(&runtime);
    let cache = runtime.fleet.upgrade().map(|fleet| fleet.store().state.as_str().into());
    let ready = !stopping && credentials.iter().all(|credential| !credential.required || credential.usable);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready, stopping, cache, credentials })).into_response()
}

fn required(shared: &Shared) -> Vec<CredentialStatus> {
    let mut credentials = status::credentials(&shared.runtime.current());
    credentials.retain(|credential| credential.required);
    credentials
}
