//! What is noted of one request, once, when its last byte has gone.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::error::{Refusal, RequestId};
use crate::runtime::{Lane, ListenerRuntime};
use crate::telemetry::{Durations, LaneMetrics, UNMATCHED};
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
    pub(super) fn new(began: Instant, metrics: &LaneMetrics, outcome: &Counter) -> Self {
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
pub(super) fn without_token(lane: &Lane, credential: &str, error: &TokenError) {
    let upstream = lane.route.name();
    if lane.without_token.is_due(error.retry_after.unwrap_or(Duration::from_secs(1))) {
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
    lane: Option<&Lane>,
) {
    let metrics = lane.map_or(&listener.metrics, |lane| &lane.metrics);
    let outcome = if refusal.is_denial() { &metrics.denied } else { &metrics.failed };
    drop(Record::new(began, metrics, outcome));
    let upstream = lane.map_or(UNMATCHED, |lane| lane.route.name());
    let quota = lane.map_or(&listener.refusals, |lane| &lane.refusals);
    let shown = quota.take(refusal.status().as_u16());
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
