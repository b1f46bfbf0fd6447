//! What is running, as one structure for JSON now and for the page later. Holds no secret and no token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::reloads::{Reload, Reloads};
use crate::credential::Credential;
use crate::listen::Listening;
use crate::runtime::Runtime;
use crate::telemetry::AccessRecord;

/// `/api/status`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusReport {
    version: &'static str,
    credentials: Vec<CredentialStatus>,
    upstreams: Vec<UpstreamStatus>,
    listeners: Vec<ListenerStatus>,
    /// The last ones, the newest first.
    reloads: Vec<Reload>,
    /// Requests since somebody looks, the newest first.
    recent: Vec<Arc<AccessRecord>>,
}

/// One credential.
#[derive(Debug, Serialize)]
pub(crate) struct CredentialStatus {
    /// The name in the configuration.
    pub(crate) name: String,
    /// `empty`, `ready`, `refreshing` or `failed`.
    pub(crate) state: &'static str,
    /// Tokens obtained so far; of a fixed credential, the secrets that were read one after the other.
    pub(crate) generation: u64,
    /// Seconds left of the current token; a fixed credential has none.
    pub(crate) expires_in: Option<u64>,
    /// Seconds that it had in all.
    pub(crate) lifetime: Option<u64>,
    /// What the server granted.
    pub(crate) scope: Option<String>,
    /// What was asked for and not granted, separated by spaces.
    pub(crate) missing_scope: Option<String>,
    /// Which of several secrets works.
    pub(crate) secret: Option<String>,
    /// Seconds by which the authorization server's clock is ahead of this machine's; negative: behind.
    pub(crate) clock_skew: Option<i64>,
    /// When the current token came (RFC 3339).
    pub(crate) fetched_at: Option<String>,
    /// When the newest token request ended, well or not (RFC 3339).
    pub(crate) last_refresh_at: Option<String>,
    /// How long it took, in milliseconds.
    pub(crate) last_refresh_took_ms: Option<u64>,
    /// `/readyz` waits for it.
    pub(crate) required: bool,
    /// The remembered failure.
    pub(crate) last_error: Option<String>,
    /// There is something that may be put on a request now.
    #[serde(skip)]
    pub(crate) usable: bool,
}

#[derive(Debug, Serialize)]
struct UpstreamStatus {
    name: String,
    origin: String,
    credential: Option<String>,
    connections: i64,
    /// `attache_requests_total` of all listeners, by outcome.
    requests: BTreeMap<String, u64>,
    /// `attache_unauthorized_total`, by what was done.
    unauthorized: BTreeMap<String, u64>,
    /// Of all requests since the start.
    latency_ms: Option<Latency>,
}

/// Read off the buckets of `attache_request_duration_seconds`: each is where a bucket ends.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    name: String,
    address: String,
    mode: &'static str,
    /// `attache_tunnels_total`: `true` were opened, into `false` no token could go.
    tunnels: BTreeMap<String, u64>,
    /// What `unmatched = "deny"` would have refused.
    would_deny: u64,
}

