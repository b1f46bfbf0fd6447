//! Traces as a collector gets them: whole, connected, and without a secret.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::{
    ADMIN, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, credential, send, until, upstream,
};

/// Every span that the collector was sent.
fn spans(collector: &Scripted) -> Vec<Span> {
    let requests = collector.asked().into_iter().map(|asked| {
        assert_eq!((asked.target(), asked.field("content-type")), ("/v1/traces", Some("application/x-protobuf")));
        ExportTraceServiceRequest::decode(&asked.body[..]).unwrap()
    });
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// What the first batch says of who sent it.
fn resource(collector: &Scripted) -> Vec<(String, String)> {
    let first = ExportTraceServiceRequest::decode(&collector.asked()[0].body[..]).unwrap();
    let of = first.resource_spans[0].resource.clone().unwrap().attributes;
    let text = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| match attribute
        .value
        .as_ref()?
        .value
        .as_ref()?
    {
        Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    of.iter().filter_map(text).collect()
}

fn text<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn number(span: &Span, name: &str) -> Option<i64> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_request_its_tries_and_its_token_requests_reach_the_collector() {
    let collector = Scripted::start(|_, _| Reply::new(200, "Content-Type: application/x-protobuf\r\n", "")).await;
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|asked, _| {
        if asked.field("authorization") == Some("Bearer token-1") { Reply::new(401, "", "") } else { Reply::ok("fine") }
    })
    .await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[telemetry]\notlp_endpoint = \"{}\"\n{}{}",
        collector.origin(),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let (host, address) = (api.address(), proxy.address("proxy"));
    let request = format!(
        "GET http://{host}/orders?sentinel-query HTTP/1.1\r\nHost: {host}\r\nCookie: sentinel-cookie\r\nUser-Agent: batch/1\r\n\
         traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: vendor=1\r\n\r\n"
    );
    assert_eq!(send(address, request).await.status, 200);
    let refused =
        send(address, "GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\ntraceparent: 00-zz-01\r\n\r\n").await;
    assert_eq!(refused.status, 403);
    // The end sends what is waiting.
    proxy.shutdown().await;

    let spans = spans(&collector);
    let server = spans.iter().find(|span| text(span, "url.path") == Some("/orders")).unwrap();
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!((server.name.as_str(), server.kind), ("GET api", 2));
    assert_eq!(number(server, "http.response.status_code"), Some(200));
    assert_eq!(
        (text(server, "attache.outcome"), text(server, "attache.unauthorized")),
        (Some("injected"), Some("retried_ok"))
    );
    let mut tries: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == server.span_id).collect();
    tries.sort_by_key(|span| span.start_time_unix_nano);
    let seen: Vec<_> = tries.iter().map(|span| number(span, "http.response.status_code")).collect();
    assert_eq!(seen, [Some(401), Some(200)]);
    assert_eq!(number(tries[1], "http.request.resend_count"), Some(1));
    assert_eq!(spans.iter().filter(|span| span.name == "token request").count(), tokens.requests());
    // The upstream goes on with each try.
    for (asked, attempt) in api.asked().iter().zip(&tries) {
        let passed_on = asked.field("traceparent").unwrap();
        assert_eq!(passed_on, format!("00-{TRACE}-{}-01", hex(&attempt.span_id)));
        assert_eq!(asked.field("tracestate"), Some("vendor=1"));
        assert_eq!((attempt.kind, text(attempt, "server.address")), (3, Some("127.0.0.1")));
        assert_eq!(number(attempt, "server.port"), Some(api.address().port().into()));
        assert_eq!(text(attempt, "url.full"), Some(&*format!("http://{host}/orders")), "without the query");
        assert_eq!(text(attempt, "network.peer.address"), Some("127.0.0.1"));
    }
    assert_eq!((text(tries[0], "error.type"), text(tries[1], "error.type")), (Some("401"), None));
    assert_eq!(number(tries[0], "http.request.resend_count"), None);
    for (name, value) in [
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("server.address", "127.0.0.1"),
        ("user_agent.original", "batch/1"),
    ] {
        assert_eq!(text(server, name), Some(value), "{name}");
    }
    assert!(number(server, "client.port").is_some_and(|port| port > 0) && text(server, "error.type").is_none());
    // Each token request serves many; the request links to those that it has waited for.
    let tokens_asked: Vec<&Span> = spans.iter().filter(|span| span.name == "token request").collect();
    let endpoint = tokens.endpoint();
    let authority = endpoint.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let (server_host, port) = authority.split_once(':').unwrap();
    for asked in &tokens_asked {
        assert_eq!(
            (text(asked, "server.address"), number(asked, "server.port")),
            (Some(server_host), port.parse().ok())
        );
        assert_eq!((number(asked, "http.response.status_code"), asked.kind), (Some(200), 3));
        let linked = server.links.iter().any(|link| link.span_id == asked.span_id && link.trace_id == asked.trace_id);
        assert!(linked, "{server:?}");
    }
    assert_eq!(server.links.len(), 2);
    // What is no traceparent begins a trace of its own.
    let denied = spans.iter().find(|span| text(span, "attache.outcome") == Some("denied")).unwrap();
    assert_eq!(text(denied, "error.type"), Some("http_request_denied"));
    assert!(denied.parent_span_id.is_empty() && hex(&denied.trace_id) != TRACE, "{denied:?}");
    let resource = resource(&collector);
    let of = |name: &str| resource.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!((of("service.name"), of("service.version")), (Some("attache"), Some(env!("CARGO_PKG_VERSION"))));
    assert_eq!(of("service.instance.id").map(str::len), Some(36), "{resource:?}");
    for asked in collector.asked() {
        let sent = String::from_utf8_lossy(&asked.body).into_owned();
        for secret in ["sentinel", "token-1", "token-2", "s3cret"] {
            assert!(!sent.contains(secret), "{secret} was sent to the collector");
        }
    }
}

