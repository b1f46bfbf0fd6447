//! `access_log` and the keys beside it.

use std::path::PathBuf;

/// The part of `[telemetry]` about the access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessLogSettings {
    /// Where it goes; `None`: nowhere.
    pub(crate) to: Option<AccessLogTarget>,
    /// How a line looks.
    pub(crate) format: AccessLogFormat,
    /// Queries too, which may hold secrets.
    pub(crate) query: bool,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// `access_log_format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AccessLogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, with names of attache's own.
    Json,
    /// Apache's combined log format, for programs that read those.
    Combined,
    /// An object a line, with the names of OpenTelemetry's HTTP semantic conventions.
    Otel,
}
