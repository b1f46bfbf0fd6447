//! The exposition: as other programs parse it, and as the dashboard, the alerts and the documentation know it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::clients::{python, there_is};
use crate::support::{
    ADMIN, Asked, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, World, credential, get, send, upstream,
};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

struct Renewed {
    proxy: TestProxy,
    _api: Scripted,
    _tokens: TokenServer,
}

/// After one request that was renewed, so that most families have a series.
async fn renewed() -> Renewed {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| {
        if asked.field("authorization") == Some("Bearer token-1") { Reply::new(401, "", "") } else { Reply::ok("fine") }
    })
    .await;
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{}{}", credential(&tokens), upstream("api", &api.origin())));
    let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
    assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
    Renewed { proxy, _api: api, _tokens: tokens }
}

impl Renewed {
    async fn text(&self, accept: &str) -> String {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        let answer = send(self.proxy.address("admin"), request).await;
        assert_eq!(answer.status, 200);
        answer.text().to_owned()
    }
}

/// Type and help of every family, by the name in the Prometheus text.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut families: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.clone_into(&mut families.entry(name.to_owned()).or_default().1);
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().0);
        }
    }
    families
}

/// Every name of a metric in a text of queries.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = |word: &&str| word.starts_with("attache_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[tokio::test]
async fn both_formats_are_parsed_by_a_client_library() {
    let python = python();
    if !there_is(&python, &["-c", "import prometheus_client"]) {
        return;
    }
    let world = renewed().await;
    let folder = Folder::new();
    folder.write("prometheus", &world.text("text/plain").await);
    folder.write("open", &world.text("application/openmetrics-text").await);
    let script = "
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
def values(families): return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}
one, other = values(plain(open('prometheus').read())), values(strict(open('open').read()))
assert one.keys() == other.keys(), set(one) ^ set(other)
key = ('attache_unauthorized_total', (('outcome', 'retried_ok'), ('upstream', 'api')))
assert one[key] == other[key] == 1, one
assert one[('process_open_fds', ())] > 3
print(len(one))
";
    let finished = folder.start_program(&python, &["-c", script], "").finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    // The reference has every family, and is held against the registry; tests/it/dashboard.rs asks a real Prometheus.
    let page = std::fs::read_to_string(file("docs/metrics.md")).unwrap();
    for path in ["contrib/grafana/attache.json", "contrib/prometheus/alerts.yml", "docs/operations.md"] {
        let asked = named(&std::fs::read_to_string(file(path)).unwrap());
        assert!(asked.len() > 5, "{path}: {asked:?}");
        for name in asked {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            let known = [&name, family].into_iter().any(|name| page.contains(&format!("| `{name}` |")));
            assert!(known, "{path} names {name}, which there is not");
        }
    }
    let dashboard = std::fs::read_to_string(file("contrib/grafana/attache.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 10);
}

/// Who is woken by one finds it in the page, and what it fires at is tried by promtool (contrib/check).
#[test]
fn every_alert_has_a_row_in_the_runbook_and_a_test() {
    let read = |path: &str| std::fs::read_to_string(file(path)).unwrap();
    let (alerts, tests) = (read("contrib/prometheus/alerts.yml"), read("contrib/prometheus/alerts_test.yml"));
    let page = read("docs/operations.md");
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `Attache")?.split('`').next()).collect();
    let names: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: Attache")).collect();
    assert_eq!(names, rows);
    assert!(page.contains("\n### Alerts\n"), "the annotation `runbook` leads there");
    for name in names {
        assert!(tests.contains(&format!("Attache{name}")), "Attache{name} is in no test of alerts_test.yml");
    }
    let of_each = alerts.matches("runbook: \"docs/operations.md#alerts\"").count();
    assert_eq!(of_each, alerts.matches("- alert: ").count());
}

/// The page itself is held against the registry beside it (admin/exposition.rs); this is what a running program has of it.
#[tokio::test]
async fn what_is_exposed_is_in_the_reference() {
    let world = renewed().await;
    let page = std::fs::read_to_string(file("docs/metrics.md")).unwrap();
    for (name, (kind, help)) in families(&world.text("text/plain").await) {
        let row = format!("| `{name}` | {kind} | {} |", help.trim_end_matches('.'));
        assert!(page.contains(&row), "docs/metrics.md lacks {row}");
    }
}

#[tokio::test]
async fn metrics_have_the_names_and_labels_of_the_contract() {
    let refuse_once = |asked: &Asked, _: usize| match asked.field("authorization") {
        Some("Bearer token-1") => Reply::new(401, "", ""),
        _ => Reply::ok("fine"),
    };
    let world = World::new(refuse_once).await;
    world.get("/").await;
    let answer = get(world.proxy.address("admin"), "127.0.0.1", "/metrics").await;
    let text = answer.text();
    assert!(answer.field("content-type").unwrap().starts_with("text/plain"), "{answer:?}");
    for series in [
        "attache_requests_total{listener=\"api\",upstream=\"api\",outcome=\"injected\",code=\"2xx\"} 1\n",
        "attache_requests_total{listener=\"api\",upstream=\"api\",outcome=\"failed\",code=\"5xx\"} 0\n",
        "attache_request_duration_seconds_count{upstream=\"api\"} 1\n",
        "attache_upstream_response_duration_seconds_count{upstream=\"api\"} 1\n",
        "attache_upstream_connect_duration_seconds_count{upstream=\"api\"} 1\n",
        "attache_token_requests_total{credential=\"api\",outcome=\"success\"} 2\n",
        "attache_token_request_duration_seconds_count{credential=\"api\"} 2\n",
        "attache_token_expires_in_seconds{credential=\"api\"} 3",
        "attache_unauthorized_total{upstream=\"api\",outcome=\"retried_ok\"} 1\n",
        "attache_tunnels_total{listener=\"proxy\",injected=\"false\"} 0\n",
        "attache_credential_up{credential=\"api\"} 1\n",
        "attache_upstream_pool_exhausted_total{upstream=\"api\"} 0\n",
        "attache_config_last_reload_successful 1\n",
        "attache_config_file_waiting 0\n",
        "attache_upstream_connections{upstream=\"api\"} ",
        "attache_caller_connections ",
        "# TYPE attache_requests_total counter\n",
        "# TYPE attache_request_duration_seconds histogram\n",
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
    let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/openmetrics-text\r\n\r\n";
    let open = send(world.proxy.address("admin"), request).await;
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
}
