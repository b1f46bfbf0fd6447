//! The dashboard and the alerts, as a real Prometheus sees them: every expression finds what it asks for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fleet::store::{Kind, StoreServer};
use crate::support::{
    ADMIN, FORWARD, Folder, LocalCa, Reply, Running, Scripted, TestProxy, TokenServer, credential, get, real_time,
    send, skipped, until, upstream,
};

fn contrib(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)).unwrap()
}

/// What panels and annotations of the dashboard ask, for all that there is.
fn asked_by_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&contrib("grafana/attache.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let written = targets.chain(annotations).map(|asked| asked["expr"].as_str().unwrap());
    // An annotation is there where something has happened; what it looks at is there always.
    written.map(|text| text.replace("$job", ".*").replace("$instance", ".*").replace(" > 0", "")).collect()
}

/// Every series that an alert looks at.
fn asked_by_alerts() -> BTreeSet<String> {
    let alerts = contrib("prometheus/alerts.yml");
    let written = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words = written.flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
    words.filter(|word| word.starts_with("attache_") || word.starts_with("process_")).map(str::to_owned).collect()
}

struct Prometheus {
    address: SocketAddr,
    _running: Running,
    _folder: Folder,
}

impl Prometheus {
    /// Reads each of these every second, with the alerts as they are but for how long they wait. `None` where there is none.
    async fn start(targets: &[SocketAddr]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
        let Some(program) = programs.find(|program| program.is_file()) else {
            skipped("there is no prometheus");
            return None;
        };
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        let folder = Folder::new();
        folder.write("alerts.yml", &without_waits(&contrib("prometheus/alerts.yml")));
        folder.write(
            "prometheus.yml",
            &format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [alerts.yml]\n\
                 scrape_configs:\n- job_name: attache\n  static_configs: [{{ targets: {targets:?} }}]\n"
            ),
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = format!("--web.listen-address={port}");
        let args = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen];
        let running = folder.start_program(program.to_str().unwrap(), &args, "");
        running.says("Server is ready to receive web requests").await;
        Some(Self { address: port, _running: running, _folder: folder })
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, &self.address.to_string(), path).await;
        assert!(answer.status < 500, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    }

    /// What an expression comes to now: labels and a value for each series.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let asked: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let data = self.ask(&format!("/api/v1/query?query={asked}")).await;
        data["result"].as_array().unwrap_or_else(|| panic!("{expression} is no expression")).clone()
    }
}

fn without_waits(alerts: &str) -> String {
    let lines = alerts.lines().map(|line| match line.split_once("for: ") {
        Some((before, _)) => format!("{before}for: 2s\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// The server takes long enough for two replicas to ask at the same time, and says what its clock shows.
async fn tokens() -> TokenServer {
    TokenServer::scripted(|_, number| {
        let date = "date: Sun, 29 Nov 2026 16:00:00 GMT\r\n";
        let reply = Reply::new(200, date, &TokenServer::granted(&format!("token-{}", number + 1), 3600));
        let Reply::Raw(bytes) = reply else { unreachable!() };
        Reply::After(Box::pin(real_time("the authorization server takes its time", Duration::from_millis(400))), bytes)
    })
    .await
}

#[tokio::test]
async fn every_expression_of_the_dashboard_and_the_alerts_finds_what_it_asks_for() {
    let Some(kind) = Kind::installed().first().copied() else { return };
    let (server, tokens, ca) = (StoreServer::start(kind, &[]), tokens().await, LocalCa::new());
    let api = Scripted::start(|asked, _| match (asked.target(), asked.field("authorization")) {
        ("/broken", _) => Reply::new(500, "", ""),
        (_, Some("Bearer token-1")) => Reply::new(401, "", ""),
        _ => Reply::ok("fine"),
    })
    .await;
    let key = "6b657920666f722074657374732c206e6f742061207365637265742061742061";
    let cache = format!("[cache]\nshared = \"redis://127.0.0.1:{}\"\nkey = \"{key}\"\n", server.port());
    let (credential, upstream) = (credential(&tokens), upstream("api", &api.origin()));
    let toml = format!("{FORWARD}{ADMIN}{cache}{}{credential}{upstream}", ca.intercept());
    let replicas = [TestProxy::start(&toml), TestProxy::start(&toml)];
    for replica in &replicas {
        until("both know of each other", async || replica.metric("attache_cache_up").await == 1.0).await;
    }
    let ask = async |replica: &TestProxy, path: &str| {
        let request = format!("GET {}{path} HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
        send(replica.address("proxy"), request).await.status
    };
    // One asks for the token, the other waits for it.
    assert_eq!(tokio::join!(ask(&replicas[0], "/"), ask(&replicas[1], "/")), (200, 200));
    let admins = replicas.each_ref().map(|replica| replica.address("admin"));
    let Some(prometheus) = Prometheus::start(&admins).await else { return };
    let traffic = async {
        loop {
            for replica in &replicas {
                ask(replica, "/").await;
                ask(replica, "/broken").await;
            }
            real_time("programs take their time", Duration::from_millis(200)).await;
        }
    };
    let looking = async {
        let asked: Vec<String> = asked_by_dashboard().into_iter().chain(asked_by_alerts()).collect();
        assert!(asked.len() > 60, "{asked:?}");
        for expression in asked {
            let finds = async || !prometheus.query(&expression).await.is_empty();
            until(&format!("{expression} has data"), finds).await;
        }
        let rules = async || prometheus.ask("/api/v1/rules").await["groups"][0]["rules"].as_array().unwrap().clone();
        until("every rule was evaluated", async || rules().await.iter().all(|rule| rule["health"] != "unknown")).await;
        for rule in rules().await {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    };
    tokio::select! {
        () = traffic => {}
        () = looking => {}
    }
}

/// One that is refused is told of for as long as it is: no try in between, and no end of a back-off, ends the alert.
#[tokio::test]
async fn the_alert_of_a_credential_without_a_token_has_no_gap() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(503, "", "")).await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = format!("{FORWARD}{ADMIN}{}{}", credential(&tokens), upstream("api", &api.origin()));
    let proxy = TestProxy::start(&toml);
    let Some(prometheus) = Prometheus::start(&[proxy.address("admin")]).await else { return };
    let job = async {
        loop {
            let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
            assert_eq!(send(proxy.address("proxy"), request).await.status, 503);
            real_time("the job waits for its turn", Duration::from_millis(300)).await;
        }
    };
    let firing = "ALERTS{alertname=\"AttacheTokenMissing\",alertstate=\"firing\",credential=\"key\"}";
    let looking = async {
        until("it fires", async || !prometheus.query(firing).await.is_empty()).await;
        let tries = tokens.requests();
        // The value is since when: an alert that ended and began again would have another.
        let gaps = async || prometheus.query("changes(ALERTS_FOR_STATE{alertname=\"AttacheTokenMissing\"}[5m])").await;
        until("more tries have failed", async || {
            assert!(gaps().await.iter().all(|gaps| gaps["value"][1] == "0"), "it has ended and begun again");
            tokens.requests() >= tries + 3
        })
        .await;
        assert!(!prometheus.query(firing).await.is_empty());
    };
    tokio::select! {
        () = job => {}
        () = looking => {}
    }
}
