//! `/metrics`: OpenMetrics as the library writes it, or the older Prometheus text.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::gauges::{Certificates, Lifetimes, Sharing};
use crate::fleet::CacheMetrics;
use crate::runtime::SharedRuntime;
use crate::telemetry::family::{self, Family};
use crate::telemetry::{ProcessFigures, RequestMetrics};
use crate::token::TokenMetrics;

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
    requests: RequestMetrics,
    /// Under names without attache's prefix.
    process: Registry,
}

impl Exposition {
    pub(super) fn new(metrics: &Counted, runtime: &SharedRuntime) -> Self {
        let mut registry = Registry::with_prefix("attache");
        family::register(&mut registry, families(metrics));
        collect(&mut registry, runtime);
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessFigures));
        Self { attache: registry, requests: metrics.requests.clone(), process }
    }

    /// In the one format or the other.
    pub(super) fn text(&self, open_metrics: bool) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.attache);
        text.truncate(text.trim_end_matches("# EOF\n").len());
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.process);
        if open_metrics { self.requests.with_exemplars(text) } else { to_prometheus(&text) }
    }
}

/// What is read when it is asked for.
fn collect(registry: &mut Registry, runtime: &SharedRuntime) {
    registry.register_collector(Box::new(Lifetimes(runtime.clone())));
    registry.register_collector(Box::new(Certificates(runtime.clone())));
    registry.register_collector(Box::new(Sharing(runtime.clone())));
}

fn families(metrics: &Counted) -> Vec<Family> {
    let Counted { requests, tokens, cache } = metrics;
    let cache = cache.store.families().into_iter().chain(cache.fleet.families());
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    let build: Family = ("build", "The running version", Box::new(version));
    requests.families().into_iter().chain(tokens.families()).chain(cache).chain([build]).collect()
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
        let (requests, process) = (RequestMetrics::default(), Registry::default());
        let text = Exposition { attache: registry, requests, process }.text(false);
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
        collect(&mut attache, &nothing());
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessFigures));
        let text = Exposition { attache, requests: RequestMetrics::default(), process }.text(false);

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

At `/metrics` of the `[admin]` listener, as Prometheus text, or as OpenMetrics where `Accept` asks for it, with gzip where
`Accept-Encoding` does. A family appears with its first series, and a series of requests with its first request; the labels are in
[operations.md](operations.md#labels-and-what-is-not-obvious). They hold names of the configuration and nothing that a caller or server has
said. This page is written from all that is registered, and checked, by a test: `ATTACHE_WRITE_DOCS=1 cargo test --lib exposition`.

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
            certificates: Vec::new(),
            fleet: std::sync::Weak::new(),
        };
        SharedRuntime::new(Arc::new(nothing))
    }
}
