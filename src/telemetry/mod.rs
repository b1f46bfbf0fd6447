//! Logging set-up, and what is counted.

mod access_log;
mod durations;
pub(crate) mod family;
mod history;
mod last_failure;
mod last_time;
mod log_throttle;
mod metrics;
mod process;
mod recent;
mod refused_hosts;
mod series;
mod totals;
mod traces;

pub(crate) use access_log::{AccessLog, AccessLogSettings, AccessLogTarget, AccessRecord};
pub(crate) use durations::{Durations, Quantiles};
pub(crate) use history::{History, SAMPLE_INTERVAL, UpstreamHistory};
pub(crate) use log_throttle::LogThrottle;
pub(crate) use metrics::{RequestMetrics, RouteMetrics, UNMATCHED};
pub(crate) use process::ProcessFigures;
pub(crate) use recent::{RecentRequest, RecentRequests, Try};
pub(crate) use totals::UpstreamFigures;
pub(crate) use traces::{Attempt, RequestSpan, Traces, are_wanted as traces_are_wanted};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

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

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that print header fields or bodies at `trace` or `debug`: h2 prints every frame's fields, and hyper the raw
/// buffer. No filter a user writes can turn these on; a token in a log is worth more than any of it.
const SILENCED: [&str; 8] =
    ["h2", "hyper", "hyper_util", "opentelemetry", "opentelemetry-otlp", "opentelemetry_sdk", "reqwest", "rustls"];

/// Sends events to stderr; stdout is for data.
///
/// # Errors
/// A filter that cannot be read, or a subscriber that is there already.
pub(crate) fn init(filter: &str, format: LogFormat, colour: bool) -> Result<(), LogError> {
    let asked: Targets = filter.parse().map_err(|_invalid| LogError::Filter(filter.to_owned()))?;
    let targets = silence(&asked);
    let registry = tracing_subscriber::registry();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    match format {
        LogFormat::Text => registry.with(layer.with_filter(targets)).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(targets)).try_init()?,
    }
    Ok(())
}

/// The filter that was asked for, without what it says about the silenced libraries.
fn silence(asked: &Targets) -> Targets {
    let silenced = |target: &str| {
        SILENCED
            .iter()
            .any(|library| target.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    Targets::new()
        .with_default(asked.default_level().unwrap_or(LevelFilter::OFF))
        .with_targets(asked.iter().filter(|(target, _)| !silenced(target)))
        .with_targets(SILENCED.map(|library| (library, LevelFilter::WARN)))
        // It tells every refused certificate as an error of its own; attache tells whose it was, and what to do.
        .with_target("rustls_platform_verifier", LevelFilter::OFF)
}

/// Why there is no logging.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// `--log` or `ATTACHE_LOG` is no filter.
    #[error("{0:?} is no log filter; write a level such as \"info\", or targets such as \"warn,attache::token=debug\"")]
    Filter(String),
    /// Another subscriber is installed.
    #[error("logging cannot be started: {0}")]
    Taken(#[from] TryInitError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_turns_on_the_libraries_that_print_header_fields() {
        let filter = silence(&"trace,h2::codec=trace,hyper=debug,attache=debug".parse().unwrap());
        let enabled = |target: &str| filter.would_enable(target, &tracing::Level::DEBUG);
        assert!(!enabled("h2::codec::framed_read") && !enabled("hyper::proto") && !enabled("rustls::client"));
        assert!(enabled("attache::token"));
    }
}
