//! What is measured of an upstream, over all listeners.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::durations::Durations;
use super::family::Family;
use super::series::Series;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct UpstreamLabel {
    pub(super) upstream: Arc<str>,
}

/// The families by upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Upstreams {
    pub(super) durations: Series<UpstreamLabel, Durations>,
    responses: Series<UpstreamLabel, Durations>,
    connects: Series<UpstreamLabel, Durations>,
    connections: Series<UpstreamLabel, Gauge>,
    exhausted: Series<UpstreamLabel, Counter>,
    unread: Series<UpstreamLabel, Counter>,
}

/// The handles of one upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpstreamMetrics {
    /// From the head of the request to the last byte of its answer.
    pub(crate) durations: Durations,
    /// To the head of the upstream's answer, without the wait for a token.
    pub(crate) responses: Durations,
    /// How long connections took that came about, with their TLS.
    pub(crate) connects: Durations,
    /// Those that are open.
    pub(crate) connections: Gauge,
    /// Requests that came by no connection, since `pool.max` were in use.
    pub(crate) exhausted: Counter,
    /// Tunnels into which a token belongs, and that passed unread.
    pub(crate) unread: Counter,
}

impl Upstreams {
    pub(super) fn families(&self) -> [Family; 6] {
        [
            (
                "request_duration_seconds",
                "From the request head to the last byte of the response, by upstream",
                Box::new(self.durations.clone()),
            ),
            (
                "upstream_response_duration_seconds",
                "From the request head to the head of the upstream's response, without the wait for a token",
                Box::new(self.responses.clone()),
            ),
            (
                "upstream_connect_duration_seconds",
                "How long connections to upstreams took to be made, TLS included",
                Box::new(self.connects.clone()),
            ),
            ("upstream_connections", "Open connections to upstreams", Box::new(self.connections.clone())),
            (
                "upstream_pool_exhausted",
                "Requests that came by no connection because pool.max were in use",
                Box::new(self.exhausted.clone()),
            ),
            (
                "upstream_tunnels_unread",
                "CONNECT tunnels that passed unread although a token belongs on what is inside",
                Box::new(self.unread.clone()),
            ),
        ]
    }

    pub(super) fn of(&self, upstream: &Arc<str>) -> UpstreamMetrics {
        let label = || UpstreamLabel { upstream: Arc::clone(upstream) };
        UpstreamMetrics {
            durations: self.durations.get(label()),
            responses: self.responses.get(label()),
            connects: self.connects.get(label()),
            connections: self.connections.get(label()),
            exhausted: self.exhausted.get(label()),
            unread: self.unread.get(label()),
        }
    }
}
