//! What is counted about token requests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

use super::error::TokenErrorKind;

/// For every credential:
///
/// | metric | is |
/// |---|---|
/// | `attache_token_requests_total` | token requests, by outcome |
/// | `attache_token_request_duration_seconds` | how long they took |
/// | `attache_token_requests_withheld_total` | those that were not sent, because `budget` was spent |
/// | `attache_token_scope_narrowed_total` | tokens with less scope than was asked for |
/// | `attache_token_clock_skew_seconds` | by how much the server's clock is ahead of this machine's; negative: behind |
#[derive(Debug, Clone, Default)]
pub struct TokenMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    requests: Family<RequestLabels, Counter>,
    duration: Family<CredentialLabel, Histogram, fn() -> Histogram>,
    withheld: Family<CredentialLabel, Counter>,
    scope_narrowed: Family<CredentialLabel, Counter>,
    clock_skew: Family<CredentialLabel, Gauge>,
    observer: OnceLock<Observer>,
}

/// Told of every token request that has ended.
struct Observer(Box<Told>);

type Told = dyn Fn(&TokenRequestEnd<'_>) + Send + Sync;

/// One token request that has ended.
#[derive(Debug)]
pub(crate) struct TokenRequestEnd<'a> {
    pub(crate) credential: &'a str,
    pub(crate) took: Duration,
    /// `success`, or the kind of failure.
    pub(crate) outcome: &'static str,
    /// Host and port of the server that was asked.
    pub(crate) server: Option<(&'a str, u16)>,
    /// Of the answer, if there was one.
    pub(crate) status: Option<u16>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
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

impl Default for Families {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            withheld: Family::default(),
            scope_narrowed: Family::default(),
            clock_skew: Family::default(),
            observer: OnceLock::new(),
        }
    }
}

/// The outcome of a token request that is no kind of failure.
pub(super) const SUCCESS: &str = "success";

/// 5 ms to 20 s: from an authorization server next door to one that is nearly down.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl TokenMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 5] {
        [
            ("token_requests", "Token requests by credential and outcome", Box::new(self.0.requests.clone())),
            (
                "token_request_duration_seconds",
                "How long token requests took, by credential",
                Box::new(self.0.duration.clone()),
            ),
            (
                "token_requests_withheld",
                "Token requests that were not sent because the budget was spent, by credential",
                Box::new(self.0.withheld.clone()),
            ),
            (
                "token_scope_narrowed",
                "Tokens that came with less scope than was asked for, by credential",
                Box::new(self.0.scope_narrowed.clone()),
            ),
            (
                "token_clock_skew_seconds",
                "By how much the authorization server's clock is ahead of this machine's, by credential",
                Box::new(self.0.clock_skew.clone()),
            ),
        ]
    }

    /// From zero on, so that the first failure of a credential is an increase.
    pub(crate) fn begin(&self, credential: &str) {
        for outcome in [SUCCESS].into_iter().chain(TokenErrorKind::OF_REQUESTS.map(TokenErrorKind::as_str)) {
            drop(self.0.requests.get_or_create(&RequestLabels { credential: credential.into(), outcome }));
        }
    }

    /// Has `observer` called for every token request from now on; only the first observer counts.
    pub(crate) fn observe(&self, observer: impl Fn(&TokenRequestEnd<'_>) + Send + Sync + 'static) {
        let _others = self.0.observer.set(Observer(Box::new(observer)));
    }

    /// Counts one token request.
    pub(super) fn record(&self, ended: &TokenRequestEnd<'_>) {
        let TokenRequestEnd { credential, took, outcome, .. } = *ended;
        if let Some(Observer(observer)) = self.0.observer.get() {
            observer(ended);
        }
        self.0.requests.get_or_create(&RequestLabels { credential: credential.into(), outcome }).inc();
        self.0.duration.get_or_create(&CredentialLabel { credential: credential.into() }).observe(took.as_secs_f64());
    }

    /// Counts one token request that was not sent.
    pub(super) fn withheld(&self, credential: &str) {
        self.0.withheld.get_or_create(&CredentialLabel { credential: credential.into() }).inc();
    }

    /// Counts one token that can do less than was asked for.
    pub(super) fn scope_narrowed(&self, credential: &str) {
        self.0.scope_narrowed.get_or_create(&CredentialLabel { credential: credential.into() }).inc();
    }

    /// How far the server's clock was ahead, by its newest answer.
    pub(super) fn clock_skew(&self, credential: &str, seconds: i64) {
        self.0.clock_skew.get_or_create(&CredentialLabel { credential: credential.into() }).set(seconds);
    }
}
