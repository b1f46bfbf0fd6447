//! What is counted about token requests.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::TokenError;

/// `attache_token_requests_total` and `attache_token_request_duration_seconds`, for every credential.
#[derive(Debug, Clone)]
pub struct TokenMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<CredentialLabel, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    credential: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}

impl Default for TokenMetrics {
    fn default() -> Self {
        Self { requests: Family::default(), duration: Family::new_with_constructor(histogram) }
    }
}

/// 5 ms to 20 s: from an authorization server next door to one that is nearly down.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl TokenMetrics {
    /// Puts the families into a registry that already has the product's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("token_requests", "Token requests by credential and outcome", self.requests.clone());
        registry.register(
            "token_request_duration_seconds",
            "How long token requests took, by credential",
            self.duration.clone(),
        );
    }

    /// Counts one token request.
    pub(super) fn record(&self, credential: &str, took: Duration, error: Option<&TokenError>) {
        let outcome = error.map_or("success", |error| error.kind.as_str());
        self.requests.get_or_create(&RequestLabels { credential: credential.into(), outcome }).inc();
        self.duration.get_or_create(&CredentialLabel { credential: credential.into() }).observe(took.as_secs_f64());
    }
}
