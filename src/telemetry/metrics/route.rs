//! The counters of one listener's way to an upstream, resolved: a request only adds to atomics.

use prometheus_client::metrics::counter::Counter;

use super::actions::{Action, ActionCounts};
use super::last_failure::LastFailure;
use super::last_time::LastTime;
use super::refused_hosts::RefusedHosts;
use super::requests::{Code, Outcome, RequestCounts};
use super::upstream::UpstreamMetrics;

/// A clone counts in the same places.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    pub(super) requests: RequestCounts,
    pub(super) actions: ActionCounts,
    /// What is measured of the upstream.
    pub(crate) upstream: UpstreamMetrics,
    /// Tunnels without injection.
    pub(crate) tunnels: Counter,
    /// Tunnels that were opened, so that a token goes on what is inside.
    pub(crate) tunnels_opened: Counter,
    /// Requests that `deny` would have refused.
    pub(crate) would_deny: Counter,
    pub(super) last_failure: LastFailure,
    /// When a tunnel into which a token belongs passed unread.
    pub(crate) unread_tunnel: LastTime,
    /// Hosts that no upstream covers.
    pub(crate) refused_hosts: RefusedHosts,
}

impl RouteMetrics {
    /// Counts a request by what it came to, and by what its caller was answered.
    pub(crate) fn count(&self, outcome: Outcome, code: Code) {
        self.requests.add(outcome, code);
    }

    /// Counts a CONNECT tunnel that was granted; in SOCKS too. How long it lives is no duration of a request.
    pub(crate) fn count_tunnel(&self) {
        self.count(Outcome::Tunneled, Code::Success);
    }

    /// Counts an `Authorization` of the caller's own by what was done with it.
    pub(crate) fn count_authorization(&self, action: Action) {
        self.actions.add(action);
    }

    /// The upstream could not be reached, or did not answer as it should.
    pub(crate) fn note_failure(&self, status: u16, sentence: &str) {
        self.last_failure.note(status, sentence, self.requests.answered());
    }
}
