//! What is done with a caller's own `Authorization`, counted for each upstream; a series is there from its first request on.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::series::Series;
use super::upstream::UpstreamLabel;

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Replace,
    Keep,
    Reject,
}

impl Action {
    const ALL: [Self; 3] = [Self::Replace, Self::Keep, Self::Reject];

    const fn label(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Reject => "reject",
        }
    }
}

/// The counts of one upstream. A clone counts in the same place.
#[derive(Debug, Clone)]
pub(super) struct ActionCounts(Arc<[AtomicU64; Action::ALL.len()]>);

impl ActionCounts {
    pub(super) fn add(&self, action: Action) {
        self.0[action as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn each(&self) -> impl Iterator<Item = (Action, u64)> {
        let counted = Action::ALL.into_iter().map(|action| (action, self.0[action as usize].load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0)
    }
}

impl Default for ActionCounts {
    fn default() -> Self {
        Self(Arc::new(array::from_fn(|_| AtomicU64::new(0))))
    }
}

/// `attache_caller_authorization_total`.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions(pub(super) Series<UpstreamLabel, ActionCounts>);

impl EncodeMetric for Actions {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut written = Ok(());
        self.0.for_each(|of, counts| {
            let mut encode = |(action, count): (Action, u64)| {
                let labels = [("upstream", &*of.upstream), ("action", action.label())];
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
            };
            written = written.and_then(|()| counts.each().try_for_each(&mut encode));
        });
        written
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        !self.0.any(|counts| counts.each().next().is_some())
    }
}
