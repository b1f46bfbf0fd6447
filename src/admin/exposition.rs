//! `/metrics`: OpenMetrics as the library writes it, or the older Prometheus text.

use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::fleet::{CacheMetrics, Fleet};
use crate::runtime::SharedRuntime;
use crate::store::StoreState;
use crate::telemetry::family::{self, Family};
use crate::telemetry::{ProcessFigures, RequestMetrics};
use crate::token::{TokenMetrics, TokenStatus};

pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted where it happens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub(crate) requests: RequestMetrics,
    pub(crate) tokens: TokenMetrics,
    pub(crate) cache: CacheMetrics,
}

/// Everything that is counted, under the product's prefix.
#[derive(Debug)]
pub(super) struct Exposition {
    attache: Registry,
    /// Under names without attache's prefix.
    process: Registry,
}

impl Exposition {
    pub(super) fn new(metrics: &Counted, runtime: SharedRuntime) -> Self {
        let mut registry = Registry::with_prefix("attache");
        family::register(&mut registry, families(metrics));
        registry.register_collector(Box::new(Lifetimes(runtime.clone())));
        registry.register_collector(Box::new(Sharing(runtime)));
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessFigures));
        Self { attache: registry, process }
    }

    /// In the one format or the other.
    pub(super) fn text(&self, open_metrics: bool) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.attache);
        text.truncate(text.trim_end_matches("# EOF\n").len());
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.process);
        if open_metrics { text } else { to_prometheus(&text) }
    }
}

fn families(metrics: &Counted) -> Vec<Family> {
    let Counted { requests, tokens, cache } = metrics;
    let cache = cache.store.families().into_iter().chain(cache.fleet.families());
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    let build: Family = ("build", "The running version", Box::new(version));
    requests.families().into_iter().chain(tokens.families()).chain(cache).chain([build]).collect()
}

/// Read from the credentials when asked: nothing has to keep a gauge up to date.
#[derive(Debug)]
struct Lifetimes(SharedRuntime);

#[expect(clippy::cast_precision_loss, reason = "seconds and counts are far below 2^52")]
impl Collector for Lifetimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Figure = fn(&TokenStatus) -> f64;
        let families: [(&str, &str, Figure); 4] = [
            ("token_expires_in_seconds", "Seconds until the current token expires; 0 without one", |status| {
                status.expires_in.map_or(0.0, |left| left.as_secs() as f64)
            }),
            ("token_age_seconds", "Seconds since the current token came; 0 without one", |status| {
                let age = status.fetched_at.and_then(|at| SystemTime::now().duration_since(at).ok());
                age.map_or(0.0, |age| age.as_secs() as f64)
            }),
            ("token_generation", "Tokens obtained since the start", |status| status.generation as f64),
            ("token_waiters", "Requests that wait for a token now", |status| status.waiters as f64),
        ];
        let runtime = self.0.current();
        for (name, help, figure) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for credential in runtime.credentials.iter().filter(|credential| credential.is_obtained()) {
                let labels = [("credential", credential.name.as_str())];
                ConstGauge::new(figure(&credential.status())).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// How the replica stands with the others. Without `[cache]` there is nothing that could be up or down.
#[derive(Debug)]
struct Sharing(SharedRuntime);

impl Collector for Sharing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Figure = fn(&Fleet) -> f64;
        let families: [(&str, &str, Figure); 3] = [
            ("cache_up", "1 with a connection to the shared cache, 0 without", |fleet| {
                if fleet.store().state == StoreState::Away { 0.0 } else { 1.0 }
            }),
            ("cache_replicas", "Replicas that share tokens, by the newest heartbeat", |fleet| {
                f64::from(fleet.replica().replicas())
            }),
            ("cache_clock_skew_seconds", "By how much the shared cache's clock is ahead of this machine's", |fleet| {
                fleet.replica().skew()
            }),
        ];
        let fleet = self.0.current().fleet.upgrade();
        for (name, help, figure) in families {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let Some(fleet) = &fleet {
                ConstGauge::new(figure(fleet)).encode(family)?;
            }
        }
        Ok(())
    }
}

/// The older format names a counter's series in its HELP and TYPE lines, and knows neither info metrics nor an end mark.
fn to_prometheus(text: &str) -> String {
    let mut counters = Vec::new();
    let mut infos = Vec::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            match kind {
                "counter" => counters.push(name),
                "info" => infos.push(name),
                _ => {}
            }
        }
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT")) {
        let comment = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        let named = comment.and_then(|(word, rest)| rest.split_once(' ').map(|(name, rest)| (word, name, rest)));
        match named {
            Some((word, name, rest)) if counters.contains(&name) => out += &format!("# {word} {name}_total {rest}"),
            Some((word, name, rest)) if infos.contains(&name) => {
                let rest = if word == "TYPE" { "gauge" } else { rest };
                out += &format!("# {word} {name}_info {rest}");
            }
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::runtime::{Runtime, UnmatchedRuntime};

    #[test]
    fn counters_keep_their_type_and_help_in_the_older_format() {
        let mut registry = Registry::with_prefix("attache");
        let family = prometheus_client::metrics::family::Family::<Vec<(String, String)>, Counter>::default();
        family.get_or_create(&vec![("upstream".into(), "a\"b".into())]).inc();
        registry.register("requests", "Requests", family);
        registry.register("build", "Version", Info::new([("version", "1")]));
        let text = Exposition { attache: registry, process: Registry::default() }.text(false);
        assert_eq!(
            text,
            "# HELP attache_requests_total Requests.\n# TYPE attache_requests_total counter\n\
             attache_requests_total{upstream=\"a\\\"b\"} 1\n# HELP attache_build_info Version.\n\
             # TYPE attache_build_info gauge\nattache_build_info{version=\"1\"} 1\n"
        );
    }

    /// Made from what is registered, so that a family that has no series yet is on the page too.
    #[test]
    fn the_reference_page_has_every_family() {
        let mut attache = Registry::with_prefix("attache");
        family::describe(&mut attache, families(&Counted::default()));
        attache.register_collector(Box::new(Lifetimes(nothing())));
        attache.register_collector(Box::new(Sharing(nothing())));
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessFigures));
        let text = Exposition { attache, process }.text(false);

        let mut rows = BTreeMap::<&str, (&str, &str)>::new();
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                rows.entry(name).or_default().1 = help.trim_end_matches('.');
            }
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                rows.entry(name).or_default().0 = kind;
            }
        }
        let mut page = PAGE.to_owned();
        for (name, (kind, help)) in rows {
            page += &format!("| `{name}` | {kind} | {help} |\n");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("ATTACHE_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page, "write it anew: ATTACHE_WRITE_DOCS=1 cargo test --lib exposition");
    }

    const PAGE: &str = "\
# Metrics

At `/metrics` of the `[admin]` listener, as Prometheus text, or as OpenMetrics where `Accept` asks for it. A family appears with its
first series. Labels hold names of the configuration and nothing that a caller or server has said. This page is written and checked by a
test: `ATTACHE_WRITE_DOCS=1 cargo test --lib exposition`.

| metric | type | is |
|---|---|---|
";

    fn nothing() -> SharedRuntime {
        let nothing = Runtime {
            listeners: Vec::new(),
            credentials: Vec::new(),
            routes: Vec::new(),
            unmatched: UnmatchedRuntime::Deny,
            authority: None,
            fleet: std::sync::Weak::new(),
        };
        SharedRuntime::new(Arc::new(nothing))
    }
}
