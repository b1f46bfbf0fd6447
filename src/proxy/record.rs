//! What is noted of one request, once, when its last byte has gone.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::proxy::error::{Refusal, RequestId};
use crate::runtime::{ListenerRoute, ListenerRuntime};
use crate::telemetry::{Durations, RouteMetrics, UNMATCHED};
use crate::token::TokenError;

/// Measures a request from its head to the end of its response. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    durations: Durations,
}

impl Record {
    /// Counts the outcome now; the duration follows when the record is dropped.
    #[must_use]
    pub(super) fn new(began: Instant, metrics: &RouteMetrics, outcome: &Counter) -> Self {
        outcome.inc();
        Self { began, durations: metrics.durations.clone() }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.durations.observe(self.began.elapsed());
    }
}

/// Logs that a request goes out without a token: loudly once for each back-off of the token requests.
pub(super) fn without_token(listener_route: &ListenerRoute, credential: &str, error: &TokenError) {
    let upstream = listener_route.route.name();
    if listener_route.without_token.take_for((), error.retry_after.unwrap_or(Duration::from_secs(1))).is_some() {
        tracing::warn!(target: "attache::proxy", upstream, credential, "requests go out without a token for now, as on_token_error says: {error}");
    } else {
        tracing::debug!(target: "attache::proxy", upstream, credential, "a request goes out without a token: {error}");
    }
}

/// Counts and logs a refusal, once. Of many of a kind, most are logged at debug.
pub(super) fn refusal(
    listener: &ListenerRuntime,
    refusal: &Refusal,
    request_id: &RequestId,
    began: Instant,
    listener_route: Option<&ListenerRoute>,
) {
    let metrics = listener_route.map_or(&listener.metrics, |listener_route| &listener_route.metrics);
    let outcome = if refusal.is_denial() { &metrics.denied } else { &metrics.failed };
    drop(Record::new(began, metrics, outcome));
    let upstream = listener_route.map_or(UNMATCHED, |listener_route| listener_route.route.name());
    let throttle = listener_route.map_or(&listener.refusals, |listener_route| &listener_route.refusals);
    let shown = throttle.take(refusal.status().as_u16());
    let (listener, status, request_id) = (&listener.name, refusal.status().as_u16(), request_id.text());
    let (word, detail) = (if refusal.is_denial() { "refused" } else { "failed" }, refusal.detail());
    match shown {
        None => tracing::debug!(target: "attache::proxy", %listener, upstream, status, request_id, "{word}: {detail}"),
        Some(suppressed) if refusal.is_denial() => {
            tracing::info!(target: "attache::proxy", %listener, upstream, status, request_id, suppressed, "{word}: {detail}");
        }
        Some(suppressed) => {
            tracing::warn!(target: "attache::proxy", %listener, upstream, status, request_id, suppressed, "{word}: {detail}");
        }
    }
}
