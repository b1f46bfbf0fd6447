//! What is counted about requests. Handles are resolved when a configuration is built; the request path only adds to
//! atomics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// The label of requests that no upstream covers.
pub(crate) const UNMATCHED: &str = "-";

/// The families that the data path counts in.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Durations>,
    unauthorized: Family<UnauthorizedLabels, Counter>,
    tunnels: Family<TunnelLabels, Counter>,
    caller_authorization: Family<ActionLabels, Counter>,
    would_deny: Family<ListenerLabel, Counter>,
    reloads: Family<OutcomeLabel, Counter>,
    caller_authentication: Family<AttemptLabels, Counter>,
    upstream_connections: Family<UpstreamLabel, Gauge>,
    /// Open connections of callers.
    pub(crate) caller_connections: Gauge,
    /// Bytes in replay buffers.
    pub(crate) replay_bytes: Gauge,
    /// Panics that were caught in a connection's task.
    pub(crate) panics: Counter,
    /// Lines of the access log that could not be written in time.
    pub(crate) access_log_dropped: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    listener: String,
    upstream: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    listener: String,
    upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnauthorizedLabels {
    upstream: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TunnelLabels {
    listener: String,
    injected: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    upstream: String,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    listener: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

impl RequestMetrics {
    /// Puts the families into a registry that already has the product's prefix.
    pub(crate) fn register(&self, registry: &mut Registry) {
        // From zero on, so that the first failure is an increase.
        for outcome in ["ok", "failed"] {
            drop(self.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        registry.register("requests", "Requests by listener, upstream and outcome", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "From the request head to the last byte of the response",
            self.durations.clone(),
        );
        registry.register(
            "unauthorized",
            "Upstream answers that refused an injected token, by what was done",
            self.unauthorized.clone(),
        );
        registry.register("tunnels", "CONNECT tunnels, and whether a token could be injected", self.tunnels.clone());
        registry.register(
            "caller_authorization",
            "Requests whose caller sent an Authorization of its own, by what was done with it",
            self.caller_authorization.clone(),
        );
        registry.register(
            "would_deny",
            "Requests that unmatched = \"deny\" would have refused",
            self.would_deny.clone(),
        );
        registry.register(
            "caller_authentication",
            "Attempts of callers to prove themselves",
            self.caller_authentication.clone(),
        );
        registry.register("config_reloads", "Reloads of the configuration", self.reloads.clone());
        registry.register("upstream_connections", "Open connections to upstreams", self.upstream_connections.clone());
        registry.register("caller_connections", "Open connections of callers", self.caller_connections.clone());
        registry.register("replay_buffer_bytes", "Bytes kept for replays", self.replay_bytes.clone());
        registry.register(
            "access_log_dropped",
            "Lines of the access log that were dropped",
            self.access_log_dropped.clone(),
        );
        registry.register("panics", "Panics caught in connections", self.panics.clone());
    }

    /// The counters of one listener and upstream.
    #[must_use]
    pub(crate) fn route(&self, listener: &str, upstream: &str) -> RouteMetrics {
        let request = |outcome| {
            let labels = RequestLabels { listener: listener.into(), upstream: upstream.into(), outcome };
            self.requests.get_or_create(&labels).clone()
        };
        let action = |action| {
            self.caller_authorization.get_or_create(&ActionLabels { upstream: upstream.into(), action }).clone()
        };
        let tunnel =
            |injected| self.tunnels.get_or_create(&TunnelLabels { listener: listener.into(), injected }).clone();
        let durations =
            self.durations.get_or_create(&RouteLabels { listener: listener.into(), upstream: upstream.into() });
        RouteMetrics {
            injected: request("injected"),
            passed: request("passed"),
            passed_without_token: request("passed_without_token"),
            tunneled: request("tunneled"),
            denied: request("denied"),
            failed: request("failed"),
            durations: durations.clone(),
            replaced: action("replace"),
            kept: action("keep"),
            rejected: action("reject"),
            tunnels: tunnel("false"),
            tunnels_opened: tunnel("true"),
            would_deny: self.would_deny.get_or_create(&ListenerLabel { listener: listener.into() }).clone(),
        }
    }

    /// Counts a refused token by what was done about it. Not the usual path, so the handle is looked up.
    pub(crate) fn unauthorized(&self, upstream: &str, outcome: &'static str) {
        self.unauthorized.get_or_create(&UnauthorizedLabels { upstream: upstream.into(), outcome }).inc();
    }

    /// Attempts of one outcome (`accepted`, `refused`, `missing`) on one listener.
    #[must_use]
    pub(crate) fn caller_authentication(&self, listener: &str, outcome: &'static str) -> Counter {
        self.caller_authentication.get_or_create(&AttemptLabels { listener: listener.into(), outcome }).clone()
    }

    /// Counts a reload: the new configuration is live, or the old one stays.
    pub(crate) fn reloaded(&self, ok: bool) {
        self.reloads.get_or_create(&OutcomeLabel { outcome: if ok { "ok" } else { "failed" } }).inc();
    }

    /// The gauge of one upstream's connections.
    #[must_use]
    pub(crate) fn upstream_connections(&self, upstream: &str) -> Gauge {
        self.upstream_connections.get_or_create(&UpstreamLabel { upstream: upstream.into() }).clone()
    }
}

/// The counters of one listener and upstream, resolved.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    /// Answered by the upstream, with our token on the request.
    pub(crate) injected: Counter,
    /// Answered by the upstream, without.
    pub(crate) passed: Counter,
    /// Answered by the upstream, without, because there was no token (`on_token_error = "pass"`).
    pub(crate) passed_without_token: Counter,
    /// CONNECT tunnels that were opened. How long they live is no duration of a request.
    pub(crate) tunneled: Counter,
    /// Refused by policy or as malformed.
    pub(crate) denied: Counter,
    /// No token or no answer.
    pub(crate) failed: Counter,
    /// How long requests took.
    pub(crate) durations: Durations,
    /// Callers' Authorization fields that ours took the place of.
    pub(crate) replaced: Counter,
    /// Those that went through.
    pub(crate) kept: Counter,
    /// Those that were refused.
    pub(crate) rejected: Counter,
    /// Tunnels without injection.
    pub(crate) tunnels: Counter,
    /// Tunnels that were opened, so that a token goes on what is inside.
    pub(crate) tunnels_opened: Counter,
    /// Requests that `deny` would have refused.
    pub(crate) would_deny: Counter,
}

/// Upper bounds in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// A histogram without a lock: the library's own takes one for each observation.
#[derive(Clone, Default)]
pub(crate) struct Durations(Arc<Buckets>);

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Durations {
    /// Counts one request.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
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
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<prometheus_client::encoding::NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
