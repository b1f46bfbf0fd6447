//! What is counted about requests. Handles are resolved when a configuration is built; the request path only adds to
//! atomics.

mod actions;
mod durations;
mod exemplars;
pub(crate) mod family;
mod last_failure;
mod last_time;
mod process;
mod refused_hosts;
mod reloads;
mod requests;
mod route;
mod series;
mod totals;
mod upstream;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use self::actions::Actions;
use self::family::Family;
use self::last_failure::LastFailure;
use self::last_time::LastTime;
use self::refused_hosts::RefusedHosts;
use self::reloads::ReloadMetrics;
use self::requests::{Requests, RouteLabels};
use self::series::Series;
use self::upstream::{UpstreamLabel, Upstreams};

pub(crate) use actions::Action;
pub(super) use durations::PackedQuantiles;
#[cfg(test)]
pub(super) use durations::Tally;
pub(crate) use durations::{Durations, Quantiles};
pub(crate) use exemplars::TraceId;
pub(crate) use process::ProcessFigures;
pub(crate) use requests::{Code, Outcome};
pub(crate) use route::RouteMetrics;
pub(super) use totals::Totals;
pub(crate) use totals::UpstreamFigures;
pub(crate) use upstream::UpstreamMetrics;

/// The label of requests that no upstream covers.
pub(crate) const UNMATCHED: &str = "-";

/// The families that the data path counts in.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestMetrics {
    requests: Requests,
    actions: Actions,
    upstreams: Upstreams,
    unauthorized: Series<UnauthorizedLabels, Counter>,
    tunnels: Series<TunnelLabels, Counter>,
    would_deny: Series<ListenerLabel, Counter>,
    caller_authentication: Series<AttemptLabels, Counter>,
    proxy_protocol_errors: Series<ReasonLabels, Counter>,
    failures: Series<RouteLabels, LastFailure>,
    unread_tunnels: Series<UpstreamLabel, LastTime>,
    /// Reloads, and how the last one ended.
    pub(crate) reloads: ReloadMetrics,
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
struct ListenerLabel {
    listener: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct AttemptLabels {
    listener: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ReasonLabels {
    listener: Arc<str>,
    reason: &'static str,
}

impl RequestMetrics {
    /// Every family with its name, without the product's prefix, and what it counts.
    pub(crate) fn families(&self) -> Vec<Family> {
        let own: [Family; 11] = [
            (
                "requests",
                "Requests by listener, upstream, outcome and the class of the status that the caller got",
                Box::new(self.requests.clone()),
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
                Box::new(self.actions.clone()),
            ),
            ("would_deny", "Requests that unmatched = \"deny\" would have refused", Box::new(self.would_deny.clone())),
            (
                "caller_authentication",
                "Attempts of callers to prove themselves",
                Box::new(self.caller_authentication.clone()),
            ),
            (
                "proxy_protocol_errors",
                "Connections that were closed for want of a PROXY protocol header that can be read",
                Box::new(self.proxy_protocol_errors.clone()),
            ),
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
        ];
        let panics: Family = ("panics", "Panics caught in connections", Box::new(self.panics.clone()));
        own.into_iter().chain([panics]).chain(self.upstreams.families()).chain(self.reloads.families()).collect()
    }

    /// A text of OpenMetrics with the traces that are known of the durations of requests.
    #[must_use]
    pub(crate) fn with_exemplars(&self, text: String) -> String {
        let mut all = HashMap::new();
        self.upstreams.durations.for_each(|UpstreamLabel { upstream }, durations| {
            all.extend(durations.exemplars().map(|(bound, exemplar)| {
                let labels = format!("le=\"{bound}\",upstream=\"{upstream}\"");
                (format!("attache_request_duration_seconds_bucket{{{labels}}}"), exemplar)
            }));
        });
        if all.is_empty() { text } else { exemplars::put_behind(&text, &all) }
    }

    /// The counters of one listener and upstream.
    #[must_use]
    pub(crate) fn route(&self, listener: &str, upstream: &str) -> RouteMetrics {
        // Its series have these in common.
        let (listener, upstream): (Arc<str>, Arc<str>) = (listener.into(), upstream.into());
        let (of_listener, of_upstream) = (|| Arc::clone(&listener), || Arc::clone(&upstream));
        let route = || RouteLabels { listener: of_listener(), upstream: of_upstream() };
        let tunnel = |injected| self.tunnels.get(TunnelLabels { listener: of_listener(), injected });
        RouteMetrics {
            requests: self.requests.0.get(route()),
            actions: self.actions.0.get(UpstreamLabel { upstream: of_upstream() }),
            upstream: self.upstreams.of(&upstream),
            tunnels: tunnel("false"),
            tunnels_opened: tunnel("true"),
            would_deny: self.would_deny.get(ListenerLabel { listener: of_listener() }),
            last_failure: self.failures.get(route()),
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

    /// Connections of proxies in front that one listener has closed, by what is wrong with their header.
    #[must_use]
    pub(crate) fn proxy_protocol_error(&self, listener: &str, reason: &'static str) -> Counter {
        self.proxy_protocol_errors.get(ReasonLabels { listener: listener.into(), reason })
    }

    /// What is measured of one upstream.
    #[must_use]
    pub(crate) fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        self.upstreams.of(&upstream.into())
    }

    /// What is known of each upstream, over all listeners: read in one go, for there may be thousands.
    pub(crate) fn upstreams(&self) -> BTreeMap<Arc<str>, UpstreamFigures> {
        let mut all: BTreeMap<Arc<str>, UpstreamFigures> = BTreeMap::new();
        self.requests.0.for_each(|labels, counts| {
            let of = all.entry(Arc::clone(&labels.upstream)).or_default();
            // Who is told of an upstream is told of all of it.
            for outcome in Outcome::ALL {
                of.requests.entry(outcome.label()).or_default();
            }
            for (outcome, _, count) in counts.each() {
                *of.requests.entry(outcome.label()).or_default() += count;
            }
        });
        self.unauthorized.for_each(|labels, counter| {
            let of = all.entry(Arc::clone(&labels.upstream)).or_default();
            of.unauthorized.insert(labels.outcome, counter.get());
        });
        self.upstreams.durations.for_each(|labels, durations| {
            all.entry(Arc::clone(&labels.upstream)).or_default().durations.add(durations);
        });
        self.failures.for_each(|labels, failure| {
            if let Some(failure) = failure.get() {
                let answered = self.requests.0.get(labels.clone()).answered();
                let recovered = answered > failure.answered_before;
                all.entry(Arc::clone(&labels.upstream)).or_default().note_failure(failure, recovered);
            }
        });
        self.unread_tunnels.for_each(|labels, last| {
            all.entry(Arc::clone(&labels.upstream)).or_default().last_unread_tunnel = last.get();
        });
        all
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
        self.requests.0.for_each(|labels, counts| {
            let counted = counts.each().filter(|_| &*labels.upstream != UNMATCHED);
            for (outcome, code, count) in counted {
                let of = totals.entry(Arc::clone(&labels.upstream)).or_default();
                of.requests += count;
                let of_upstream = outcome.is_answered() && code == Code::ServerError;
                of.errors += if of_upstream || outcome == Outcome::Failed { count } else { 0 };
            }
        });
        self.upstreams.durations.for_each(|labels, durations| {
            if let Some(of) = totals.get_mut(&labels.upstream) {
                of.durations.add(durations);
            }
        });
        totals
    }
}
