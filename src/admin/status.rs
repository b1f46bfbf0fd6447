//! Takes a reading of what is running.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::attention;
use super::reloads::Reloads;
use super::report::{
    CacheStatus, Counts, CredentialStatus, FailureStatus, Latency, ListenerStatus, RefusedHost, SharedStatus,
    StatusReport, UpstreamStatus,
};
use super::stopping::Stopping;
use crate::credential::Credential;
use crate::fleet::Fleet;
use crate::listen::Listening;
use crate::route::Route;
use crate::runtime::{Runtime, UnmatchedRuntime};
use crate::telemetry::{RequestMetrics, UpstreamFigures};
use crate::token::Shared;

/// A reading of this moment.
pub(super) fn report(
    runtime: &Runtime,
    listening: &Listening,
    reloads: &Reloads,
    stopping: &Stopping,
    metrics: &RequestMetrics,
) -> StatusReport {
    let mut figures = metrics.upstreams();
    let upstreams =
        runtime.routes.iter().map(|route| upstream(route, figures.remove(route.name()).unwrap_or_default()));
    let listeners = listening.all().into_iter().map(|listener| ListenerStatus {
        tunnels: counts(metrics.tunnels_of(&listener.name)),
        would_deny: metrics.would_deny_of(&listener.name),
        name: listener.name,
        address: listener.address.to_string(),
        mode: listener.mode.into(),
    });
    let mut report = StatusReport {
        version: env!("CARGO_PKG_VERSION").into(),
        stopping: stopping.has_begun(),
        cache: runtime.fleet.upgrade().as_deref().map(cache),
        credentials: credentials(runtime),
        upstreams: upstreams.collect(),
        listeners: listeners.collect(),
        waiting_file: reloads.waiting(),
        reloads: reloads.history(),
        refused_hosts: refused_hosts(runtime, metrics),
        attention: Vec::new(),
    };
    report.attention = attention::of(&report, SystemTime::now());
    report
}

fn upstream(route: &Route, figures: UpstreamFigures) -> UpstreamStatus {
    let millis = |seconds: f64| seconds * 1e3;
    let latency = figures.latency().map(|latency| Latency {
        p50: millis(latency.p50),
        p95: millis(latency.p95),
        p99: millis(latency.p99),
    });
    UpstreamStatus {
        name: route.name().to_owned(),
        origin: route.upstream.settings.origin.to_string(),
        credential: route.credential.as_ref().map(|credential| credential.name.clone()),
        connections: route.upstream.metrics.connections.get(),
        requests: counts(figures.requests),
        unauthorized: counts(figures.unauthorized),
        latency_ms: latency,
        last_failure: figures.last_failure.map(|(failure, recovered)| FailureStatus {
            at: written(failure.at),
            status: failure.status,
            sentence: failure.sentence,
            recovered,
        }),
        last_unread_tunnel: figures.last_unread_tunnel.map(written),
    }
}

fn refused_hosts(runtime: &Runtime, metrics: &RequestMetrics) -> Vec<RefusedHost> {
    let refused = matches!(runtime.unmatched, UnmatchedRuntime::Deny);
    let all = metrics.refused_hosts.all().into_iter();
    all.map(|(origin, of)| RefusedHost {
        origin,
        count: of.count,
        listener: of.listener,
        last: written(of.last),
        refused,
    })
    .collect()
}

fn counts(of: BTreeMap<&'static str, u64>) -> Counts {
    of.into_iter().map(|(outcome, count)| (outcome.into(), count)).collect()
}

/// Every credential, in the configuration's order.
pub(super) fn credentials(runtime: &Runtime) -> Vec<CredentialStatus> {
    runtime.credentials.iter().map(|one| credential(runtime, one)).collect()
}

pub(super) fn credential(runtime: &Runtime, credential: &Credential) -> CredentialStatus {
    let status = credential.status();
    let is_in_fleet = runtime.fleet.strong_count() > 0;
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
        shared: is_in_fleet.then(|| shared(credential, status.shared.as_ref())),
        usable: status.usable,
    }
}

fn shared(credential: &Credential, standing: Option<&Shared>) -> SharedStatus {
    SharedStatus {
        generation: standing.map(|shared| shared.generation).filter(|generation| *generation > 0),
        origin: standing.map(|shared| shared.origin.as_str().into()),
        by: standing.map(|shared| shared.by.to_string()),
        why_not: credential.unshared().map(|why| why.to_string()),
    }
}

/// Asks nobody: it is as the connection was left by the last question.
fn cache(fleet: &Fleet) -> CacheStatus {
    let (store, replica) = (fleet.store(), fleet.replica());
    CacheStatus {
        state: store.state.as_str().into(),
        since: written(store.since),
        server: store.server,
        address: store.address.unwrap_or_else(|| fleet.settings().store.places()),
        tls: store.tls,
        push: store.push.as_str().into(),
        instance: replica.instance().to_owned(),
        replicas: replica.replicas(),
        latency_ms: store.latency.map(|took| (took.as_secs_f64() * 1e5).round() / 1e2),
        last_error: store.last_error,
        keys: replica.key_ids(),
        clock_skew: whole_seconds(replica.skew()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a skew of clocks, in seconds")]
fn whole_seconds(skew: f64) -> i64 {
    skew.round() as i64
}

/// To the second, in UTC.
pub(super) fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
