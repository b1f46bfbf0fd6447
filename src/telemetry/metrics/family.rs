//! Families of metrics as values, for the registry that `/metrics` is written from.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry};

/// Its name without the product's prefix, what it counts, and itself.
pub(crate) type Family = (&'static str, &'static str, Box<dyn Metric>);

/// Puts families into a registry. One that has no series yet is not written.
pub(crate) fn register(registry: &mut Registry, families: impl IntoIterator<Item = Family>) {
    for (name, help, metric) in families {
        registry.register(name, help, AnyMetric { metric, even_if_empty: false });
    }
}

/// The same, and each is written, whether it has a series or not: for the reference page.
#[cfg(test)]
pub(crate) fn describe(registry: &mut Registry, families: impl IntoIterator<Item = Family>) {
    for (name, help, metric) in families {
        registry.register(name, help, AnyMetric { metric, even_if_empty: true });
    }
}

#[derive(Debug)]
struct AnyMetric {
    metric: Box<dyn Metric>,
    even_if_empty: bool,
}

impl EncodeMetric for AnyMetric {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.metric.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.metric.metric_type()
    }

    fn is_empty(&self) -> bool {
        !self.even_if_empty && self.metric.is_empty()
    }
}
