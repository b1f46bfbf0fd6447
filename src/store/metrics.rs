//! What is counted about the connection to the store and what it is asked.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

use super::error::StoreError;
use super::fault::Loss;

/// | metric | is |
/// |---|---|
/// | `attache_cache_operations_total` | questions, by what was asked and its outcome |
/// | `attache_cache_operation_duration_seconds` | how long those took that were sent |
/// | `attache_cache_reconnects_total` | connections that took the place of another, by why that was given up |
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    operations: Family<OperationLabels, Counter>,
    duration: Family<OperationLabel, Histogram, fn() -> Histogram>,
    reconnects: Family<CauseLabel, Counter>,
}

const OK: &str = "ok";
const TIMEOUT: &str = "timeout";
const UNAVAILABLE: &str = "unavailable";
const REFUSED: &str = "refused";
const OUTCOMES: [&str; 4] = [OK, TIMEOUT, UNAVAILABLE, REFUSED];

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
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 3] {
        [
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

    /// Each outcome of these questions is there from now on, before it has happened.
    pub(crate) fn begin(&self, operations: impl IntoIterator<Item = &'static str>) {
        for operation in operations {
            for outcome in OUTCOMES {
                drop(self.0.operations.get_or_create(&OperationLabels { operation, outcome }));
            }
        }
        for cause in Loss::CAUSES {
            drop(self.0.reconnects.get_or_create(&CauseLabel { cause }));
        }
    }

    pub(super) fn reconnected(&self, cause: &'static str) {
        self.0.reconnects.get_or_create(&CauseLabel { cause }).inc();
    }

    /// One question; `took` is `None` for one that was not sent.
    pub(super) fn asked(&self, operation: &'static str, took: Option<Duration>, error: Option<&StoreError>) {
        let outcome = match error {
            None => OK,
            Some(StoreError::Timeout) => TIMEOUT,
            Some(StoreError::Away | StoreError::Broken) => UNAVAILABLE,
            Some(StoreError::Refused(_) | StoreError::Unexpected) => REFUSED,
        };
        self.0.operations.get_or_create(&OperationLabels { operation, outcome }).inc();
        if let Some(took) = took {
            self.0.duration.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
        }
    }
}
