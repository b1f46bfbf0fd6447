//! Read views and a few guarded actions, on a listener of their own.
//!
//! | endpoint | answers |
//! |---|---|
//! | `GET /` | the status page, with its files under `/page/` |
//! | `GET /api` | this list |
//! | `GET /api/openapi.json` | the same for programs (`OpenAPI` 3.1) |
//! | `GET /api/events` | `/api/status` once a second, as server-sent events |
//! | `GET /livez`, `GET /healthz` | 200 while the program runs |
//! | `GET /startupz` | 200 for ever once every credential with `required = true` has had a token, until then 503 |
//! | `GET /readyz` | 200 while every credential with `required = true` has a token and the end is not near, else 503; JSON per credential |
//! | the same with `?verbose` | as text, one line for each check |
//! | `GET /metrics` | Prometheus text, or `OpenMetrics` where `Accept` asks for it |
//! | `GET /api/status` | credentials, upstreams, listeners, reloads and what needs attention, as JSON |
//! | `GET /api/requests?since=` | the last requests; they are kept while a page or a command asks |
//! | `GET /api/history?upstream=&credential=` | samples of upstreams, and what happened to credentials' tokens |
//! | `POST /quitquitquit` | has the program finish what is in progress, and end |
//! | `POST /api/reload` | reads the configuration again; 422 if the old one stays |
//! | `GET /api/log` | which filter the log has |
//! | `POST /api/log` | another one until the next reload; 400 if it is none |
//! | `GET /api/explain?method=&url=&listener=&caller=` | what would happen to a request |
//! | `POST /api/credentials/NAME/refresh` | a new token now; 502 where there is none |
//!
//! It runs on the control thread, so it answers while the data path is busy. Token requests do too, so what takes long is made on
//! a blocking thread, once for all who ask at the same time. Guarded by `guard`.

mod api;
mod attention;
mod coding;
mod endpoints;
mod exposition;
mod gauges;
mod guard;
mod history;
mod page;
mod probes;
mod problem;
mod reloads;
mod report;
mod state;
mod status;
mod stopping;
mod verbose;

pub(crate) use api::Admin;
pub(crate) use exposition::Counted;
pub(crate) use history::{HistoryReport, UpstreamSamples};
pub(crate) use problem::{Problem, ProblemType};
pub use reloads::{Reload, ReloadCause};
pub(crate) use reloads::{ReloadRequest, Reloads, TAKE_IT};
pub(crate) use report::{
    Attention, CacheStatus, Counts, CredentialStatus, Latency, ListenerStatus, Readiness, RefusedHost, SharedStatus,
    StatusReport, UpstreamStatus,
};
pub(crate) use state::AdminFacts;
pub(crate) use stopping::Stopping;
