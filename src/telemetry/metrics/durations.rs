//! How long requests took: a histogram without a lock, for the library's own takes one for each observation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::exemplars::{Exemplar, Exemplars, TraceId};

/// Upper bounds in seconds. The last one is what `timeouts.response` is unless something else is said.
const BOUNDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A clone counts in the same buckets.
#[derive(Clone, Default)]
pub(crate) struct Durations(Arc<Buckets>);

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    exemplars: Exemplars,
}

impl Durations {
    /// Counts one request.
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = bucket(took);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The trace that a request which took so long is part of, for those that are traced. Never waits.
    pub(crate) fn exemplify(&self, took: Duration, trace: TraceId) {
        self.0.exemplars.note(bucket(took), trace, took);
    }

    /// The newest of each bucket, with the bound of that as it is written.
    pub(super) fn exemplars(&self) -> impl Iterator<Item = (String, Exemplar)> {
        let bounds = BOUNDS.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        bounds.enumerate().filter_map(|(bucket, bound)| Some((bound, self.0.exemplars.of(bucket)?)))
    }

    fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.0.counts[bucket].load(Ordering::Relaxed))
    }
}

fn bucket(took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

/// What has been counted up to a moment, in one or several of them.
#[derive(Debug, Clone, Default)]
pub(in crate::telemetry) struct Tally([u64; BOUNDS.len() + 1]);

impl Tally {
    /// Adds what these have counted.
    pub(super) fn add(&mut self, durations: &Durations) {
        for (sum, count) in self.0.iter_mut().zip(durations.counts()) {
            *sum += count;
        }
    }

    /// What has come since another one of the same.
    pub(in crate::telemetry) fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(before.0[bucket])))
    }

    /// `None` where nothing was counted.
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    pub(in crate::telemetry) fn quantiles(&self) -> Option<Quantiles> {
        let total = self.0.iter().sum::<u64>();
        let at = |share: f64| {
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(self.0) {
                below += count;
                if below as f64 >= share * total as f64 {
                    return *bound;
                }
            }
            BOUNDS[BOUNDS.len() - 1]
        };
        (total > 0).then(|| Quantiles { p50: at(0.5), p95: at(0.95), p99: at(0.99) })
    }
}

/// Quantiles in three bytes: which bucket each is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedQuantiles([u8; 3]);

impl PackedQuantiles {
    /// Nothing was counted.
    const NONE: u8 = u8::MAX;

    pub(in crate::telemetry) fn pack(quantiles: Option<Quantiles>) -> Self {
        let Some(Quantiles { p50, p95, p99 }) = quantiles else { return Self([Self::NONE; 3]) };
        let bucket = |value: f64| BOUNDS.iter().position(|bound| *bound >= value).and_then(|at| u8::try_from(at).ok());
        Self([p50, p95, p99].map(|value| bucket(value).unwrap_or(Self::NONE)))
    }

    pub(crate) fn unpack(self) -> Option<Quantiles> {
        let bound = |bucket: u8| BOUNDS.get(usize::from(bucket)).copied();
        let [p50, p95, p99] = self.0;
        Some(Quantiles { p50: bound(p50)?, p95: bound(p95)?, p99: bound(p99)? })
    }
}

/// In seconds. Each is where a bucket ends: of what took longer than the last bound, only that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").finish_non_exhaustive()
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds needs no 64 bits of precision")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }

    /// Nothing has been counted: seventeen lines of zeros for each of a thousand upstreams say nothing.
    fn is_empty(&self) -> bool {
        self.counts().iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_where_their_buckets_end() {
        let (one, other) = (Durations::default(), Durations::default());
        assert_eq!(Tally::default().quantiles(), None);
        for _ in 0..50 {
            one.observe(Duration::from_millis(80));
        }
        for _ in 0..45 {
            other.observe(Duration::from_millis(300));
        }
        for _ in 0..5 {
            other.observe(Duration::from_mins(2));
        }
        let mut both = Tally::default();
        both.add(&one);
        let before = both.clone();
        both.add(&other);
        let p50 = |tally: &Tally| tally.quantiles().map(|quantiles| quantiles.p50);
        assert_eq!((p50(&before), p50(&both.since(&before))), (Some(0.1), Some(0.5)), "of those in between alone");
        assert_eq!(PackedQuantiles::pack(both.quantiles()).unpack(), both.quantiles());
        assert_eq!(PackedQuantiles::pack(None).unpack(), None);
        assert_eq!(
            both.quantiles(),
            Some(Quantiles { p50: 0.1, p95: 0.5, p99: 60.0 }),
            "beyond the last bucket nothing is known"
        );
    }
}
