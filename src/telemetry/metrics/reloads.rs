//! Reloads, and whether the last one was taken, by the names that Prometheus has for its own.

use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::family::Family;
use super::series::Series;

/// A clone counts in the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReloadMetrics {
    reloads: Series<OutcomeLabel, Counter>,
    successful: Gauge,
    at: Gauge,
    waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl ReloadMetrics {
    pub(super) fn families(&self) -> [Family; 4] {
        [
            ("config_reloads", "Reloads of the configuration", Box::new(self.reloads.clone())),
            (
                "config_last_reload_successful",
                "1 if the newest configuration that was asked for is in force, 0 if it was refused",
                Box::new(self.successful.clone()),
            ),
            (
                "config_last_reload_timestamp_seconds",
                "When the configuration that is in force was taken, since 1970",
                Box::new(self.at.clone()),
            ),
            (
                "config_file_waiting",
                "1 while a changed file waits to be taken by SIGHUP or a command",
                Box::new(self.waiting.clone()),
            ),
        ]
    }

    /// The program begins with a configuration that it has taken.
    pub(crate) fn begin(&self) {
        // From zero on, so that the first failure is an increase.
        for outcome in ["ok", "failed"] {
            drop(self.reloads.get(OutcomeLabel { outcome }));
        }
        self.taken();
    }

    /// The new configuration is live, or the old one stays.
    pub(crate) fn reloaded(&self, ok: bool) {
        self.reloads.get(OutcomeLabel { outcome: if ok { "ok" } else { "failed" } }).inc();
        if ok {
            self.taken();
        } else {
            self.successful.set(0);
        }
    }

    /// A changed file is there that is not taken by itself. That is no refusal.
    pub(crate) fn waits(&self, waits: bool) {
        self.waiting.set(i64::from(waits));
    }

    fn taken(&self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.successful.set(1);
        self.at.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }
}
