//! W3C Trace Context in fields of a request.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// W3C Trace Context section 3.2.
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Section 3.3.
pub(super) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

pub(super) struct Fields<'h>(pub(super) &'h HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// The trace that a request belongs to by its own word.
#[must_use]
pub(crate) fn trace_id_of(headers: &HeaderMap) -> Option<String> {
    headers.get(&TRACEPARENT)?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| ids.trace_id().to_string())
}

/// What a request leaves with, as a part of this span.
pub(super) fn traceparent(span: &SpanContext) -> Option<HeaderValue> {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8() & 1);
    HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}")).ok().filter(|_| span.is_valid())
}
