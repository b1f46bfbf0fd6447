//! Read views and a few guarded actions, on a listener of their own.
//!
//! | endpoint | answers |
//! |---|---|
//! | `GET /` | the status page, with `/page.js` and `/page.css` |
//! | `GET /api` | this list |
//! | `GET /api/openapi.json` | the same for programs (`OpenAPI` 3.1) |
//! | `GET /api/events` | `/api/status` once a second, as server-sent events |
//! | `GET /livez`, `GET /healthz` | 200 while the program runs |
//! | `GET /readyz` | 200 once every credential with `required = true` has a token, else 503; JSON per credential |
//! | `GET /metrics` | Prometheus text, or `OpenMetrics` where `Accept` asks for it |
//! | `GET /api/status` | credentials, upstreams, listeners and reloads as JSON |
//! | `POST /api/reload` | reads the configuration again; 422 if the old one stays |
//! | `GET /api/explain?method=&url=&listener=&caller=` | what would happen to a request |
//! | `POST /api/credentials/NAME/refresh` | a new token now; 502 where there is none |
//!
//! It runs on the control thread, so it answers while the data path is busy. Token requests do too, so what takes long is made on
//! a blocking thread, once for all who ask at the same time. Guarded by `guard`.

mod exposition;
mod guard;
mod page;
mod reloads;
mod status;

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::listen::{self, CallerConnection, ConnectionHandler, Handler, Incoming, Listening, Serving, Unreadable};
use crate::proxy::{explain, malformed};
use crate::runtime::SharedRuntime;
use crate::secret::{Secret, SecretError, SecretSource};
use crate::telemetry::{RecentRequests, RequestMetrics};
use crate::together::Together;
use crate::token::TokenMetrics;

pub use reloads::{Reload, ReloadCause};
pub(crate) use reloads::{ReloadRequest, Reloads};
pub(crate) use status::{CredentialStatus, StatusReport};

use self::exposition::Exposition;
use self::guard::Guard;
use self::page::Newest;

/// What the admin API knows besides the runtime.
#[derive(Debug)]
pub(crate) struct AdminFacts {
    listening: Listening,
    reloads: Arc<Reloads>,
    guard: Guard,
    metrics: RequestMetrics,
    token_metrics: TokenMetrics,
    /// What is kept of requests while somebody looks.
    pub(crate) recent: RecentRequests,
    /// How many may look at the status page at a time: fewer than the listener has connections, so that it goes on answering.
    pub(crate) watchers: usize,
}

impl AdminFacts {
    /// `local` says that the admin listener can only be reached from this machine.
    ///
    /// # Errors
    /// When `admin.token` cannot be read.
    pub(crate) fn new(
        listening: Listening,
        reloads: Arc<Reloads>,
        token: Option<&SecretSource>,
        local: bool,
        metrics: RequestMetrics,
        token_metrics: TokenMetrics,
    ) -> Result<Self, SecretError> {
        let token: Option<Secret> = token.map(SecretSource::read).transpose()?;
        Ok(Self {
            listening,
            reloads,
            guard: Guard::new(token.as_ref(), local),
            metrics,
            token_metrics,
            recent: RecentRequests::default(),
            watchers: 16,
        })
    }
}

/// What a request to the admin listener may bring along, and how long that may take.
const BODY_BYTES: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);

/// The admin listener's handler.
pub(crate) struct Admin {
    service: TowerToHyperService<Router>,
}

struct Shared {
    facts: AdminFacts,
    runtime: SharedRuntime,
    exposition: Exposition,
    prometheus: Together<Bytes>,
    open_metrics: Together<Bytes>,
    reports: Together<Bytes>,
    news: Together<Bytes>,
    newest: Mutex<Newest>,
    watchers: Arc<Semaphore>,
}

impl Shared {
    /// `/api/status`, written.
    fn report(&self) -> Bytes {
        serde_json::to_vec(&self.status()).map(Bytes::from).unwrap_or_default()
    }

    fn status(&self) -> StatusReport {
        let metrics = self.exposition.text(false);
        let recent = self.facts.recent.watch();
        StatusReport::new(&self.runtime.current(), &self.facts.listening, &self.facts.reloads, &metrics, recent)
    }
}

type AdminState = State<Arc<Shared>>;

