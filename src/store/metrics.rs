//! What is counted about the connection to the store and what it is asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

use super::error::StoreError;

/// | metric | is |
/// |---|---|
/// | `attache_cache_up` | 1 with a connection, 0 without |
/// | `attache_cache_operations_total` | questions, by what was asked and its outcome |
/// | `attache_cache_operation_duration_seconds` | how long those took that were sent |
/// | `attache_cache_reconnects_total` | connections that took the place of another, by why that was given up |
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    up: Up,
    operations: Family<OperationLabels, Counter>,
    duration: Family<OperationLabel, Histogram, fn() -> Histogram>,
    reconnects: Family<CauseLabel, Counter>,
}

/// Without a store there is nothing that could be up or down: it is not there before it is set.
#[derive(Debug, Clone, Default)]
struct Up {
    gauge: Gauge,
    is_set: Arc<AtomicBool>,
}

impl Up {
    fn set(&self, up: bool) {
        self.gauge.set(i64::from(up));
        self.is_set.store(true, Ordering::Relaxed);
    }
}

impl EncodeMetric for Up {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.gauge.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.gauge.metric_type()
    }

    fn is_empty(&self) -> bool {
        !self.is_set.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            up: Up::default(),
            operations: Family::default(),
            duration: Family::new_with_constructor(histogram),
            reconnects: Family::default(),
        }
    }
}

/// 0.1 ms to 6.5 s: from a server on this machine to the longest time limit.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

impl StoreMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 4] {
        [
            ("cache_up", "1 with a connection to the shared cache, 0 without", Box::new(self.0.up.clone())),
            (
                "cache_operations",
                "Questions to the shared cache by operation and outcome",
                Box::new(self.0.operations.clone()),
            ),
            (
                "cache_operation_duration_seconds",
                "How long questions to the shared cache took, by operation",
                Box::new(self.0.duration.clone()),
            ),
            (
                "cache_reconnects",
                "Connections to the shared cache that took the place of another, by why that was given up",
                Box::new(self.0.reconnects.clone()),
            ),
        ]
    }

    pub(super) fn up(&self, up: bool) {
        self.0.up.set(up);
    }

    pub(super) fn reconnected(&self, cause: &'static str) {
        self.0.reconnects.get_or_create(&CauseLabel { cause }).inc();
    }

    /// One question; `took` is `None` for one that was not sent.
    pub(super) fn asked(&self, operation: &'static str, took: Option<Duration>, error: Option<&StoreError>) {
        let outcome = match error {
            None => "ok",
            Some(StoreError::Timeout) => "timeout",
            Some(StoreError::Away | StoreError::Broken) => "unavailable",
            Some(StoreError::Refused(_) | StoreError::Unexpected) => "refused",
        };
        self.0.operations.get_or_create(&OperationLabels { operation, outcome }).inc();
        if let Some(took) = took {
            self.0.duration.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
        }
    }
}
