//! What has been counted of one upstream up to a moment, over all listeners.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::durations::{Quantiles, Tally};
use super::last_failure::Failure;

/// What a sample is made of.
#[derive(Debug, Clone, Default)]
pub(in crate::telemetry) struct Totals {
    /// Answered by the upstream or by attache.
    pub(in crate::telemetry) requests: u64,
    /// Of them: attache's own failures, and answers with a status of 500 or above.
    pub(in crate::telemetry) errors: u64,
    pub(in crate::telemetry) durations: Tally,
}

/// What people are told.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpstreamFigures {
    /// By outcome.
    pub(crate) requests: BTreeMap<&'static str, u64>,
    /// Refused tokens, by what was done about them.
    pub(crate) unauthorized: BTreeMap<&'static str, u64>,
    pub(super) durations: Tally,
    /// The newest of all listeners, and whether requests have been answered since.
    pub(crate) last_failure: Option<(Failure, bool)>,
    /// When a tunnel into which a token belongs passed unread.
    pub(crate) last_unread_tunnel: Option<SystemTime>,
}

impl UpstreamFigures {
    pub(super) fn note_failure(&mut self, failure: Failure, recovered: bool) {
        if self.last_failure.as_ref().is_none_or(|(known, _)| known.at <= failure.at) {
            self.last_failure = Some((failure, recovered));
        }
    }

    /// How long requests took; `None` before the first.
    pub(crate) fn latency(&self) -> Option<Quantiles> {
        self.durations.quantiles()
    }
}
