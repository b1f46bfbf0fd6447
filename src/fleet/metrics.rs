//! What is counted about shared tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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
/// | `attache_cache_replicas` | replicas, by the newest heartbeat |
/// | `attache_cache_clock_skew_seconds` | by how much the store's clock is ahead of this machine's |
#[derive(Debug, Clone, Default)]
pub(crate) struct FleetMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    tokens: Family<OriginLabels, Counter>,
    wait: Family<CredentialLabel, Histogram, fn() -> Histogram>,
    waits: Family<WaitLabels, Counter>,
    held: Family<CredentialLabel, Counter>,
    rejected: Family<ReasonLabel, Counter>,
    replicas: Gauge<i64, AtomicI64>,
    clock_skew: Gauge<f64, AtomicU64>,
}

/// What came of waiting for another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitOutcome {
    /// Its token.
    Adopted,
    /// Its failure.
    Failed,
    /// It fell silent, and this one asks.
    TookOver,
    /// Nothing, for too long.
    GaveUp,
}

impl WaitOutcome {
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
            replicas: Gauge::default(),
            clock_skew: Gauge::default(),
        }
    }
}

/// 5 ms to 20 s: from a token that was nearly there to a leader that died.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl FleetMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 7] {
        let Families { tokens, wait, waits, held, rejected, replicas, clock_skew } = &*self.0;
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
            ("cache_replicas", "Replicas that share tokens, by the newest heartbeat", Box::new(replicas.clone())),
            (
                "cache_clock_skew_seconds",
                "By how much the shared cache's clock is ahead of this machine's",
                Box::new(clock_skew.clone()),
            ),
        ]
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

    pub(super) fn beat(&self, replicas: u32, skew: f64) {
        self.0.replicas.set(replicas.into());
        self.0.clock_skew.set(skew);
    }
}
