//! `/metrics`: OpenMetrics as the library writes it, or the older Prometheus text.

use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::runtime::SharedRuntime;
use crate::telemetry::{ProcessFigures, RequestMetrics};
use crate::token::{TokenMetrics, TokenStatus};

pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted, under the product's prefix.
#[derive(Debug)]
pub(super) struct Exposition {
    ours: Registry,
    /// Under names without our prefix.
    process: Registry,
}

impl Exposition {
    pub(super) fn new(requests: &RequestMetrics, tokens: &TokenMetrics, runtime: SharedRuntime) -> Self {
        let mut registry = Registry::with_prefix("attache");
        requests.register(&mut registry);
        tokens.register(&mut registry);
        registry.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_collector(Box::new(Lifetimes(runtime)));
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessFigures));
        Self { ours: registry, process }
    }

    /// In the one format or the other.
    pub(super) fn text(&self, open_metrics: bool) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.ours);
        text.truncate(text.trim_end_matches("# EOF\n").len());
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.process);
        if open_metrics { text } else { to_prometheus(&text) }
    }
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
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    #[test]
    fn counters_keep_their_type_and_help_in_the_older_format() {
        let mut registry = Registry::with_prefix("attache");
        let family = Family::<Vec<(String, String)>, Counter>::default();
        family.get_or_create(&vec![("upstream".into(), "a\"b".into())]).inc();
        registry.register("requests", "Requests", family);
        registry.register("build", "Version", Info::new([("version", "1")]));
        let text = Exposition { ours: registry, process: Registry::default() }.text(false);
        assert_eq!(
            text,
            "# HELP attache_requests_total Requests.\n# TYPE attache_requests_total counter\n\
             attache_requests_total{upstream=\"a\\\"b\"} 1\n# HELP attache_build_info Version.\n\
             # TYPE attache_build_info gauge\nattache_build_info{version=\"1\"} 1\n"
        );
    }
}
