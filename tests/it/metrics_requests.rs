//! What is counted and measured of requests: classes of statuses, parts of the way, and nothing of what is not used.

use std::io::Read as _;

use crate::clients::{python, there_is};
use crate::support::{
    ADMIN, Caller, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, World, credential, get, reverse, send,
    until, upstream,
};

async fn text(proxy: &TestProxy) -> String {
    get(proxy.address("admin"), "localhost", "/metrics").await.text().to_owned()
}

#[tokio::test]
async fn an_answer_is_counted_in_the_class_of_its_status() {
    let world = World::new(|asked, _| match asked.target() {
        "/missing" => Reply::new(404, "", ""),
        "/broken" => Reply::new(500, "", ""),
        "/moved" => Reply::new(302, "Location: /\r\n", ""),
        "/gone" => Reply::HangUp,
        _ => Reply::ok("fine"),
    })
    .await;
    for (path, status) in [("/", 200), ("/", 200), ("/missing", 404), ("/broken", 500), ("/moved", 302), ("/gone", 502)]
    {
        assert_eq!(world.get(path).await.status, status);
    }
    let of = |rest: &str| format!("attache_requests_total{{listener=\"api\",upstream=\"api\"{rest}}}");
    for (rest, count) in [
        (",outcome=\"injected\",code=\"2xx\"", 2.0),
        (",outcome=\"injected\",code=\"3xx\"", 1.0),
        (",outcome=\"injected\",code=\"4xx\"", 1.0),
        (",outcome=\"injected\",code=\"5xx\"", 1.0),
        (",outcome=\"failed\",code=\"5xx\"", 1.0),
        (",outcome=\"injected\"", 5.0),
        ("", 6.0),
    ] {
        assert_eq!(world.proxy.metric(&of(rest)).await, count, "{rest}");
    }
    // What has been answered has been measured; the one that failed has a duration, and no head of an answer.
    for (family, count) in [("request", 6.0), ("upstream_response", 5.0)] {
        let series = format!("attache_{family}_duration_seconds_count{{upstream=\"api\"}}");
        assert_eq!(world.proxy.metric(&series).await, count, "{series}");
    }
    // The page says what it said before.
    let status = get(world.proxy.address("admin"), "localhost", "/api/status").await.json();
    assert_eq!(status["upstreams"][0]["requests"]["injected"], 5);
}

#[tokio::test]
async fn the_wait_for_a_token_is_no_time_of_the_upstreams() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let open = std::sync::Arc::clone(&gate);
    let tokens = TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted("a", 3600)).when_open(&open)).await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    let asked = std::time::Instant::now();
    let asking = world.get("/");
    let opening = async {
        until("the token is asked for", async || world.tokens.requests() == 1).await;
        crate::support::real_time("the token takes its time", std::time::Duration::from_millis(600)).await;
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(asking, opening);
    assert_eq!(answer.status, 200);
    let sum = async |family: &str| {
        world.proxy.metric(&format!("attache_{family}_duration_seconds_sum{{upstream=\"api\"}}")).await
    };
    let (whole, response) = (sum("request").await, sum("upstream_response").await);
    assert!(whole >= 0.6 && whole <= asked.elapsed().as_secs_f64(), "{whole}");
    assert!(response <= whole - 0.6, "{response} of {whole}");
}

#[tokio::test]
async fn a_body_that_comes_later_counts_in_the_duration_and_not_in_the_first_byte() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let open = std::sync::Arc::clone(&gate);
    let world = crate::support::Raw::start(move |mut stream, _| {
        let open = std::sync::Arc::clone(&open);
        async move {
            use tokio::io::AsyncWriteExt as _;
            drop(crate::support::read_head(&mut stream).await);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
            drop(open.acquire().await);
            stream.write_all(b"late").await.unwrap();
        }
    })
    .await;
    let origin = format!("http://{}", world.address());
    let proxy = TestProxy::start(&format!("{}{ADMIN}[upstreams.api]\norigin = \"{origin}\"\n", reverse(&["api"])));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let responses = "attache_upstream_response_duration_seconds_count{upstream=\"api\"}";
    until("the head is there", async || proxy.metric(responses).await == 1.0).await;
    let lasted = "attache_request_duration_seconds_count{upstream=\"api\"}";
    assert_eq!(proxy.metric(lasted).await, 0.0, "it has not ended");
    crate::support::real_time("the body takes its time", std::time::Duration::from_millis(300)).await;
    gate.add_permits(1);
    until("it has ended", async || proxy.metric(lasted).await == 1.0).await;
    let sum =
        async |family: &str| proxy.metric(&format!("attache_{family}_duration_seconds_sum{{upstream=\"api\"}}")).await;
    assert!(sum("request").await >= sum("upstream_response").await + 0.3);
}

