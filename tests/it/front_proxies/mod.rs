//! Proxies in front of attache, which say where their callers are: before each connection, or in each request.

mod haproxy;
mod proxy_protocol;
mod trusted_proxies;

use std::path::PathBuf;

use crate::support::{ADMIN, Reply, Scripted, TestProxy, until};

/// With a token for it, a tunnel is opened.
const CREDENTIAL: &str = "[credentials.key]\nkind = \"bearer\"\ntoken = \"t0ken-of-mine\"\n";

/// An upstream that answers everything, attache in front of it, and its access log.
struct Front {
    proxy: TestProxy,
    api: Scripted,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Front {
    /// With these keys for a reverse listener `base`, and these tables besides.
    async fn start(keys: &str, tables: &str) -> Self {
        let listener =
            format!("[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{keys}");
        Self::with(&format!("{listener}{tables}"), TestProxy::start).await
    }

    async fn with(toml: &str, start: impl Fn(&str) -> TestProxy) -> Self {
        let (api, folder) = (Scripted::start(|_, _| Reply::ok("fine")).await, tempfile::tempdir().unwrap());
        let log = folder.path().join("access.log");
        let toml = format!(
            "{toml}{ADMIN}[telemetry]\naccess_log = \"{}\"\naccess_log_format = \"json\"\n{CREDENTIAL}[upstreams.api]\norigin = \"{}\"\ncredential = \"key\"\n",
            log.display(),
            api.origin()
        );
        Self { proxy: start(&toml), api, log, _folder: folder }
    }

    /// Where the requests for this path came from, once there are so many of them.
    async fn peers(&self, path: &str, count: usize) -> Vec<String> {
        let peers = || -> Vec<String> {
            let text = std::fs::read_to_string(&self.log).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.filter(|line| line["path"] == path).map(|line| line["peer"].as_str().unwrap().to_owned()).collect()
        };
        until(&format!("{count} lines for {path:?}"), async || peers().len() >= count).await;
        peers()
    }

    async fn peer(&self, path: &str) -> String {
        self.peers(path, 1).await.remove(0)
    }
}

/// A header of the PROXY protocol, version 1.
fn v1(source: &str) -> String {
    let source: std::net::SocketAddr = source.parse().unwrap();
    let (family, destination) = if source.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
    format!("PROXY {family} {} {destination} {} 443\r\n", source.ip(), source.port())
}
