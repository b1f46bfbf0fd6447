//! Traces for an OpenTelemetry collector: OTLP over HTTP, W3C Trace Context in and out.
//!
//! The SDK batches spans and sends them on a thread of its own, from a bounded queue: a collector that is slow or away costs
//! spans and no request. What [telemetry] does not say is taken from the standard variables (`OTEL_EXPORTER_OTLP_…`,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`).

mod environment;
mod export;
mod fields;
mod inner;
mod span;

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus_client::metrics::counter::Counter;

pub(crate) use self::environment::are_wanted;
use self::fields::Fields;
pub(crate) use self::fields::trace_id_of;
use self::inner::Inner;
use self::span::span_name;
pub(crate) use self::span::{Attempt, AttemptEnd, RequestSpan, Target};

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go. A clone is a reference.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Inner>);

/// A token request that has ended.
#[derive(Debug)]
pub(crate) struct TokenSpan<'a> {
    pub(crate) credential: &'a str,
    pub(crate) took: Duration,
    /// `success`, or the kind of failure.
    pub(crate) outcome: &'static str,
    /// Host and port of the authorization server.
    pub(crate) server: Option<(&'a str, u16)>,
    /// Of its answer, if there was one.
    pub(crate) status: Option<u16>,
}

impl Traces {
    /// Sends to this collector, or to the one that the environment names; what cannot be sent is counted. Blocks, and must not be
    /// called on an asynchronous runtime.
    ///
    /// # Errors
    /// An endpoint that is none, or a client that cannot be set up.
    pub(crate) fn start(endpoint: Option<&str>, tls: rustls::ClientConfig, dropped: &Counter) -> Result<Self, String> {
        let client = reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            // HTTP_PROXY in this process's environment is often this very program.
            .no_proxy()
            // Headers for the collector may hold a secret.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_TIMEOUT)
            // Divided among the addresses of the collector: one that is silent does not use up all of the time.
            .connect_timeout(EXPORT_TIMEOUT / 2)
            .build()
            .map_err(|error| error.to_string())?;
        environment::warn_of_protocol();
        let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
        let exporter = match endpoint {
            Some(endpoint) => exporter.with_endpoint(signal(endpoint)),
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let processor = export::processor(exporter, environment::collector(endpoint), dropped);
        let provider =
            SdkTracerProvider::builder().with_span_processor(processor).with_resource(environment::resource()).build();
        let tracer = provider.tracer("attache");
        let (propagator, token_requests) = (TraceContextPropagator::new(), Mutex::default());
        Ok(Self(Arc::new(Inner { provider, tracer, propagator, token_requests })))
    }

    /// Begins the span of a request: a child of the caller's, if its `traceparent` is one. Each try at an upstream leaves with
    /// a `traceparent` of its own; one that is none does not leave, nor does the `tracestate` that came with it.
    #[must_use]
    pub(crate) fn request(&self, method: &Method, headers: &mut HeaderMap) -> RequestSpan {
        let inner = &*self.0;
        let parent = inner.propagator.extract_with_context(&Context::new(), &Fields(headers));
        if !parent.span().span_context().is_valid() {
            headers.remove(&fields::TRACEPARENT);
            headers.remove(&fields::TRACESTATE);
        }
        let builder = inner.tracer.span_builder(span_name(method.as_str())).with_kind(SpanKind::Server);
        let span = inner.tracer.build_with_context(builder, &parent);
        RequestSpan { context: parent.with_span(span), inner: Arc::clone(&self.0), tries: Arc::<AtomicI64>::default() }
    }

    /// One token request that has ended. It has a trace of its own, since it may serve many requests; theirs link to it.
    pub(crate) fn token_request(&self, ended: &TokenSpan<'_>) {
        let TokenSpan { credential, took, outcome, server, status } = *ended;
        let now = SystemTime::now();
        let builder = self.0.tracer.span_builder("token request").with_kind(SpanKind::Client);
        let builder = builder.with_start_time(now - took);
        let mut span = self.0.tracer.build_with_context(builder, &Context::new());
        self.0.note_token_request(credential, span.span_context());
        span.set_attribute(KeyValue::new("attache.credential", credential.to_owned()));
        span.set_attribute(KeyValue::new("attache.outcome", outcome));
        span.set_attribute(KeyValue::new("http.request.method", "POST"));
        if let Some((host, port)) = server {
            span.set_attribute(KeyValue::new("server.address", host.to_owned()));
            span.set_attribute(KeyValue::new("server.port", i64::from(port)));
        }
        if let Some(status) = status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if outcome != "success" {
            span.set_attribute(KeyValue::new("error.type", outcome));
            span.set_status(Status::error(outcome));
        }
        span.end_with_timestamp(now);
    }

    /// Sends what is waiting, for this long at the most. Blocks.
    pub(crate) fn shut_down(&self, limit: Duration) {
        if let Err(error) = self.0.provider.shutdown_with_timeout(limit) {
            tracing::debug!(target: "attache::telemetry", %error, "the last traces were not sent");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

/// The base URL of a collector, or the whole one.
fn signal(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}
