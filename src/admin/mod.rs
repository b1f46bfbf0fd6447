//! Read views and a few guarded actions, on a listener of their own.
//!
//! | endpoint | answers |
//! |---|---|
//! | `GET /` | the status page, with `/page.js` and `/page.css` |
//! | `GET /api` | this list |
//! | `GET /api/openapi.json` | the same for programs (`OpenAPI` 3.1) |
//! | `GET /api/events` | `/api/status` once a second, as server-sent events |
//! | `GET /livez`, `GET /healthz` | 200 while the program runs |
//! | `GET /readyz` | 200 once every credential with `required = true` has a token and until draining begins, else 503; JSON per credential |
//! | `GET /metrics` | Prometheus text, or `OpenMetrics` where `Accept` asks for it |
//! | `GET /api/status` | credentials, upstreams, listeners and reloads as JSON |
//! | `POST /quitquitquit` | has the program finish what is in progress, and end |
//! | `POST /api/reload` | reads the configuration again; 422 if the old one stays |
//! | `GET /api/explain?method=&url=&listener=&caller=` | what would happen to a request |
//! | `POST /api/credentials/NAME/refresh` | a new token now; 502 where there is none |
//!
//! It runs on the control thread, so it answers while the data path is busy. Token requests do too, so what takes long is made on
//! a blocking thread, once for all who ask at the same time. Guarded by `guard`.

mod api;
mod endpoints;
mod exposition;
mod guard;
mod page;
mod problem;
mod reloads;
mod report;
mod state;
mod status;
mod stopping;

pub(crate) use api::Admin;
pub(crate) use exposition::Counted;
pub(crate) use problem::{Problem, ProblemType};
pub use reloads::{Reload, ReloadCause};
pub(crate) use reloads::{ReloadRequest, Reloads, TAKE_IT};
pub(crate) use report::{
    CacheStatus, Counts, CredentialStatus, Latency, ListenerStatus, Readiness, SharedStatus, StatusReport,
    UpstreamStatus,
};
pub(crate) use state::AdminFacts;
pub(crate) use stopping::Stopping;
