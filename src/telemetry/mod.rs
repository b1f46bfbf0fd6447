//! Logs, access log, traces, and what is counted.

mod access_log;
mod conventions;
mod history;
pub(crate) mod log;
mod log_throttle;
mod metrics;
mod recent;
mod traces;

pub(crate) use access_log::record::{bare_referer, shortened};
pub(crate) use access_log::{
    AccessLog, AccessLogFormat, AccessLogSettings, AccessLogTarget, AccessLogWriter, AccessRecord,
};
pub(crate) use conventions::millis;
pub(crate) use history::{History, SAMPLE_INTERVAL, UpstreamHistory};
pub(crate) use log_throttle::LogThrottle;
pub(crate) use metrics::{
    Action, Code, Durations, Outcome, ProcessFigures, Quantiles, RequestMetrics, RouteMetrics, TraceId, UNMATCHED,
    UpstreamFigures, UpstreamMetrics, family,
};
pub(crate) use recent::{RecentRequest, RecentRequests, Try};
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
