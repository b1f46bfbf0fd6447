//! A running attache on free ports.

use std::net::SocketAddr;
use std::time::Duration;

use attache::app::App;
use attache::app::ListenAddress;
use attache::config::Config;

/// An attache that runs until it is dropped.
pub struct TestProxy {
    app: App,
}

impl TestProxy {
    /// Starts one with this configuration. Addresses with port 0 take free ports.
    pub fn start(toml: &str) -> Self {
        Self::start_with(toml, 2)
    }

    /// With this many workers; on one, all requests share one pool of upstream connections.
    pub fn start_with(toml: &str, workers: usize) -> Self {
        let config = Config::parse("test.toml", toml).unwrap_or_else(|errors| panic!("{errors}"));
        Self::of(config, workers)
    }

    /// With the configuration in this file, which may change.
    pub fn of_file(path: &std::path::Path) -> Self {
        Self::of(Config::load(path).unwrap_or_else(|errors| panic!("{errors}")), 2)
    }

    /// As [`TestProxy::start`]; callers' connections are parked as soon as they are idle.
    pub fn parking_at_once(toml: &str) -> Self {
        let config = Config::parse("test.toml", toml).unwrap_or_else(|errors| panic!("{errors}"));
        Self::of(config.parking_after(Duration::ZERO), 2)
    }

    /// As [`TestProxy::of_file`], in the same way.
    pub fn of_file_parking_at_once(path: &std::path::Path) -> Self {
        let config = Config::load(path).unwrap_or_else(|errors| panic!("{errors}"));
        Self::of(config.parking_after(Duration::ZERO), 2)
    }

    fn of(config: Config, workers: usize) -> Self {
        let app = App::start_with(config, workers).unwrap_or_else(|error| panic!("{error}"));
        Self { app }
    }

    /// Has the file read again, as SIGHUP does.
    pub async fn reload(&self) -> attache::app::Reload {
        self.app.reload().await
    }

    /// Where a listener really is; `admin` for the admin listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.app.addresses();
        let found = addresses.into_iter().find(|(name, _)| name == listener).map(|(_, address)| address);
        match found {
            Some(ListenAddress::Tcp(address)) => address,
            other => panic!("listener {listener} is {other:?}"),
        }
    }

    /// The sum of all series of `/metrics` that have this name and these labels, whatever others they have; 0 if there are none.
    /// Needs an `[admin]` listener.
    pub async fn metric(&self, series: &str) -> f64 {
        let answer = super::get(self.address("admin"), "127.0.0.1", "/metrics").await;
        let (name, wanted) = labels(series);
        let lines = answer.text().lines().filter_map(|line| line.rsplit_once(' '));
        let matching = lines.filter(|(series, _)| {
            let (found, labels) = labels(series);
            found == name && wanted.iter().all(|label| labels.contains(label))
        });
        matching.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Sends callers elsewhere, as a signal does while there is a `drain_delay`.
    pub fn announce_end(&self) {
        self.app.announce_end();
    }

    /// Drains and ends.
    pub async fn shutdown(self) {
        self.app.shutdown().await;
    }
}

/// The name of a series, and its labels. (Values here have no comma.)
fn labels(series: &str) -> (&str, Vec<&str>) {
    let Some((name, labels)) = series.split_once('{') else { return (series, Vec::new()) };
    (name, labels.trim_end_matches('}').split(',').collect())
}
