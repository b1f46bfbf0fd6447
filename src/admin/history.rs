//! `/api/history`: what has been kept of the last quarter of an hour of upstreams, and of the last hour of credentials.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::status::written;
use crate::credential::Credential;
use crate::runtime::Runtime;
use crate::telemetry::{History, SAMPLE_INTERVAL, UpstreamHistory};
use crate::token::{TokenEvent, TokenEventKind};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryReport {
    /// Seconds between two samples.
    pub(crate) interval: u64,
    /// When each sample was taken, in seconds since 1970, the oldest first.
    pub(crate) times: Vec<u64>,
    /// Those that have had requests.
    #[serde(default)]
    pub(crate) upstreams: Vec<UpstreamSamples>,
    #[serde(default)]
    pub(crate) credentials: Vec<CredentialEvents>,
}

/// Column by column, the oldest first; they belong to the last ones of `times`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UpstreamSamples {
    pub(crate) name: String,
    /// How many came since the sample before.
    pub(crate) requests: Vec<u32>,
    /// How many of them attache or the upstream answered with a failure of 500 or above.
    pub(crate) errors: Vec<u32>,
    /// Milliseconds, where a bucket of the histogram ends; `null` where nothing ended.
    pub(crate) p50: Vec<Option<f64>>,
    pub(crate) p95: Vec<Option<f64>>,
    pub(crate) p99: Vec<Option<f64>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CredentialEvents {
    pub(crate) name: String,
    /// The oldest first.
    pub(crate) events: Vec<EventStatus>,
}

/// What happened to a credential's token.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventStatus {
    /// RFC 3339.
    pub(crate) at: String,
    /// `obtained`, `failed` or `refused`.
    pub(crate) event: Cow<'static, str>,
    /// Of the token that came or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    /// When the token that came ends (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// How long the token request took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took_ms: Option<u64>,
    /// How often in a row it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// Why none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Of one upstream, of one credential, or of all where neither is named.
pub(super) fn report(
    runtime: &Runtime,
    history: &History,
    upstream: Option<&str>,
    credential: Option<&str>,
) -> HistoryReport {
    let all = upstream.is_none() && credential.is_none();
    // What was configured once is not shown any more.
    let is_there = |name: &str| runtime.routes.iter().any(|route| route.name() == name);
    let (times, upstreams) = history.read(|name| (all && is_there(name)) || upstream == Some(name));
    let credentials = runtime.credentials.iter().filter(|one| all || credential == Some(one.name.as_str()));
    HistoryReport {
        interval: SAMPLE_INTERVAL.as_secs(),
        times: times.into_iter().map(unix_seconds).collect(),
        upstreams: upstreams.iter().map(columns).collect(),
        credentials: credentials.map(|one| events(one)).filter(|one| !one.events.is_empty()).collect(),
    }
}

fn columns(history: &UpstreamHistory) -> UpstreamSamples {
    let latency = |of: fn(&crate::telemetry::Quantiles) -> f64| {
        history.samples.iter().map(|sample| sample.latency.unpack().as_ref().map(|latency| of(latency) * 1e3)).collect()
    };
    UpstreamSamples {
        name: history.name.to_string(),
        requests: history.samples.iter().map(|sample| sample.requests).collect(),
        errors: history.samples.iter().map(|sample| sample.errors).collect(),
        p50: latency(|latency| latency.p50),
        p95: latency(|latency| latency.p95),
        p99: latency(|latency| latency.p99),
    }
}

fn events(credential: &Credential) -> CredentialEvents {
    CredentialEvents { name: credential.name.clone(), events: credential.events().into_iter().map(event).collect() }
}

fn event(of: TokenEvent) -> EventStatus {
    let millis = |took: std::time::Duration| u64::try_from(took.as_millis()).ok();
    let at = written(of.at);
    match of.what {
        TokenEventKind::Obtained { generation, expires_at, took } => EventStatus {
            at,
            event: "obtained".into(),
            generation: Some(generation),
            expires_at: Some(written(expires_at)),
            took_ms: millis(took),
            ..EventStatus::default()
        },
        TokenEventKind::Failed { error, took } => EventStatus {
            at,
            event: "failed".into(),
            took_ms: millis(took),
            message: Some(error.message.clone()),
            ..EventStatus::default()
        },
        TokenEventKind::Refused { generation, count } => EventStatus {
            at,
            event: "refused".into(),
            generation: Some(generation),
            count: Some(count),
            ..EventStatus::default()
        },
    }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
