//! Logs, access log, traces, and what is counted.

mod access_log;
mod conventions;
mod durations;
pub(crate) mod family;
mod history;
mod last_failure;
mod last_time;
pub(crate) mod log;
mod log_throttle;
mod metrics;
mod process;
mod recent;
mod refused_hosts;
mod series;
mod totals;
mod traces;

pub(crate) use access_log::record::{bare_referer, shortened};
pub(crate) use access_log::{AccessLog, AccessLogFormat, AccessLogSettings, AccessLogTarget, AccessRecord};
pub(crate) use conventions::millis;
pub(crate) use durations::{Durations, Quantiles};
pub(crate) use history::{History, SAMPLE_INTERVAL, UpstreamHistory};
pub(crate) use log_throttle::LogThrottle;
pub(crate) use metrics::{RequestMetrics, RouteMetrics, UNMATCHED};
pub(crate) use process::ProcessFigures;
pub(crate) use recent::{RecentRequest, RecentRequests, Try};
pub(crate) use totals::UpstreamFigures;
pub(crate) use traces::{
    Attempt, AttemptEnd, RequestSpan, Target as AttemptTarget, TokenSpan, Traces, are_wanted as traces_are_wanted,
    trace_id_of,
};

/// `[telemetry]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TelemetrySettings {
    /// `access_log`, `access_log_format`.
    pub(crate) access_log: AccessLogSettings,
    /// Answers say how long the token and the upstream took (`Server-Timing`).
    pub(crate) server_timing: bool,
    /// Requests leave with an `X-Request-Id`, and answers have it too.
    pub(crate) request_id: bool,
    /// The collector of traces.
    pub(crate) otlp_endpoint: Option<String>,
}
