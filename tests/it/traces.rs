//! Traces as a collector gets them: whole, connected, and without a secret.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::{FORWARD, Reply, Scripted, TestProxy, TokenServer, credential, send, upstream};

/// Every span that the collector was sent.
fn spans(collector: &Scripted) -> Vec<Span> {
    let requests = collector.asked().into_iter().map(|asked| {
        assert_eq!((asked.target(), asked.field("content-type")), ("/v1/traces", Some("application/x-protobuf")));
        ExportTraceServiceRequest::decode(&asked.body[..]).unwrap()
    });
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
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
        "GET http://{host}/orders?sentinel-query HTTP/1.1\r\nHost: {host}\r\nCookie: sentinel-cookie\r\n\
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
    let tokens_asked = spans.iter().filter(|span| span.name == "token request").count();
    assert_eq!(tokens_asked, tokens.requests());
    // The upstream goes on with it.
    let passed_on = api.asked()[1].field("traceparent").unwrap().to_owned();
    assert_eq!(passed_on, format!("00-{TRACE}-{}-01", hex(&server.span_id)));
    assert_eq!(api.asked()[1].field("tracestate"), Some("vendor=1"));
    // What is no traceparent begins a trace of its own.
    let denied = spans.iter().find(|span| text(span, "attache.outcome") == Some("denied")).unwrap();
    assert!(denied.parent_span_id.is_empty() && hex(&denied.trace_id) != TRACE, "{denied:?}");
    for asked in collector.asked() {
        let sent = String::from_utf8_lossy(&asked.body).into_owned();
        for secret in ["sentinel", "token-1", "token-2", "s3cret"] {
            assert!(!sent.contains(secret), "{secret} was sent to the collector");
        }
    }
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
