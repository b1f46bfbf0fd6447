//! The status page: files without a build step, which ask this listener alone. What they show comes as server-sent events,
//! once a second while the page is open: the same for each page that is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::problem::problem;
use super::state::{AdminState, Shared};
use crate::sync::lock;

/// Nothing from elsewhere, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How often there is news.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn page() -> Response {
    served("text/html; charset=utf-8", include_str!("page.html"))
}

/// The files that the page is made of, by name.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match name.as_str() {
        "page.css" => served("text/css; charset=utf-8", include_str!("page.css")),
        "main.js" => served(SCRIPT, include_str!("main.js")),
        "ask.js" => served(SCRIPT, include_str!("ask.js")),
        "elements.js" => served(SCRIPT, include_str!("elements.js")),
        "chart.js" => served(SCRIPT, include_str!("chart.js")),
        "timeline.js" => served(SCRIPT, include_str!("timeline.js")),
        "overview.js" => served(SCRIPT, include_str!("overview.js")),
        "credentials.js" => served(SCRIPT, include_str!("credentials.js")),
        "upstreams.js" => served(SCRIPT, include_str!("upstreams.js")),
        "requests.js" => served(SCRIPT, include_str!("requests.js")),
        _ => problem(StatusCode::NOT_FOUND, "the page has no such file"),
    }
}

fn served(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

/// What has been made for one is fresh enough for all who ask within this time.
const MAX_AGE: Duration = Duration::from_millis(900);

/// `/api/status` again and again. Those who look are few: each holds a connection for as long as it does.
pub(super) async fn events(State(shared): AdminState) -> Response {
    let Ok(place) = Arc::clone(&shared.watchers).try_acquire_owned() else {
        let detail = "as many are looking as may at the same time; close another page, or ask /api/status";
        return problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    };
    Sse::new(news(shared, place)).keep_alive(KeepAlive::default()).into_response()
}

fn news(shared: Arc<Shared>, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold((shared, place, true), async |(shared, place, first)| {
        if !first {
            tokio::time::sleep(EVENT_INTERVAL).await;
        }
        // Without a report this time there is one the next time.
        let report = newest(&shared).await.unwrap_or_default();
        let event = std::str::from_utf8(&report).map(|report| Event::default().data(report)).unwrap_or_default();
        Some((Ok(event), (shared, place, false)))
    })
}

async fn newest(shared: &Arc<Shared>) -> Option<Bytes> {
    let of = Arc::clone(shared);
    let make = move || {
        let mut newest = lock(&of.newest);
        if let Some((_, report)) = newest.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE) {
            return report.clone();
        }
        let report = of.report();
        *newest = Some((Instant::now(), report.clone()));
        report
    };
    shared.news.get(make).await
}
