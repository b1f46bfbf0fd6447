//! What is running, as one structure for JSON now and for the page later. Holds no secret and no token.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::reloads::{Reload, Reloads};
use crate::credential::Credential;
use crate::listen::Listening;
use crate::runtime::Runtime;

/// `/api/status`.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    version: &'static str,
    credentials: Vec<CredentialStatus>,
    upstreams: Vec<UpstreamStatus>,
    listeners: Vec<ListenerStatus>,
    /// The last ones, the newest first.
    reloads: Vec<Reload>,
}

/// One credential.
#[derive(Debug, Serialize)]
pub struct CredentialStatus {
    /// The name in the configuration.
    pub name: String,
    /// `empty`, `ready`, `refreshing` or `failed`.
    pub state: &'static str,
    /// Tokens obtained so far; of a fixed credential, the secrets that were read one after the other.
    pub generation: u64,
    /// Seconds left of the current token; a fixed credential has none.
    pub expires_in: Option<u64>,
    /// Seconds that it had in all.
    pub lifetime: Option<u64>,
    /// What the server granted.
    pub scope: Option<String>,
    /// What was asked for and not granted, separated by spaces.
    pub missing_scope: Option<String>,
    /// Which of several secrets works.
    pub secret: Option<String>,
    /// Seconds by which the authorization server's clock is ahead of this machine's; negative: behind.
    pub clock_skew: Option<i64>,
    /// When the current token came (RFC 3339).
    pub fetched_at: Option<String>,
    /// When the newest token request ended, well or not (RFC 3339).
    pub last_refresh_at: Option<String>,
    /// How long it took, in milliseconds.
    pub last_refresh_took_ms: Option<u64>,
    /// `/readyz` waits for it.
    pub required: bool,
    /// The remembered failure.
    pub last_error: Option<String>,
    /// There is something that may be put on a request now.
    #[serde(skip)]
    pub usable: bool,
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
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    name: String,
    address: String,
    mode: &'static str,
}

impl StatusReport {
    /// A reading of this moment.
    #[must_use]
    pub fn new(runtime: &Runtime, listening: &Listening, reloads: &Reloads, metrics: &str) -> Self {
        let upstreams = runtime.routes.iter().map(|route| UpstreamStatus {
            name: route.name().to_owned(),
            origin: route.upstream.settings.origin.to_string(),
            credential: route.credential.as_ref().map(|credential| credential.name.clone()),
            connections: route.upstream.connections.get(),
            requests: counts(metrics, "attache_requests_total", route.name()),
            unauthorized: counts(metrics, "attache_unauthorized_total", route.name()),
        });
        let listeners = listening.all().into_iter().map(|listener| ListenerStatus {
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
        }
    }
}

/// What `/metrics` has counted for an upstream, by outcome: one place where things are counted, and one reading of it.
fn counts(metrics: &str, name: &str, upstream: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let upstream = format!("upstream=\"{upstream}\"");
    for line in metrics.lines().filter_map(|line| line.strip_prefix(name)) {
        let Some((labels, value)) = line.strip_prefix('{').and_then(|line| line.split_once("} ")) else { continue };
        let outcome = labels.split_once("outcome=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((outcome, _)), Ok(value), true) = (outcome, value.parse::<u64>(), labels.contains(&upstream)) {
            *counts.entry(outcome.to_owned()).or_default() += value;
        }
    }
    counts
}

/// Every credential, in the configuration's order.
pub(super) fn credentials(runtime: &Runtime) -> Vec<CredentialStatus> {
    runtime.credentials.iter().map(|credential| CredentialStatus::new(credential)).collect()
}

impl CredentialStatus {
    /// A reading of this moment.
    #[must_use]
    pub fn new(credential: &Credential) -> Self {
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
