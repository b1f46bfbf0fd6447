//! What is counted about shared tokens.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

use super::seal::OpenError;
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
    tokens: Family<OriginLabels, Counter>,
    wait: Family<CredentialLabel, Histogram, fn() -> Histogram>,
    waits: Family<WaitLabels, Counter>,
    held: Family<CredentialLabel, Counter>,
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
struct OriginLabels {
    credential: String,
    origin: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    credential: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            tokens: Family::default(),
            wait: Family::new_with_constructor(histogram),
            waits: Family::default(),
            held: Family::default(),
            rejected: Family::default(),
        }
    }
}

/// 5 ms to 20 s: from a token that was nearly there to a leader that died.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl FleetMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 5] {
        let Families { tokens, wait, waits, held, rejected } = &*self.0;
        [
            ("cache_tokens", "Tokens by credential and by how this replica came by them", Box::new(tokens.clone())),
            (
                "cache_wait_seconds",
                "How long another replica's token was waited for, by credential",
                Box::new(wait.clone()),
            ),
            ("cache_waits", "What came of waiting for another replica's token, by credential", Box::new(waits.clone())),
            (
                "cache_held",
                "Renewals that 401s were not given because the fleet had had enough of them, by credential",
                Box::new(held.clone()),
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
        for origin in TokenOrigin::ALL {
            drop(self.0.tokens.get_or_create(&OriginLabels { credential: credential.into(), origin: origin.as_str() }));
        }
        for outcome in WaitOutcome::ALL {
            let labels = WaitLabels { credential: credential.into(), outcome: outcome.as_str() };
            drop(self.0.waits.get_or_create(&labels));
        }
        drop(self.0.held.get_or_create(&CredentialLabel { credential: credential.into() }));
    }

    pub(super) fn token(&self, credential: &str, origin: TokenOrigin) {
        let labels = OriginLabels { credential: credential.into(), origin: origin.as_str() };
        self.0.tokens.get_or_create(&labels).inc();
    }

    pub(super) fn waited(&self, credential: &str, took: Duration, outcome: WaitOutcome) {
        self.0.wait.get_or_create(&CredentialLabel { credential: credential.into() }).observe(took.as_secs_f64());
        self.0.waits.get_or_create(&WaitLabels { credential: credential.into(), outcome: outcome.as_str() }).inc();
    }

    pub(super) fn held(&self, credential: &str) {
        self.0.held.get_or_create(&CredentialLabel { credential: credential.into() }).inc();
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
        let mut registry = prometheus_client::registry::Registry::default();
        crate::telemetry::family::register(&mut registry, metrics.families());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for series in [
            "cache_tokens_total{credential=\"orders\",origin=\"adopted\"} 0",
            "cache_tokens_total{credential=\"orders\",origin=\"led\"} 0",
            "cache_tokens_total{credential=\"orders\",origin=\"alone\"} 0",
            "cache_waits_total{credential=\"orders\",outcome=\"took_over\"} 0",
            "cache_waits_total{credential=\"orders\",outcome=\"gave_up\"} 0",
            "cache_held_total{credential=\"orders\"} 0",
            "cache_rejected_total{reason=\"unknown_key\"} 0",
            "cache_rejected_total{reason=\"too_large\"} 0",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
    }
}