/// Four thousand histograms that nobody has asked for were two megabytes a scrape.
#[tokio::test]
async fn what_nobody_uses_has_no_line_and_appears_with_its_first_request() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let listeners: String = ["a", "b", "c", "d"].iter().map(|name| FORWARD.replace("proxy", name)).collect();
    let other = |number: usize| upstream(&format!("u{number}"), &format!("https://h{number}.example.com"));
    let upstreams: String = (1..300).map(other).chain([upstream("api", &api.origin())]).collect();
    let proxy = TestProxy::start(&format!("{listeners}{ADMIN}{}{upstreams}", credential(&tokens)));
    let before = text(&proxy).await;
    assert!(before.lines().count() < 3000, "{} lines", before.lines().count());
    for family in
        ["attache_requests_total{", "_duration_seconds_bucket{upstream=", "attache_caller_authorization_total{"]
    {
        assert!(!before.contains(family), "{family}");
    }
    let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\nAuthorization: x\r\n\r\n", api.origin(), api.address());
    assert_eq!(send(proxy.address("c"), request).await.status, 200);
    let after = text(&proxy).await;
    for series in [
        "attache_requests_total{listener=\"c\",upstream=\"api\",outcome=\"injected\",code=\"2xx\"} 1\n",
        "attache_requests_total{listener=\"c\",upstream=\"api\",outcome=\"failed\",code=\"5xx\"} 0\n",
        "attache_caller_authorization_total{upstream=\"api\",action=\"replace\"} 1\n",
        "attache_request_duration_seconds_bucket{le=\"60.0\",upstream=\"api\"} 1\n",
        "attache_upstream_response_duration_seconds_bucket{le=\"2.5\",upstream=\"api\"} ",
        "attache_upstream_connect_duration_seconds_bucket{le=\"10.0\",upstream=\"api\"} ",
    ] {
        assert!(after.contains(series), "{series}");
    }
    assert!(!after.contains("listener=\"a\",upstream=\"api\""), "by another listener nobody came");
    assert!(after.lines().count() < before.lines().count() + 120);
}

#[tokio::test]
async fn requests_that_a_full_pool_leaves_without_a_connection_are_counted() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::Silence).await;
    let rest = "pool = { max = 1, queue = 0 }\ntimeouts = { connect = \"1s\" }\n";
    let toml = format!("{}{ADMIN}{}{}{rest}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
    let proxy = TestProxy::start_with(&toml, 1);
    let mut first = Caller::connect(proxy.address("base")).await;
    first.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("it has the only connection", async || api.requests() == 1).await;
    let exhausted = "attache_upstream_pool_exhausted_total{upstream=\"api\"}";
    assert_eq!(proxy.metric(exhausted).await, 0.0);
    let refused = get(proxy.address("base"), "localhost", "/").await;
    refused.assert_own_failure(503, "connection_limit_reached");
    assert_eq!(proxy.metric(exhausted).await, 1.0);
}

#[tokio::test]
async fn who_asks_for_metrics_with_gzip_gets_them_so_and_nobody_else() {
    let world = World::new(|_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    let ask = |fields: &str| {
        send(world.proxy.address("admin"), format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"))
    };
    let plain = ask("Accept-Encoding: br, gzip;q=0\r\n").await;
    assert_eq!((plain.status, plain.field("content-encoding")), (200, None));
    for accept in ["text/plain", "application/openmetrics-text"] {
        let answer = ask(&format!("Accept: {accept}\r\nAccept-Encoding: deflate, gzip\r\n")).await;
        assert_eq!(answer.field("content-encoding"), Some("gzip"));
        assert_eq!(answer.field("vary"), Some("accept, accept-encoding"));
        let mut whole = String::new();
        flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut whole).unwrap();
        assert!(whole.contains("attache_requests_total{listener=\"api\""), "{whole}");
        assert_eq!(whole.ends_with("# EOF\n"), accept.contains("openmetrics"), "{accept}");
        assert!(answer.body.len() * 3 < whole.len(), "{} of {}", answer.body.len(), whole.len());
    }
}

/// The parser of Prometheus' own client library, which refuses what the specification forbids.
#[tokio::test]
async fn a_traced_request_is_the_exemplar_of_its_bucket_in_open_metrics_alone() {
    const SAMPLED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const DROPPED: &str = "0af7651916cd43dd8448eb211c80319c";
    let python = python();
    if !there_is(&python, &["-c", "import prometheus_client"]) {
        return;
    }
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let collector = Scripted::start(|_, _| Reply::new(200, "Content-Type: application/x-protobuf\r\n", "")).await;
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.origin());
    let upstream = upstream("api", &api.origin());
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{telemetry}{}{upstream}", credential(&tokens)));
    for (trace, flags) in [(SAMPLED, "01"), (DROPPED, "00")] {
        let request = format!(
            "GET {}/ HTTP/1.1\r\nHost: {}\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-{flags}\r\n\r\n",
            api.origin(),
            api.address()
        );
        assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
    }
    let ask = |accept: &str| {
        send(proxy.address("admin"), format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"))
    };
    let (plain, open) = (ask("text/plain").await, ask("application/openmetrics-text").await);
    assert!(!plain.text().contains("trace_id"), "the older format has none");
    let folder = Folder::new();
    folder.write("open", open.text());
    let script = "
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
found = []
for family in strict(open('open').read()):
    for sample in family.samples:
        if sample.exemplar:
            found.append((sample.name, sample.labels['upstream'], sample.exemplar))
            assert 0 < sample.exemplar.value <= float(sample.labels['le']), sample
            assert float(sample.exemplar.timestamp) > 1.6e9, sample
for name, upstream, exemplar in found:
    print(name, upstream, exemplar.labels)
";
    let finished = folder.start_program(&python, &["-c", script], "").finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let expected = format!("attache_request_duration_seconds_bucket api {{'trace_id': '{SAMPLED}'}}\n");
    assert_eq!(finished.stdout, expected);
}
