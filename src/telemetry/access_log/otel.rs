//! `otel`: one flat object a line, with the names of OpenTelemetry's semantic conventions for HTTP servers; what they have no
//! name for is under `attache.`.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::record::AccessRecord;
use crate::telemetry::conventions::known_method;

/// The line of one request.
pub(super) fn line(record: &AccessRecord) -> String {
    let (path, query) = record.path_and_query();
    let (host, port) = record.server();
    let client = record.client();
    let method = known_method(&record.method);
    let flat = Flat {
        timestamp: &record.time,
        trace_id: record.trace_id.as_deref(),
        span_id: record.span_id.as_deref(),
        method: method.unwrap_or("_OTHER"),
        method_original: if method.is_none() { Some(&record.method) } else { None },
        scheme: &record.scheme,
        path,
        query,
        server_address: (!host.is_empty()).then_some(host),
        server_port: port,
        client_address: client.map(|(address, _)| address),
        client_port: client.and_then(|(_, port)| port),
        protocol: "http",
        protocol_version: record.protocol_version(),
        user_agent: record.user_agent.as_deref(),
        request_bytes: record.request_bytes,
        status: record.status,
        bytes: record.bytes,
        error: record.error_type(),
        request_id: &record.request_id,
        listener: &record.listener,
        caller: record.caller.as_deref(),
        upstream: &record.upstream,
        upstream_address: record.upstream_address,
        credential: record.credential.as_deref(),
        generation: record.generation,
        outcome: &record.outcome,
        unauthorized: record.unauthorized.as_deref(),
        token_ms: record.token_ms,
        connect_ms: record.connect_ms,
        upstream_ms: record.upstream_ms,
        duration_ms: record.duration_ms,
    };
    serde_json::to_string(&flat).unwrap_or_default()
}

#[derive(Serialize)]
struct Flat<'r> {
    timestamp: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'r str>,
    #[serde(rename = "http.request.method")]
    method: &'r str,
    #[serde(rename = "http.request.method_original", skip_serializing_if = "Option::is_none")]
    method_original: Option<&'r str>,
    #[serde(rename = "url.scheme")]
    scheme: &'r str,
    #[serde(rename = "url.path")]
    path: &'r str,
    #[serde(rename = "url.query", skip_serializing_if = "Option::is_none")]
    query: Option<&'r str>,
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    server_address: Option<&'r str>,
    #[serde(rename = "server.port", skip_serializing_if = "Option::is_none")]
    server_port: Option<u16>,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client_address: Option<IpAddr>,
    #[serde(rename = "client.port", skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    #[serde(rename = "network.protocol.name")]
    protocol: &'static str,
    #[serde(rename = "network.protocol.version")]
    protocol_version: &'r str,
    #[serde(rename = "user_agent.original", skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'r str>,
    #[serde(rename = "http.request.body.size")]
    request_bytes: u64,
    #[serde(rename = "http.response.status_code")]
    status: u16,
    #[serde(rename = "http.response.body.size")]
    bytes: u64,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'r, str>>,
    #[serde(rename = "attache.request_id")]
    request_id: &'r str,
    #[serde(rename = "attache.listener")]
    listener: &'r str,
    #[serde(rename = "attache.caller", skip_serializing_if = "Option::is_none")]
    caller: Option<&'r str>,
    #[serde(rename = "attache.upstream")]
    upstream: &'r str,
    #[serde(rename = "attache.upstream_address", skip_serializing_if = "Option::is_none")]
    upstream_address: Option<SocketAddr>,
    #[serde(rename = "attache.credential", skip_serializing_if = "Option::is_none")]
    credential: Option<&'r str>,
    #[serde(rename = "attache.generation", skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(rename = "attache.outcome")]
    outcome: &'r str,
    #[serde(rename = "attache.unauthorized", skip_serializing_if = "Option::is_none")]
    unauthorized: Option<&'r str>,
    #[serde(rename = "attache.token_ms", skip_serializing_if = "Option::is_none")]
    token_ms: Option<f64>,
    #[serde(rename = "attache.connect_ms", skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(rename = "attache.upstream_ms", skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
    #[serde(rename = "attache.duration_ms")]
    duration_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_conventions_and_what_is_not_known_is_absent() {
        let record = AccessRecord {
            time: "2026-01-31T23:59:59.123Z".into(),
            peer: "[::ffff:192.0.2.7]:5000".into(),
            method: "BREW".into(),
            scheme: "https".into(),
            host: "api.test".into(),
            path: "/a?x=1".into(),
            protocol: "HTTP/2.0".into(),
            status: 502,
            error: Some("dns_error".into()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            ..AccessRecord::default()
        };
        let line: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
        for (name, value) in [
            ("http.request.method", "_OTHER"),
            ("http.request.method_original", "BREW"),
            ("url.scheme", "https"),
            ("url.path", "/a"),
            ("url.query", "x=1"),
            ("server.address", "api.test"),
            ("client.address", "192.0.2.7"),
            ("network.protocol.version", "2"),
            ("error.type", "dns_error"),
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ] {
            assert_eq!(line[name], value, "{name}: {line}");
        }
        assert_eq!((&line["server.port"], &line["client.port"]), (&443.into(), &5000.into()));
        assert!(line.get("span_id").is_none() && line.get("user_agent.original").is_none(), "{line}");
        assert!(line.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()), "{line}");
    }
}
