//! The status page: three files without a build step, which ask nobody but this listener. What they show comes as server-sent
//! events, once a second while somebody looks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;

use super::{AdminState, Shared};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How often there is news.
const NEWS: Duration = Duration::from_secs(1);

pub(super) async fn page() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("page.html"))
}

pub(super) async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(super) async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("page.css"))
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text)
}

/// `/api/status` again and again.
pub(super) async fn events(State(shared): AdminState) -> impl IntoResponse {
    Sse::new(news(shared)).keep_alive(KeepAlive::default())
}

fn news(shared: Arc<Shared>) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold((shared, true), async |(shared, first)| {
        if !first {
            tokio::time::sleep(NEWS).await;
        }
        let event = Event::default().json_data(shared.status()).unwrap_or_default();
        Some((Ok(event), (shared, false)))
    })
}
