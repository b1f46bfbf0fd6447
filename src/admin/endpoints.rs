//! What each endpoint of the admin API answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, problem};
use super::reloads::ReloadCause;
use super::state::AdminState;
use super::{coding, exposition, status};
use crate::proxy::explain;
use crate::telemetry::log::{self, LogError, LogFilter};

pub(super) async fn index() -> &'static str {
    concat!(
        "attache ",
        env!("CARGO_PKG_VERSION"),
        "\n\nGET  /   the status page\nGET  /livez  /healthz  /startupz  /readyz  (?verbose)  /metrics\nGET  /api/status   /api/events   /api/requests   /api/history   /api/log   /api/openapi.json\nGET  /api/explain?method=GET&url=http://HOST/PATH\n\
         POST /api/credentials/NAME/refresh   POST /api/reload   POST /api/log   POST /quitquitquit   (Content-Type: application/json)\n"
    )
}

pub(super) async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

pub(super) async fn unknown(uri: http::Uri) -> Response {
    problem(StatusCode::NOT_FOUND, format!("there is nothing at {:?}; GET /api lists what there is", uri.path()))
}

pub(super) async fn wrong_method(method: http::Method, uri: http::Uri) -> Response {
    let detail = format!("{:?} does not take {method}; GET /api lists what there is", uri.path());
    problem(StatusCode::METHOD_NOT_ALLOWED, detail)
}

pub(super) async fn metrics(State(shared): AdminState, headers: http::HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open_metrics = accepts.contains("application/openmetrics-text");
    let content_type = if open_metrics { exposition::OPEN_METRICS } else { exposition::PROMETHEUS };
    let (gzip, of) = (coding::takes_gzip(&headers), Arc::clone(&shared));
    let written = move || {
        let text = of.exposition.text(open_metrics);
        if gzip { coding::gzip(&text).into() } else { text.into() }
    };
    let mut answer =
        made(content_type, shared.metrics[usize::from(open_metrics)][usize::from(gzip)].get(written).await);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if gzip && answer.status() == StatusCode::OK {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

pub(super) async fn report(State(shared): AdminState) -> Response {
    let of = Arc::clone(&shared);
    made("application/json", shared.reports.get(move || of.report()).await)
}

/// What was made for all who asked.
fn made(content_type: &'static str, content: Option<Bytes>) -> Response {
    match content {
        Some(content) => ([(header::CONTENT_TYPE, content_type)], content).into_response(),
        None => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "too many ask for this at the same time; ask again in a moment")
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<u64>,
}

pub(super) async fn requests(State(shared): AdminState, since: Result<Query<Since>, QueryRejection>) -> Response {
    match since {
        Ok(Query(Since { since })) => {
            let batch = shared.facts.recent.watch(since);
            // A thousand of them are written elsewhere than on the thread of the token requests.
            let write = move || serde_json::to_vec(&batch).map(Bytes::from).ok();
            made("application/json", tokio::task::spawn_blocking(write).await.ok().flatten())
        }
        Err(_) => problem(StatusCode::BAD_REQUEST, "since is the number `next` of the answer before"),
    }
}

#[derive(Deserialize)]
pub(super) struct Of {
    upstream: Option<String>,
    credential: Option<String>,
}

pub(super) async fn history(State(shared): AdminState, of: Result<Query<Of>, QueryRejection>) -> Response {
    let Ok(Query(Of { upstream, credential })) = of else {
        return problem(StatusCode::BAD_REQUEST, "ask with ?upstream=NAME or ?credential=NAME, or for all");
    };
    let make = {
        let shared = Arc::clone(&shared);
        move || shared.history(upstream.as_deref(), credential.as_deref())
    };
    // Thousands of events are written elsewhere than on the thread of the token requests.
    let made_elsewhere = tokio::task::spawn_blocking(make).await.ok();
    made("application/json", made_elsewhere)
}

#[derive(Deserialize)]
pub(super) struct Question {
    method: Option<String>,
    url: Option<String>,
    listener: Option<String>,
    caller: Option<String>,
}

pub(super) async fn explain_request(
    State(shared): AdminState,
    question: Result<Query<Question>, QueryRejection>,
) -> impl IntoResponse {
    let runtime = shared.runtime.current();
    let Ok(Query(Question { method, url: Some(url), listener, caller })) = question else {
        let detail = "ask with ?url=http://HOST/PATH, and if need be method, listener and caller";
        return problem(StatusCode::BAD_REQUEST, detail);
    };
    let method = method.unwrap_or_else(|| "GET".into());
    let Ok(method) = http::Method::from_bytes(method.as_bytes()) else {
        return problem(StatusCode::BAD_REQUEST, format!("{method:?} is no method"));
    };
    let (listener, caller) = (listener.as_deref(), caller.as_deref());
    let question = explain::Question { listener, caller, method: &method, target: &url };
    match explain::answer(&runtime, &question) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, error),
    }
}

pub(super) async fn refresh(State(shared): AdminState, Path(name): Path<String>) -> impl IntoResponse {
    let runtime = shared.runtime.current();
    let Some(credential) = runtime.credentials.iter().find(|credential| credential.name == name) else {
        let known: Vec<&str> = runtime.credentials.iter().map(|credential| credential.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return problem(StatusCode::NOT_FOUND, format!("there is no credential {name:?}; there are: {known}"));
    };
    match credential.refresh().await {
        Ok(()) => Json(status::credential(&runtime, credential)).into_response(),
        Err(error) => problem(StatusCode::BAD_GATEWAY, error.message.as_str()),
    }
}

/// The answer is on its way before the program ends, and this connection ends with it.
pub(super) async fn quit(State(shared): AdminState) -> impl IntoResponse {
    shared.facts.stopping.ask();
    Json(serde_json::json!({ "stopping": true }))
}

/// 422 with all problems where the old configuration stays.
pub(super) async fn reload(State(shared): AdminState) -> Response {
    let outcome = shared.facts.reloads.ask(ReloadCause::Api).await;
    if outcome.ok {
        return Json(outcome).into_response();
    }
    Problem::not_reloaded(outcome.problems).into_response()
}

/// What is logged, and what will be after the next reload.
pub(super) async fn log_filter() -> Response {
    log::current().map_or_else(|| foreign_log(&LogError::Foreign), |filter| Json(filter).into_response())
}

#[derive(Deserialize)]
struct WantedLog {
    filter: String,
}

/// The filter before, and the one in use from now on.
#[derive(Serialize)]
struct ChangedLog {
    before: String,
    #[serde(flatten)]
    now: LogFilter,
}

/// Logs by another filter until the next reload.
pub(super) async fn change_log(body: Bytes) -> Response {
    let Ok(WantedLog { filter }) = serde_json::from_slice(&body) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "send {\"filter\": \"debug\"}: a level, or targets such as \"warn,attache::token=debug\"",
        );
    };
    let changed = match log::change(&filter) {
        Ok(before) => before,
        Err(error @ LogError::Filter(_)) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error) => return foreign_log(&error),
    };
    match log::current() {
        Some(now) => {
            // At warn: the readers of the log have to know why it is another one, whatever its filter.
            tracing::warn!(target: "attache::telemetry", before = changed, filter = now.filter, "the log filter is changed until the next reload");
            Json(ChangedLog { before: changed, now }).into_response()
        }
        None => foreign_log(&LogError::Foreign),
    }
}

fn foreign_log(error: &LogError) -> Response {
    problem(StatusCode::CONFLICT, error.to_string())
}
