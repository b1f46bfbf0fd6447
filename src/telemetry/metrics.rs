//! What is counted about requests. Handles are resolved when a configuration is built; the request path only adds to
//! atomics.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::durations::Durations;
use super::family::Family;
use super::last_failure::LastFailure;
use super::last_time::LastTime;
use super::refused_hosts::RefusedHosts;
use super::series::Series;
use super::totals::{Totals, UpstreamFigures};

/// The label of requests that no upstream covers.
pub(crate) const UNMATCHED: &str = "-";

/// The families that the data path counts in.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestMetrics {
    requests: Series<RequestLabels, Counter>,
    durations: Series<RouteLabels, Durations>,
    unauthorized: Series<UnauthorizedLabels, Counter>,
    tunnels: Series<TunnelLabels, Counter>,
    caller_authorization: Series<ActionLabels, Counter>,
    would_deny: Series<ListenerLabel, Counter>,
    reloads: Series<OutcomeLabel, Counter>,
    caller_authentication: Series<AttemptLabels, Counter>,
    upstream_connections: Series<UpstreamLabel, Gauge>,
    server_errors: Series<UpstreamLabel, Counter>,
    failures: Series<RouteLabels, LastFailure>,
    unread_tunnels: Series<UpstreamLabel, LastTime>,
    /// Hosts that no upstream covers.
    pub(crate) refused_hosts: RefusedHosts,
    /// Open connections of callers.
    pub(crate) caller_connections: Gauge,
    /// Bytes in replay buffers.
    pub(crate) replay_bytes: Gauge,
    /// Panics that were caught in a connection's task.
    pub(crate) panics: Counter,
    /// Lines of the access log that could not be written in time.
    pub(crate) access_log_dropped: Counter,
    /// Spans that the collector was not sent, or did not take.
    pub(crate) spans_dropped: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct RequestLabels {
    listener: Arc<str>,
    upstream: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct RouteLabels {
    listener: Arc<str>,
    upstream: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct UnauthorizedLabels {
    upstream: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct TunnelLabels {
    listener: Arc<str>,
    injected: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ActionLabels {
    upstream: Arc<str>,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct AttemptLabels {
    listener: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: Arc<str>,
}

impl RequestMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> [Family; 15] {
        // From zero on, so that the first failure is an increase.
        for outcome in ["ok", "failed"] {
            drop(self.reloads.get(OutcomeLabel { outcome }));
        }
        [
            ("requests", "Requests by listener, upstream and outcome", Box::new(self.requests.clone())),
            (
                "request_duration_seconds",
                "From the request head to the last byte of the response",
                Box::new(self.durations.clone()),
            ),
            (
                "unauthorized",
                "Upstream answers that refused an injected token, by what was done",
                Box::new(self.unauthorized.clone()),
            ),
            ("tunnels", "CONNECT tunnels, and whether a token could be injected", Box::new(self.tunnels.clone())),
            (
                "caller_authorization",
                "Requests whose caller sent an Authorization of its own, by what was done with it",
                Box::new(self.caller_authorization.clone()),
            ),
            ("would_deny", "Requests that unmatched = \"deny\" would have refused", Box::new(self.would_deny.clone())),
            (
                "caller_authentication",
                "Attempts of callers to prove themselves",
                Box::new(self.caller_authentication.clone()),
            ),
            ("config_reloads", "Reloads of the configuration", Box::new(self.reloads.clone())),
            (
                "upstream_server_errors",
                "Answers of upstreams with a status of 500 or above",
                Box::new(self.server_errors.clone()),
            ),
            ("upstream_connections", "Open connections to upstreams", Box::new(self.upstream_connections.clone())),
            ("caller_connections", "Open connections of callers", Box::new(self.caller_connections.clone())),
            ("replay_buffer_bytes", "Bytes kept for replays", Box::new(self.replay_bytes.clone())),
            (
                "access_log_dropped",
                "Lines of the access log that were dropped",
                Box::new(self.access_log_dropped.clone()),
            ),
            (
                "spans_dropped",
                "Spans of traces that were dropped: the collector is away, or too slow",
                Box::new(self.spans_dropped.clone()),
            ),
            ("panics", "Panics caught in connections", Box::new(self.panics.clone())),
        ]
    }

    /// The counters of one listener and upstream.
    #[must_use]
    pub(crate) fn route(&self, listener: &str, upstream: &str) -> RouteMetrics {
        // Its series have these in common.
        let (listener, upstream): (Arc<str>, Arc<str>) = (listener.into(), upstream.into());
        let (of_listener, of_upstream) = (|| Arc::clone(&listener), || Arc::clone(&upstream));
        let request = |outcome| {
            let labels = RequestLabels { listener: of_listener(), upstream: of_upstream(), outcome };
            self.requests.get(labels)
        };
        let action = |action| self.caller_authorization.get(ActionLabels { upstream: of_upstream(), action });
        let tunnel = |injected| self.tunnels.get(TunnelLabels { listener: of_listener(), injected });
        let durations = self.durations.get(RouteLabels { listener: of_listener(), upstream: of_upstream() });
        RouteMetrics {
            injected: request("injected"),
            passed: request("passed"),
            passed_without_token: request("passed_without_token"),
            tunneled: request("tunneled"),
            denied: request("denied"),
            failed: request("failed"),
            durations,
            replaced: action("replace"),
            kept: action("keep"),
            rejected: action("reject"),
            tunnels: tunnel("false"),
            tunnels_opened: tunnel("true"),
            would_deny: self.would_deny.get(ListenerLabel { listener: of_listener() }),
            server_errors: self.server_errors.get(UpstreamLabel { upstream: of_upstream() }),
            last_failure: self.failures.get(RouteLabels { listener: of_listener(), upstream: of_upstream() }),
            unread_tunnel: self.unread_tunnels.get(UpstreamLabel { upstream: of_upstream() }),
            refused_hosts: self.refused_hosts.clone(),
        }
    }

    /// Counts a refused token by what was done about it. Not the usual path, so the handle is looked up.
    pub(crate) fn unauthorized(&self, upstream: &str, outcome: &'static str) {
        self.unauthorized.get(UnauthorizedLabels { upstream: upstream.into(), outcome }).inc();
    }

    /// Attempts of one outcome (`accepted`, `refused`, `missing`) on one listener.
    #[must_use]
    pub(crate) fn caller_authentication(&self, listener: &str, outcome: &'static str) -> Counter {
        self.caller_authentication.get(AttemptLabels { listener: listener.into(), outcome })
    }

    /// Counts a reload: the new configuration is live, or the old one stays.
    pub(crate) fn reloaded(&self, ok: bool) {
        self.reloads.get(OutcomeLabel { outcome: if ok { "ok" } else { "failed" } }).inc();
    }

    /// The gauge of one upstream's connections.
    #[must_use]
    pub(crate) fn upstream_connections(&self, upstream: &str) -> Gauge {
        self.upstream_connections.get(UpstreamLabel { upstream: upstream.into() })
    }

    /// What is known of each upstream, over all listeners: read in one go, for there may be thousands.
    pub(crate) fn upstreams(&self) -> BTreeMap<Arc<str>, UpstreamFigures> {
        let mut all: BTreeMap<Arc<str>, UpstreamFigures> = BTreeMap::new();
        self.requests.for_each(|labels, counter| {
            let of = all.entry(Arc::clone(&labels.upstream)).or_default();
            *of.requests.entry(labels.outcome).or_default() += counter.get();
        });
        self.unauthorized.for_each(|labels, counter| {
            let of = all.entry(Arc::clone(&labels.upstream)).or_default();
            of.unauthorized.insert(labels.outcome, counter.get());
        });
        self.durations.for_each(|labels, durations| {
            all.entry(Arc::clone(&labels.upstream)).or_default().durations.add(durations);
        });
        self.failures.for_each(|labels, failure| {
            if let Some(failure) = failure.get() {
                let recovered = self.answered(labels) > failure.answered_before;
                all.entry(Arc::clone(&labels.upstream)).or_default().note_failure(failure, recovered);
            }
        });
        self.unread_tunnels.for_each(|labels, last| {
            all.entry(Arc::clone(&labels.upstream)).or_default().last_unread_tunnel = last.get();
        });
        all
    }

    fn answered(&self, route: &RouteLabels) -> u64 {
        let of = |outcome| {
            let (listener, upstream) = (Arc::clone(&route.listener), Arc::clone(&route.upstream));
            self.requests.get(RequestLabels { listener, upstream, outcome }).get()
        };
        of("injected") + of("passed")
    }

    /// Tunnels through one listener, by whether they were opened.
    pub(crate) fn tunnels_of(&self, listener: &str) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.tunnels.for_each(|labels, counter| {
            if *labels.listener == *listener {
                counts.insert(labels.injected, counter.get());
            }
        });
        counts
    }

    /// Requests through one listener that `deny` would have refused.
    pub(crate) fn would_deny_of(&self, listener: &str) -> u64 {
        let mut count = 0;
        self.would_deny.for_each(|labels, counter| {
            if *labels.listener == *listener {
                count += counter.get();
            }
        });
        count
    }

    /// What has been counted of each upstream that had a request, over all listeners.
    pub(super) fn totals(&self) -> BTreeMap<Arc<str>, Totals> {
        let mut totals: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
        self.requests.for_each(|labels, counter| {
            let count = counter.get();
            if count > 0 && &*labels.upstream != UNMATCHED {
                let of = totals.entry(Arc::clone(&labels.upstream)).or_default();
                of.requests += count;
                of.errors += if labels.outcome == "failed" { count } else { 0 };
            }
        });
        self.server_errors.for_each(|labels, counter| {
            if let Some(of) = totals.get_mut(&labels.upstream) {
                of.errors += counter.get();
            }
        });
        self.durations.for_each(|labels, durations| {
            if let Some(of) = totals.get_mut(&labels.upstream) {
                of.durations.add(durations);
            }
        });
        totals
    }
}

/// The counters of one listener and upstream, resolved.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    /// Answered by the upstream, with a token on the request.
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
    /// Callers' Authorization fields that were replaced.
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
    /// Answers with a status of 500 or above.
    pub(crate) server_errors: Counter,
    /// The newest failure.
    pub(crate) last_failure: LastFailure,
    /// When a tunnel into which a token belongs passed unread.
    pub(crate) unread_tunnel: LastTime,
    /// Hosts that no upstream covers.
    pub(crate) refused_hosts: RefusedHosts,
}

impl RouteMetrics {
    /// The upstream could not be reached, or did not answer as it should.
    pub(crate) fn note_failure(&self, status: u16, sentence: &str) {
        self.last_failure.note(status, sentence, self.injected.get() + self.passed.get());
    }
}
