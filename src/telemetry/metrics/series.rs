//! A family of metrics by labels that can be read back: the library's own cannot be iterated over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::sync::{read, write};

/// A clone is the same family.
#[derive(Debug)]
pub(super) struct Series<L, M>(Arc<RwLock<BTreeMap<L, M>>>);

impl<L: Ord, M: Clone + Default> Series<L, M> {
    /// The handle of these labels; what is counted with it is in the family.
    pub(super) fn get(&self, labels: L) -> M {
        if let Some(metric) = read(&self.0).get(&labels) {
            return metric.clone();
        }
        write(&self.0).entry(labels).or_default().clone()
    }

    pub(super) fn for_each(&self, mut look: impl FnMut(&L, &M)) {
        for (labels, metric) in read(&self.0).iter() {
            look(labels, metric);
        }
    }

    /// True if this holds for one of them.
    pub(super) fn any(&self, holds: impl FnMut(&M) -> bool) -> bool {
        read(&self.0).values().any(holds)
    }
}

impl<L, M> Clone for Series<L, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L, M> Default for Series<L, M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<L, M: TypedMetric> TypedMetric for Series<L, M> {
    const TYPE: MetricType = M::TYPE;
}

impl<L: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Series<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let all = read(&self.0);
        let mut shown = all.iter().filter(|(_, metric)| !metric.is_empty());
        shown.try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        read(&self.0).values().all(EncodeMetric::is_empty)
    }
}
