//! What all spans of the program have in common.

use std::collections::HashMap;
use std::sync::Mutex;

use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::sync::lock;

pub(super) struct Inner {
    pub(super) provider: SdkTracerProvider,
    pub(super) tracer: SdkTracer,
    pub(super) propagator: TraceContextPropagator,
    /// The newest token request of each name that tokens are asked for under, for the requests that have waited for it.
    pub(super) token_requests: Mutex<HashMap<String, SpanContext>>,
}

impl Inner {
    pub(super) fn note_token_request(&self, credential: &str, span: &SpanContext) {
        lock(&self.token_requests).insert(credential.to_owned(), span.clone());
    }

    /// The newest token request of this name.
    pub(super) fn token_request_of(&self, credential: &str) -> Option<SpanContext> {
        lock(&self.token_requests).get(credential).cloned()
    }
}
