//! What requests came to, by outcome and status class: numbers in a row, so that counting is one addition, and a series is there
//! from its first request on.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::series::Series;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Injected,
    /// `on_token_error = "pass"`.
    PassedWithoutToken,
    Passed,
    /// CONNECT, and what is opened in it.
    Tunneled,
    /// The caller's fault, or policy.
    Denied,
    /// Attache's, the authorization server's or the upstream's fault.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Injected, Self::PassedWithoutToken, Self::Passed, Self::Tunneled, Self::Denied, Self::Failed];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::PassedWithoutToken => "passed_without_token",
            Self::Passed => "passed",
            Self::Tunneled => "tunneled",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// True of an upstream's answer to a request.
    pub(super) const fn is_answered(self) -> bool {
        matches!(self, Self::Injected | Self::PassedWithoutToken | Self::Passed)
    }
}

/// The class of the status that the caller was answered (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
    /// No answer in HTTP: the connection was closed.
    None,
}

impl Code {
    const ALL: [Self; 6] =
        [Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError, Self::None];

    /// A status that is in no class is a server's error (RFC 9110 section 15).
    #[must_use]
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::None => "none",
        }
    }
}

/// The counts of one listener and upstream. A clone counts in the same place.
#[derive(Clone)]
pub(super) struct RequestCounts(Arc<[[AtomicU64; Code::ALL.len()]; Outcome::ALL.len()]>);

impl RequestCounts {
    pub(super) fn add(&self, outcome: Outcome, code: Code) {
        self.0[outcome as usize][code as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are not zero.
    pub(super) fn each(&self) -> impl Iterator<Item = (Outcome, Code, u64)> {
        let all = Outcome::ALL.into_iter().flat_map(|outcome| Code::ALL.map(|code| (outcome, code)));
        let counted =
            all.map(|(outcome, code)| (outcome, code, self.0[outcome as usize][code as usize].load(Ordering::Relaxed)));
        counted.filter(|(.., count)| *count > 0)
    }

    /// How many of them an upstream has answered.
    pub(super) fn answered(&self) -> u64 {
        self.each().filter(|(outcome, ..)| outcome.is_answered()).map(|(.., count)| count).sum()
    }
}

impl Default for RequestCounts {
    fn default() -> Self {
        Self(Arc::new(array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl fmt::Debug for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each()).finish()
    }
}

/// Whose way to which upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteLabels {
    pub(super) listener: Arc<str>,
    pub(super) upstream: Arc<str>,
}

/// `attache_requests_total`. What has had no request is left out: there may be a thousand routes.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(pub(super) Series<RouteLabels, RequestCounts>);

impl EncodeMetric for Requests {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut encode = |RouteLabels { listener, upstream }: &RouteLabels, (outcome, code, count): Counted| {
            let route = [("listener", &**listener), ("upstream", &**upstream)];
            let labels = [route[0], route[1], ("outcome", outcome.label()), ("code", code.label())];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
        };
        let mut written = Ok(());
        self.0.for_each(|route, counts| {
            let mut counted: Vec<Counted> = counts.each().collect();
            // At zero where there has been another request, so that the first failure after it is an increase. One that is the
            // first of all is none: its series begins at 1, since a thousand routes cannot all begin at 0.
            let failed = (Outcome::Failed, Code::ServerError);
            if !counted.is_empty() && !counted.iter().any(|(outcome, code, _)| (*outcome, *code) == failed) {
                counted.push((failed.0, failed.1, 0));
            }
            written = written.and_then(|()| counted.into_iter().try_for_each(|one| encode(route, one)));
        });
        written
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        !self.0.any(|counts| counts.each().next().is_some())
    }
}

type Counted = (Outcome, Code, u64);