impl Admin {
    /// The API over what is running.
    #[must_use]
    pub(crate) fn new(facts: AdminFacts, runtime: SharedRuntime) -> Self {
        let exposition = Exposition::new(&facts.metrics, &facts.token_metrics, runtime.clone());
        let guard = facts.guard.clone();
        let watchers = Arc::new(Semaphore::new(facts.watchers.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared {
            facts,
            runtime,
            exposition,
            prometheus: Together::default(),
            open_metrics: Together::default(),
            reports: Together::default(),
            news: Together::default(),
            newest: Mutex::default(),
            watchers,
        });
        let router = Router::new()
            .route("/", get(page::page))
            .route("/page.js", get(page::script))
            .route("/page.css", get(page::style))
            .route("/api", get(index))
            .route("/api/openapi.json", get(description))
            .route("/api/events", get(page::events))
            .route("/livez", get(alive))
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/api/status", get(report))
            .route("/api/explain", get(explain_request))
            .route("/api/credentials/{name}/refresh", post(refresh))
            .route("/api/reload", post(reload))
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .with_state(shared)
            .layer(middleware::from_fn_with_state(guard, guard::check));
        Self { service: TowerToHyperService::new(router) }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl ConnectionHandler for Admin {
    async fn serve<S>(self: Rc<Self>, stream: S, caller: Arc<CallerConnection>, serving: Serving)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        listen::serve_http(stream, BytesMut::new(), self, caller, serving).await;
    }
}

impl Handler for Admin {
    type Body = axum::body::Body;

    async fn handle(&self, request: Request<Incoming>, _: &Arc<CallerConnection>) -> Response<axum::body::Body> {
        let (head, body) = request.into_parts();
        // No action takes more than a few words, so what comes is read here, within bounds.
        let read = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
        let body = match read {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large or broke off"),
            Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"),
        };
        match self.service.call(Request::from_parts(head, axum::body::Body::from(body))).await {
            Ok(response) => response,
        }
    }

    fn malformed(why: Unreadable) -> Bytes {
        malformed(why)
    }
}

async fn index() -> &'static str {
    concat!(
        "attache ",
        env!("CARGO_PKG_VERSION"),
        "\n\nGET  /   the status page\nGET  /livez  /healthz  /readyz  /metrics\nGET  /api/status   /api/events   /api/openapi.json\nGET  /api/explain?method=GET&url=http://HOST/PATH\n\
         POST /api/credentials/NAME/refresh   POST /api/reload   (Content-Type: application/json)\n"
    )
}

async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

async fn unknown(uri: http::Uri) -> axum::response::Response {
    problem(StatusCode::NOT_FOUND, &format!("there is nothing at {:?}; GET /api lists what there is", uri.path()))
}

async fn wrong_method(method: http::Method, uri: http::Uri) -> axum::response::Response {
    let detail = format!("{:?} does not take {method}; GET /api lists what there is", uri.path());
    problem(StatusCode::METHOD_NOT_ALLOWED, &detail)
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(shared): AdminState) -> impl IntoResponse {
    let runtime = shared.runtime.current();
    let credentials = status::credentials(&runtime);
    let ready = credentials.iter().all(|credential| !credential.required || credential.usable);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({ "ready": ready, "credentials": credentials })))
}

async fn metrics(State(shared): AdminState, headers: http::HeaderMap) -> axum::response::Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open_metrics = accepts.contains("application/openmetrics-text");
    let (together, content_type) = if open_metrics {
        (&shared.open_metrics, exposition::OPEN_METRICS)
    } else {
        (&shared.prometheus, exposition::PROMETHEUS)
    };
    let of = Arc::clone(&shared);
    made(content_type, together.get(move || of.exposition.text(open_metrics).into()).await)
}

async fn report(State(shared): AdminState) -> axum::response::Response {
    let of = Arc::clone(&shared);
    made("application/json", shared.reports.get(move || of.report()).await)
}

/// What was made for all who asked.
fn made(content_type: &'static str, content: Option<Bytes>) -> axum::response::Response {
    match content {
        Some(content) => ([(header::CONTENT_TYPE, content_type)], content).into_response(),
        None => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "too many ask for this at the same time; ask again in a moment")
        }
    }
}

#[derive(Deserialize)]
struct Question {
    method: Option<String>,
    url: Option<String>,
    listener: Option<String>,
    caller: Option<String>,
}

async fn explain_request(
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
        return problem(StatusCode::BAD_REQUEST, &format!("{method:?} is no method"));
    };
    let (listener, caller) = (listener.as_deref(), caller.as_deref());
    let question = explain::Question { listener, caller, method: &method, target: &url };
    match explain::answer(&runtime, &question) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error),
    }
}

async fn refresh(State(shared): AdminState, Path(name): Path<String>) -> impl IntoResponse {
    let runtime = shared.runtime.current();
    let Some(credential) = runtime.credentials.iter().find(|credential| credential.name == name) else {
        return problem(StatusCode::NOT_FOUND, &format!("there is no credential {name:?}"));
    };
    match credential.force_refresh().await {
        Ok(()) => Json(CredentialStatus::new(credential)).into_response(),
        Err(error) => problem(StatusCode::BAD_GATEWAY, &error.message),
    }
}

/// 422 with all problems where the old configuration stays.
async fn reload(State(shared): AdminState) -> axum::response::Response {
    let outcome = shared.facts.reloads.ask(ReloadCause::Api).await;
    if outcome.ok {
        return Json(outcome).into_response();
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let document = serde_json::json!({
        "type": "about:blank",
        "title": "The configuration is not reloaded",
        "status": status.as_u16(),
        "detail": format!("the old configuration stays in use: {}", outcome.problems.join("; ")),
        "problems": outcome.problems,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
}

/// Errors are problem documents here too (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> axum::response::Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let document =
        serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
}
