//! What is counted about shared tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

use super::seal::OpenError;
use crate::sync::{read, write};
use crate::token::TokenOrigin;

/// Besides those of the store's connection:
///
/// | metric | is |
/// |---|---|
/// | `attache_cache_tokens_total` | tokens by how this replica came by them |
/// | `attache_cache_wait_seconds` | how long it waited for another replica's token |
/// | `attache_cache_waits_total` | what came of waiting |
/// | `attache_cache_held_total` | renewals that 401s were not given, because the fleet had had enough of them |
/// | `attache_cache_rejected_total` | values that were not used, by reason |
#[derive(Debug, Clone, Default)]
pub(crate) struct FleetMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    counts: CountsByCredential,
    wait: Family<CredentialLabel, Histogram, fn() -> Histogram>,
    rejected: Family<ReasonLabel, Counter>,
}

/// What came of waiting for another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitOutcome {
    /// Its token.
    Adopted,
    /// Its failure, or that its token is not shared.
    Failed,
    /// It fell silent, and this one asks.
    TookOver,
    /// Nothing, for too long.
    GaveUp,
}

impl WaitOutcome {
    const ALL: [Self; 4] = [Self::Adopted, Self::Failed, Self::TookOver, Self::GaveUp];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Failed => "failed",
            Self::TookOver => "took_over",
            Self::GaveUp => "gave_up",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What is counted of each credential, from its beginning on: numbers in a row, since there may be ten thousand credentials.
#[derive(Debug, Clone, Default)]
struct CountsByCredential(Arc<RwLock<BTreeMap<Box<str>, Counts>>>);

#[derive(Debug, Default)]
struct Counts {
    tokens: [AtomicU64; TokenOrigin::ALL.len()],
    waits: [AtomicU64; WaitOutcome::ALL.len()],
    held: AtomicU64,
}

/// One of these counts, as a metric.
#[derive(Debug)]
struct Column {
    counts: CountsByCredential,
    of: Counted,
}

#[derive(Debug, Clone, Copy)]
enum Counted {
    Tokens,
    Waits,
    Held,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            counts: CountsByCredential::default(),
            wait: Family::new_with_constructor(histogram),
            rejected: Family::default(),
        }
    }
}

impl CountsByCredential {
    fn begin(&self, credential: &str) {
        write(&self.0).entry(credential.into()).or_default();
    }

    fn add(&self, credential: &str, count: impl Fn(&Counts) -> &AtomicU64) {
        let add_to = |counts: &Counts| {
            count(counts).fetch_add(1, Ordering::Relaxed);
        };
        if let Some(counts) = read(&self.0).get(credential) {
            return add_to(counts);
        }
        add_to(write(&self.0).entry(credential.into()).or_default());
    }

    fn column(&self, of: Counted) -> Box<dyn Metric> {
        Box::new(Column { counts: self.clone(), of })
    }
}

impl EncodeMetric for Column {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        for (credential, counts) in &*read(&self.counts.0) {
            let credential = ("credential", &**credential);
            match self.of {
                Counted::Tokens => {
                    for (origin, count) in TokenOrigin::ALL.iter().zip(&counts.tokens) {
                        encode(&mut encoder, &[credential, ("origin", origin.as_str())], count)?;
                    }
                }
                Counted::Waits => {
                    for (outcome, count) in WaitOutcome::ALL.iter().zip(&counts.waits) {
                        encode(&mut encoder, &[credential, ("outcome", outcome.as_str())], count)?;
                    }
                }
                Counted::Held => encode(&mut encoder, &[credential], &counts.held)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

fn encode<const N: usize>(
    encoder: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: &AtomicU64,
) -> std::fmt::Result {
    let count = count.load(Ordering::Relaxed);
    encoder.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
}

/// 5 ms to 20 s: from a token that was nearly there to a leader that died.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl FleetMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 5] {
        let Families { counts, wait, rejected } = &*self.0;
        [
            (
                "cache_tokens",
                "Tokens by credential and by how this replica came by them",
                counts.column(Counted::Tokens),
            ),
            (
                "cache_wait_seconds",
                "How long another replica's token was waited for, by credential",
                Box::new(wait.clone()),
            ),
            (
                "cache_waits",
                "What came of waiting for another replica's token, by credential",
                counts.column(Counted::Waits),
            ),
            (
                "cache_held",
                "Renewals that 401s were not given because the fleet had had enough of them, by credential",
                counts.column(Counted::Held),
            ),
            (
                "cache_rejected",
                "Values from the shared cache that were not used, by reason",
                Box::new(rejected.clone()),
            ),
        ]
    }

    /// Each reason is there from now on, before it has happened.
    pub(super) fn begin(&self) {
        for reason in OpenError::REASONS {
            drop(self.0.rejected.get_or_create(&ReasonLabel { reason }));
        }
    }

    /// The same for all that can come of this credential's questions.
    pub(crate) fn begin_credential(&self, credential: &str) {
        self.0.counts.begin(credential);
    }

    pub(super) fn token(&self, credential: &str, origin: TokenOrigin) {
        self.0.counts.add(credential, |counts| &counts.tokens[origin as usize]);
    }

    pub(super) fn waited(&self, credential: &str, took: Duration, outcome: WaitOutcome) {
        self.0.wait.get_or_create(&CredentialLabel { credential: credential.into() }).observe(took.as_secs_f64());
        self.0.counts.add(credential, |counts| &counts.waits[outcome as usize]);
    }

    pub(super) fn held(&self, credential: &str) {
        self.0.counts.add(credential, |counts| &counts.held);
    }

    pub(super) fn rejected(&self, error: OpenError) {
        self.0.rejected.get_or_create(&ReasonLabel { reason: error.as_str() }).inc();
    }

    pub(super) fn too_large(&self) {
        self.rejected(OpenError::TooLarge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_come_of_a_shared_credential_is_there_before_it_has_happened() {
        let metrics = FleetMetrics::default();
        metrics.begin();
        metrics.begin_credential("orders");
        metrics.token("orders", TokenOrigin::Led);
        metrics.waited("stock", Duration::from_secs(1), WaitOutcome::TookOver);
        let mut registry = prometheus_client::registry::Registry::default();
        crate::telemetry::family::register(&mut registry, metrics.families());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for series in [
            "cache_tokens_total{credential=\"orders\",origin=\"adopted\"} 0",
            "cache_tokens_total{credential=\"orders\",origin=\"led\"} 1",
            "cache_tokens_total{credential=\"orders\",origin=\"alone\"} 0",
            "cache_waits_total{credential=\"orders\",outcome=\"took_over\"} 0",
            "cache_waits_total{credential=\"orders\",outcome=\"gave_up\"} 0",
            "cache_waits_total{credential=\"stock\",outcome=\"took_over\"} 1",
            "cache_waits_total{credential=\"stock\",outcome=\"adopted\"} 0",
            "cache_held_total{credential=\"orders\"} 0",
            "cache_rejected_total{reason=\"unknown_key\"} 0",
            "cache_rejected_total{reason=\"too_large\"} 0",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
    }
}