#[tokio::test]
async fn of_credentials_that_share_a_token_each_has_the_link_to_its_request() {
    let collector = Scripted::start(|_, _| Reply::new(200, "Content-Type: application/x-protobuf\r\n", "")).await;
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let first = credential(&tokens);
    let second = first.replace("credentials.key", "credentials.second");
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[telemetry]\notlp_endpoint = \"{}\"\n{first}{second}[upstreams.api]\norigin = \"{}\"\ncredential = \"second\"\n",
        collector.origin(),
        api.origin()
    ));
    let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
    assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
    proxy.shutdown().await;

    let spans = spans(&collector);
    let asked: Vec<&Span> = spans.iter().filter(|span| span.name == "token request").collect();
    let [asked] = asked[..] else { panic!("{asked:?}") };
    let server = spans.iter().find(|span| span.kind == 2).unwrap();
    assert_eq!((text(asked, "attache.credential"), text(server, "attache.credential")), (Some("key"), Some("second")));
    let linked: Vec<_> = server.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    assert_eq!(linked, [(&asked.trace_id, &asked.span_id)]);
}

#[tokio::test]
async fn a_collector_that_is_away_harms_no_request() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[telemetry]\notlp_endpoint = \"http://127.0.0.1:1\"\n{}{}",
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
    for _ in 0..20 {
        assert_eq!(send(proxy.address("proxy"), request.clone()).await.status, 200);
    }
    assert!(api.asked()[0].field("traceparent").is_some());
    proxy.shutdown().await;
}

#[tokio::test]
async fn a_line_of_either_log_names_the_span_of_its_request() {
    let collector = Scripted::start(|_, _| Reply::new(200, "Content-Type: application/x-protobuf\r\n", "")).await;
    let folder = Folder::with(&format!(
        "{FORWARD}{ADMIN}[telemetry]\notlp_endpoint = \"{}\"\naccess_log = \"access.log\"\naccess_log_format = \"otel\"\n",
        collector.origin()
    ));
    let running = folder.start(&["run", "--log-format", "json"]);
    let request =
        format!("GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\n\r\n");
    assert_eq!(send(running.address("proxy").await, request).await.status, 403);
    running.says("no.test").await;
    running.signal("TERM");
    let finished = running.finish().await;
    let spans = spans(&collector);
    assert_eq!((spans.len(), hex(&spans[0].trace_id).as_str()), (1, TRACE));
    let said = crate::cli_run::records(&finished.stderr);
    let logged = said.iter().find(|record| record["status"] == 403).unwrap();
    let access: serde_json::Value = serde_json::from_str(folder.read("access.log").trim()).unwrap();
    for line in [logged, &access] {
        assert_eq!((&line["trace_id"], &line["span_id"]), (&TRACE.into(), &hex(&spans[0].span_id).into()), "{line}");
    }
}

/// A batch is sent each tenth of a second, and a queue of four spans is soon full.
fn impatient(folder: Folder) -> Folder {
    folder.env("OTEL_BSP_SCHEDULE_DELAY", "100").env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
}

/// How many spans the collector was not sent, or did not take.
async fn dropped(admin: std::net::SocketAddr) -> u64 {
    let metrics = crate::support::get(admin, "localhost", "/metrics").await.text().to_owned();
    let line = metrics.lines().find(|line| line.starts_with("attache_spans_dropped_total ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_of_once_and_counted_and_so_is_its_return() {
    let away = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_away = std::sync::Arc::clone(&away);
    let collector = Scripted::start(move |_, _| {
        let status = if is_away.load(std::sync::atomic::Ordering::Relaxed) { 404 } else { 200 };
        Reply::new(status, "Content-Type: application/x-protobuf\r\n", "")
    })
    .await;
    let folder = impatient(Folder::with(&format!("{FORWARD}{ADMIN}")))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.origin())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let running = folder.start(&["run"]);
    let (address, admin) = (running.address("proxy").await, running.address("admin").await);
    running.says("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\", which attache does not speak").await;
    let ask = async || {
        let refused = send(address, "GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\n\r\n").await;
        assert_eq!(refused.status, 403);
    };
    assert_eq!(dropped(admin).await, 0);
    ask().await;
    running.says("traces cannot be sent").await;
    ask().await;
    until("both spans are counted", async || dropped(admin).await == 2).await;
    away.store(false, std::sync::atomic::Ordering::Relaxed);
    ask().await;
    running.says("traces are sent again").await;
    running.signal("TERM");
    let said = running.finish().await.stderr;
    assert_eq!(said.matches("traces cannot be sent").count(), 1, "{said}");
    assert!(said.contains(&collector.origin()) && said.contains("4318"), "{said}");
}

#[tokio::test]
async fn spans_for_which_there_is_no_room_are_counted() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gated = std::sync::Arc::clone(&gate);
    let collector = Scripted::start(move |_, _| Reply::new(200, "", "").when_open(&gated)).await;
    let folder = impatient(Folder::with(&format!("{FORWARD}{ADMIN}")))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.origin())
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "4")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1");
    let running = folder.start(&["run", "--log", "warn"]);
    let (address, admin) = (running.address("proxy").await, running.address("admin").await);
    for _ in 0..20 {
        assert_eq!(send(address, "GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\n\r\n").await.status, 403);
    }
    // Four wait, and one is being sent.
    until("the others are counted", async || dropped(admin).await >= 20 - 4 - 1).await;
    gate.add_permits(1000);
}
