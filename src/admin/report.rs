//! What is running, as one document: written by the admin API, and read by `attache status` and its siblings. It holds no secret
//! and no token. What an older or newer attache leaves out is empty.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reloads::{Reload, WaitingFile};

/// By outcome.
pub(crate) type Counts = BTreeMap<Cow<'static, str>, u64>;

/// `/api/status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    pub(crate) version: Cow<'static, str>,
    /// Callers have to go elsewhere: it ends soon, or finishes what is in progress.
    #[serde(default)]
    pub(crate) stopping: bool,
    /// Without `[cache]` there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<CacheStatus>,
    #[serde(default)]
    pub(crate) credentials: Vec<CredentialStatus>,
    #[serde(default)]
    pub(crate) upstreams: Vec<UpstreamStatus>,
    #[serde(default)]
    pub(crate) listeners: Vec<ListenerStatus>,
    /// A changed configuration file that waits to be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_file: Option<WaitingFile>,
    /// The last ones, the newest first.
    #[serde(default)]
    pub(crate) reloads: Vec<Reload>,
    /// Hosts that no upstream covers, the one that was asked for last first.
    #[serde(default)]
    pub(crate) refused_hosts: Vec<RefusedHost>,
    /// What a person should see first, the worst first.
    #[serde(default)]
    pub(crate) attention: Vec<Attention>,
}

/// Requests that had no upstream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusedHost {
    /// Scheme, host and port, as it was asked for.
    pub(crate) origin: String,
    pub(crate) count: u64,
    /// Where the newest one came in.
    pub(crate) listener: String,
    /// When (RFC 3339).
    pub(crate) last: String,
    /// `false` where `unmatched = "report"` let them pass.
    pub(crate) refused: bool,
}

/// Something that does not work, in a sentence, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attention {
    /// `failing`: requests fail because of it; `warning`: they will, or something is not as it was meant.
    pub(crate) level: Cow<'static, str>,
    /// `credential`, `upstream`, `configuration`, `cache`, `listener` or `hosts`.
    pub(crate) about: Cow<'static, str>,
    /// Of that; none where there is only one.
    pub(crate) name: Option<String>,
    pub(crate) sentence: String,
    pub(crate) next_step: String,
    /// Since when, or when it happened last (RFC 3339).
    pub(crate) at: Option<String>,
}

/// The shared cache, and what replicas there know of each other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CacheStatus {
    /// `connected`, `away` or `refusing_writes`.
    pub(crate) state: Cow<'static, str>,
    /// Since when (RFC 3339).
    pub(crate) since: String,
    /// Name and version as it says them, of the last connection.
    pub(crate) server: Option<String>,
    /// Where the last connection went; before the first, what is configured.
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) tls: bool,
    /// Whether it says what others have put: `on`, `off` or `refused`.
    #[serde(default)]
    pub(crate) push: Cow<'static, str>,
    /// This one's name among them.
    #[serde(default)]
    pub(crate) instance: String,
    /// By the newest heartbeat, with this one.
    #[serde(default)]
    pub(crate) replicas: u32,
    /// How long the last answer took.
    pub(crate) latency_ms: Option<f64>,
    pub(crate) last_error: Option<String>,
    /// The ids of the keys, the one that seals first.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// Seconds by which its clock is ahead of this machine's; negative: behind.
    #[serde(default)]
    pub(crate) clock_skew: i64,
}

/// Where a credential's token stands among those of all replicas.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SharedStatus {
    /// Its number among them; none for one that the others do not have.
    pub(crate) generation: Option<u64>,
    /// `adopted`, `led` or `alone`.
    pub(crate) origin: Option<Cow<'static, str>>,
    /// The replica that obtained it.
    pub(crate) by: Option<String>,
    /// Why its tokens stay in this process.
    pub(crate) why_not: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CredentialStatus {
    /// The name in the configuration.
    pub(crate) name: String,
    /// `empty`, `ready`, `refreshing` or `failed`.
    pub(crate) state: Cow<'static, str>,
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
    #[serde(default)]
    pub(crate) required: bool,
    /// The remembered failure.
    pub(crate) last_error: Option<String>,
    /// What to do about it, which it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
    /// Without `[cache]` there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared: Option<SharedStatus>,
    /// There is something that may be put on a request now.
    #[serde(skip)]
    pub(crate) usable: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UpstreamStatus {
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) credential: Option<String>,
    #[serde(default)]
    pub(crate) connections: i64,
    /// `attache_requests_total` of all listeners, by outcome.
    #[serde(default)]
    pub(crate) requests: Counts,
    /// `attache_unauthorized_total`, by what was done.
    #[serde(default)]
    pub(crate) unauthorized: Counts,
    /// Of all requests since the start.
    pub(crate) latency_ms: Option<Latency>,
    /// The newest request that got no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_failure: Option<FailureStatus>,
    /// When a tunnel into which a token belongs passed unread (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_unread_tunnel: Option<String>,
}

impl Attention {
    pub(crate) fn is_about_credential(&self, name: &str) -> bool {
        self.about == "credential" && self.name.as_deref() == Some(name)
    }
}

/// Why a request got no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailureStatus {
    /// RFC 3339.
    pub(crate) at: String,
    /// What the caller was answered.
    pub(crate) status: u16,
    pub(crate) sentence: String,
    /// Requests have been answered since.
    #[serde(default)]
    pub(crate) recovered: bool,
}

/// Read off the buckets of `attache_request_duration_seconds`: each is where a bucket ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListenerStatus {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) mode: Cow<'static, str>,
    /// `attache_tunnels_total`: `true` were opened, into `false` no token could go.
    #[serde(default)]
    pub(crate) tunnels: Counts,
    /// What `unmatched = "deny"` would have refused.
    #[serde(default)]
    pub(crate) would_deny: u64,
}

/// `/readyz`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// Callers have to go elsewhere: it ends soon, or finishes what is in progress.
    #[serde(default)]
    pub(crate) stopping: bool,
    /// The state of the shared cache, for which it never waits; without `[cache]` there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<Cow<'static, str>>,
    #[serde(default)]
    pub(crate) credentials: Vec<CredentialStatus>,
}
