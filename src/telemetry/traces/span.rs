//! The spans of a request, with the names of OpenTelemetry's semantic conventions for HTTP: one for the caller's request, and one
//! for each try at an upstream. Never a query or a body, and of the fields beside the host only `User-Agent`.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderValue;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};

use super::fields;
use super::inner::Inner;
use crate::telemetry::conventions::known_method;
use crate::telemetry::{AccessRecord, TraceId};

/// A method that a caller has made up must not become the name of a span.
pub(super) fn span_name(method: &str) -> &'static str {
    known_method(method).unwrap_or("HTTP")
}

/// A request under way. Ends by [`RequestSpan::finish`].
#[derive(Clone)]
pub(crate) struct RequestSpan {
    pub(super) context: Context,
    pub(super) inner: Arc<Inner>,
    pub(super) tries: Arc<AtomicI64>,
}

/// Where one try goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Without the query. Written only where the span is recorded.
    pub(crate) url: fmt::Arguments<'a>,
}

impl RequestSpan {
    /// The ids of the trace and of the span, as logs have them.
    pub(crate) fn ids(&self) -> (String, String) {
        let span = self.context.span();
        let ids = span.span_context();
        (ids.trace_id().to_string(), ids.span_id().to_string())
    }

    /// The trace that it is part of, if that is recorded.
    #[must_use]
    pub(crate) fn sampled_trace(&self) -> Option<TraceId> {
        let span = self.context.span();
        let ids = span.span_context();
        ids.is_sampled().then(|| TraceId(ids.trace_id().to_bytes()))
    }

    /// Begins the span of one try at the upstream.
    #[must_use]
    pub(crate) fn attempt(&self, target: Target<'_>) -> Attempt {
        let tracer = &self.inner.tracer;
        let builder = tracer.span_builder(span_name(target.method)).with_kind(SpanKind::Client);
        let mut span = tracer.build_with_context(builder, &self.context);
        let before = self.tries.fetch_add(1, Ordering::Relaxed);
        if span.is_recording() {
            let Target { upstream, host, port, url, method } = target;
            span.set_attributes([
                KeyValue::new("attache.upstream", upstream.to_owned()),
                KeyValue::new("server.address", host.to_owned()),
                KeyValue::new("server.port", i64::from(port)),
                KeyValue::new("url.full", url.to_string()),
            ]);
            span.set_attributes(method_attributes(method));
            if before > 0 {
                span.set_attribute(KeyValue::new("http.request.resend_count", before));
            }
        }
        let traceparent = fields::traceparent(span.span_context());
        Attempt { span, traceparent }
    }

    /// The request has waited for the newest token request of this name: of credentials that share a token, that of the first.
    pub(crate) fn waited_for_token(&self, credential: &str) {
        if let Some(request) = self.inner.token_request_of(credential) {
            let attributes = vec![KeyValue::new("attache.credential", credential.to_owned())];
            self.context.span().add_link(request, attributes);
        }
    }

    /// Everything is known of it, and its last byte has gone.
    pub(crate) fn finish(&self, record: &AccessRecord) {
        let span = self.context.span();
        if span.is_recording() {
            span.update_name(format!("{} {}", span_name(&record.method), record.upstream));
            span.set_attributes(method_attributes(&record.method));
            span.set_attributes(attributes(record));
            if let Some(error) = record.error_type() {
                span.set_attribute(KeyValue::new("error.type", error.into_owned()));
            }
            if record.status >= 500 {
                span.set_status(Status::error(record.outcome.clone()));
            }
        }
        span.end();
    }
}

/// The method, and a made-up one under a name of its own.
fn method_attributes(method: &str) -> impl Iterator<Item = KeyValue> {
    let known = known_method(method);
    let original = known.is_none().then(|| KeyValue::new("http.request.method_original", method.to_owned()));
    [KeyValue::new("http.request.method", known.unwrap_or("_OTHER"))].into_iter().chain(original)
}

fn attributes(record: &AccessRecord) -> impl Iterator<Item = KeyValue> {
    let text = |text: &str| Value::from(text.to_owned());
    let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let ((host, port), client) = (record.server(), record.client());
    let all = [
        ("url.scheme", Some(text(&record.scheme))),
        ("url.path", Some(text(record.path_and_query().0))),
        ("server.address", (!host.is_empty()).then(|| text(host))),
        ("server.port", port.map(|port| number(port.into()))),
        ("client.address", client.map(|(address, _)| address.to_string().into())),
        ("client.port", client.and_then(|(_, port)| port).map(|port| number(port.into()))),
        ("network.protocol.name", Some("http".into())),
        ("network.protocol.version", Some(text(record.protocol_version()))),
        ("user_agent.original", record.user_agent.as_deref().map(text)),
        ("http.request.body.size", Some(number(record.request_bytes))),
        ("http.response.status_code", Some(number(record.status.into()))),
        ("http.response.body.size", Some(number(record.bytes))),
        ("attache.request_id", Some(text(&record.request_id))),
        ("attache.caller", record.caller.as_deref().map(text)),
        ("attache.listener", Some(text(&record.listener))),
        ("attache.upstream", Some(text(&record.upstream))),
        ("attache.outcome", Some(text(&record.outcome))),
        ("attache.credential", record.credential.as_deref().map(text)),
        ("attache.unauthorized", record.unauthorized.as_deref().map(text)),
    ];
    all.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?)))
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSpan").finish_non_exhaustive()
    }
}

/// One try at an upstream. Without an end it ends where it is dropped.
pub(crate) struct Attempt {
    span: opentelemetry_sdk::trace::Span,
    traceparent: Option<HeaderValue>,
}

/// What came of a try.
#[derive(Debug)]
pub(crate) enum AttemptEnd<'a> {
    /// The status of its answer, and from where that came.
    Answered { status: u16, peer: Option<SocketAddr> },
    /// The error of `Proxy-Status`, and a sentence.
    Failed { error: &'static str, why: Cow<'a, str> },
}

impl Attempt {
    /// By which the upstream goes on with the trace: the field that this try leaves with.
    pub(crate) fn traceparent(&self) -> Option<(&'static http::HeaderName, &HeaderValue)> {
        self.traceparent.as_ref().map(|value| (&fields::TRACEPARENT, value))
    }

    /// It is over.
    pub(crate) fn end(mut self, end: AttemptEnd<'_>) {
        match end {
            AttemptEnd::Answered { status, peer } => {
                self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
                if let Some(peer) = peer {
                    self.span
                        .set_attribute(KeyValue::new("network.peer.address", peer.ip().to_canonical().to_string()));
                    self.span.set_attribute(KeyValue::new("network.peer.port", i64::from(peer.port())));
                }
                if status >= 400 {
                    self.span.set_attribute(KeyValue::new("error.type", status.to_string()));
                    self.span.set_status(Status::error(""));
                }
            }
            AttemptEnd::Failed { error, why } => {
                self.span.set_attribute(KeyValue::new("error.type", error));
                self.span.set_status(Status::error(why.into_owned()));
            }
        }
        self.span.end();
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}
