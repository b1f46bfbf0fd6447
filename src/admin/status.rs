//! Takes a reading of what is running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::reloads::Reloads;
use super::report::{Counts, CredentialStatus, Latency, ListenerStatus, StatusReport, UpstreamStatus};
use crate::credential::Credential;
use crate::listen::Listening;
use crate::runtime::Runtime;
use crate::telemetry::{AccessRecord, RequestMetrics};

/// A reading of this moment.
pub(super) fn report(
    runtime: &Runtime,
    listening: &Listening,
    reloads: &Reloads,
    metrics: &RequestMetrics,
    recent: Vec<Arc<AccessRecord>>,
) -> StatusReport {
    let upstreams = runtime.routes.iter().map(|route| UpstreamStatus {
        name: route.name().to_owned(),
        origin: route.upstream.settings.origin.to_string(),
        credential: route.credential.as_ref().map(|credential| credential.name.clone()),
        connections: route.upstream.connections.get(),
        requests: counts(metrics.requests_of(route.name())),
        unauthorized: counts(metrics.unauthorized_of(route.name())),
        latency_ms: metrics.latency_of(route.name()).map(|seconds| Latency {
            p50: seconds.p50 * 1e3,
            p95: seconds.p95 * 1e3,
            p99: seconds.p99 * 1e3,
        }),
    });
    let listeners = listening.all().into_iter().map(|listener| ListenerStatus {
        tunnels: counts(metrics.tunnels_of(&listener.name)),
        would_deny: metrics.would_deny_of(&listener.name),
        name: listener.name,
        address: listener.address.to_string(),
        mode: listener.mode.into(),
    });
    StatusReport {
        version: env!("CARGO_PKG_VERSION").into(),
        credentials: credentials(runtime),
        upstreams: upstreams.collect(),
        listeners: listeners.collect(),
        reloads: reloads.history(),
        recent,
    }
}

fn counts(of: BTreeMap<&'static str, u64>) -> Counts {
    of.into_iter().map(|(outcome, count)| (outcome.into(), count)).collect()
}

/// Every credential, in the configuration's order.
pub(super) fn credentials(runtime: &Runtime) -> Vec<CredentialStatus> {
    runtime.credentials.iter().map(|one| credential(one)).collect()
}

pub(super) fn credential(credential: &Credential) -> CredentialStatus {
    let status = credential.status();
    CredentialStatus {
        name: credential.name.clone(),
        state: status.state.into(),
        generation: status.generation,
        expires_in: status.expires_in.map(|left| left.as_secs()),
        lifetime: status.lifetime.map(|whole| whole.as_secs()),
        scope: status.scope,
        missing_scope: status.missing_scope,
        secret: status.secret,
        clock_skew: status.clock_skew,
        fetched_at: status.fetched_at.map(written),
        last_refresh_at: status.last_refresh_at.map(written),
        last_refresh_took_ms: status.last_refresh_took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        required: credential.required,
        remedy: status.last_error.as_ref().and_then(|error| error.remedy.clone()),
        last_error: status.last_error.map(|error| error.message.clone()),
        usable: status.usable,
    }
}

/// To the second, in UTC.
fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