impl StatusReport {
    /// A reading of this moment.
    #[must_use]
    pub(crate) fn new(
        runtime: &Runtime,
        listening: &Listening,
        reloads: &Reloads,
        metrics: &str,
        recent: Vec<Arc<AccessRecord>>,
    ) -> Self {
        let upstreams = runtime.routes.iter().map(|route| UpstreamStatus {
            name: route.name().to_owned(),
            origin: route.upstream.settings.origin.to_string(),
            credential: route.credential.as_ref().map(|credential| credential.name.clone()),
            connections: route.upstream.connections.get(),
            requests: counts(metrics, "attache_requests_total", ("upstream", route.name()), "outcome"),
            unauthorized: counts(metrics, "attache_unauthorized_total", ("upstream", route.name()), "outcome"),
            latency_ms: latency(metrics, route.name()),
        });
        let listeners = listening.all().into_iter().map(|listener| ListenerStatus {
            tunnels: counts(metrics, "attache_tunnels_total", ("listener", &listener.name), "injected"),
            would_deny: total(metrics, "attache_would_deny_total", ("listener", &listener.name)),
            name: listener.name,
            address: listener.address.to_string(),
            mode: listener.mode,
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            credentials: credentials(runtime),
            upstreams: upstreams.collect(),
            listeners: listeners.collect(),
            reloads: reloads.history(),
            recent,
        }
    }
}

/// What `/metrics` has counted where a label has this value, by another label: one place where things are counted, and one
/// reading of it.
fn counts(metrics: &str, name: &str, of: (&str, &str), by: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (labels, value) in series(metrics, name, of) {
        if let (Some(by), Ok(value)) = (label(labels, by), value.parse::<u64>()) {
            *counts.entry(by.to_owned()).or_default() += value;
        }
    }
    counts
}

fn total(metrics: &str, name: &str, of: (&str, &str)) -> u64 {
    series(metrics, name, of).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// The labels and values of a family where a label has this value.
fn series<'m>(metrics: &'m str, name: &'m str, of: (&str, &str)) -> impl Iterator<Item = (&'m str, &'m str)> {
    let wanted = format!("{}=\"{}\"", of.0, of.1);
    let lines = metrics.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    lines.filter(move |(labels, _)| labels.split(',').any(|label| label == wanted))
}

fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
fn latency(metrics: &str, upstream: &str) -> Option<Latency> {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for (labels, value) in series(metrics, "attache_request_duration_seconds_bucket", ("upstream", upstream)) {
        let end =
            label(labels, "le").and_then(|end| if end == "+Inf" { Some(f64::INFINITY) } else { end.parse().ok() });
        let (Some(end), Ok(value)) = (end, value.parse::<u64>()) else { continue };
        // Each listener has its own.
        match buckets.iter_mut().find(|(known, _)| known.total_cmp(&end).is_eq()) {
            Some((_, count)) => *count += value,
            None => buckets.push((end, value)),
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0)?;
    let last = buckets.iter().rev().find(|(end, _)| end.is_finite())?.0;
    let at = |share: f64| {
        let bucket = buckets.iter().find(|(_, count)| *count as f64 >= share * all as f64);
        bucket.map_or(last, |(end, _)| end.min(last)) * 1e3
    };
    Some(Latency { p50: at(0.5), p95: at(0.95), p99: at(0.99) })
}

/// Every credential, in the configuration's order.
pub(super) fn credentials(runtime: &Runtime) -> Vec<CredentialStatus> {
    runtime.credentials.iter().map(|credential| CredentialStatus::new(credential)).collect()
}

impl CredentialStatus {
    /// A reading of this moment.
    #[must_use]
    pub(crate) fn new(credential: &Credential) -> Self {
        let status = credential.status();
        Self {
            name: credential.name.clone(),
            state: status.state,
            generation: status.generation,
            expires_in: status.expires_in.map(|left| left.as_secs()),
            lifetime: status.lifetime.map(|whole| whole.as_secs()),
            scope: status.scope,
            missing_scope: status.missing_scope,
            secret: status.secret,
            clock_skew: status.clock_skew,
            fetched_at: status.fetched_at.map(written),
            last_refresh_at: status.last_refresh_at.map(written),
            last_refresh_took_ms: status
                .last_refresh_took
                .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            required: credential.required,
            last_error: status.last_error.map(|error| error.message.clone()),
            usable: status.usable,
        }
    }
}

/// To the second, in UTC.
fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
attache_tunnels_total{listener=\"a\",injected=\"false\"} 3
attache_would_deny_total{listener=\"a\"} 2
attache_would_deny_total{listener=\"ab\"} 9
attache_request_duration_seconds_bucket{listener=\"a\",upstream=\"x\",le=\"0.1\"} 50
attache_request_duration_seconds_bucket{listener=\"a\",upstream=\"x\",le=\"0.5\"} 95
attache_request_duration_seconds_bucket{listener=\"a\",upstream=\"x\",le=\"+Inf\"} 100
attache_request_duration_seconds_bucket{listener=\"b\",upstream=\"x\",le=\"0.1\"} 0
attache_request_duration_seconds_bucket{listener=\"b\",upstream=\"xy\",le=\"0.1\"} 1
";

    #[test]
    fn what_was_counted_is_read_by_whole_labels() {
        assert_eq!(total(METRICS, "attache_would_deny_total", ("listener", "a")), 2);
        let tunnels = counts(METRICS, "attache_tunnels_total", ("listener", "a"), "injected");
        assert_eq!(tunnels.get("false"), Some(&3));
    }

    #[test]
    fn percentiles_are_where_their_buckets_end() {
        let latency = latency(METRICS, "x").map(|latency| [latency.p50, latency.p95, latency.p99]);
        assert_eq!(latency, Some([100.0, 500.0, 500.0]), "beyond the last bucket nobody knows");
        assert!(super::latency(METRICS, "z").is_none());
    }
}
