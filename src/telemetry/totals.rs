//! What has been counted of one upstream up to a moment, over all listeners.

use std::collections::BTreeMap;

use super::durations::{Quantiles, Tally};
use super::last_failure::Failure;

/// What a sample is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Answered by the upstream or by attache.
    pub(super) requests: u64,
    /// Of them: attache's own failures, and answers with a status of 500 or above.
    pub(super) errors: u64,
    pub(super) durations: Tally,
}

/// What people are told.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpstreamFigures {
    /// By outcome.
    pub(crate) requests: BTreeMap<&'static str, u64>,
    /// Refused tokens, by what was done about them.
    pub(crate) unauthorized: BTreeMap<&'static str, u64>,
    pub(super) durations: Tally,
    pub(crate) last_failure: Option<Failure>,
}

impl UpstreamFigures {
    /// How long requests took; `None` before the first.
    pub(crate) fn latency(&self) -> Option<Quantiles> {
        self.durations.quantiles()
    }
}
