//! What is noted of one request, once, when its last byte has gone.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;

use crate::telemetry::{Durations, LaneMetrics};

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
