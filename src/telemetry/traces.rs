//! Traces for an OpenTelemetry collector: OTLP over HTTP, W3C Trace Context in and out.
//!
//! The SDK batches spans and sends them on a thread of its own, from a bounded queue: a collector that is slow or away costs
//! spans and no request. What [telemetry] does not say is taken from the standard variables (`OTEL_EXPORTER_OTLP_…`,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::AccessRecord;

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go. A clone is a reference.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Inner>);

struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

/// True if the configuration or the environment names a collector, and nothing turns traces off.
#[must_use]
pub(crate) fn are_wanted(endpoint: Option<&str>) -> bool {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let off = variable("OTEL_SDK_DISABLED").eq_ignore_ascii_case("true") || variable("OTEL_TRACES_EXPORTER") == "none";
    let named = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    !off && (endpoint.is_some() || named.iter().any(|name| !variable(name).is_empty()))
}

impl Traces {
    /// Sends to this collector, or to the one that the environment names. Blocks, and must not be called on an asynchronous
    /// runtime.
    ///
    /// # Errors
    /// An endpoint that is none, or a client that cannot be set up.
    pub(crate) fn start(endpoint: Option<&str>, tls: rustls::ClientConfig) -> Result<Self, String> {
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
        let exporter = SpanExporter::builder().with_http().with_http_client(client);
        let exporter = match endpoint {
            Some(endpoint) => exporter.with_endpoint(signal(endpoint)),
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let named =
            ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"].map(|name| std::env::var(name).unwrap_or_default());
        let resource = Resource::builder();
        let is_named = !named[0].is_empty() || named[1].contains("service.name=");
        let resource = if is_named { resource } else { resource.with_service_name("attache") };
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("attache");
        Ok(Self(Arc::new(Inner { provider, tracer, propagator: TraceContextPropagator::new() })))
    }

    /// Begins the span of a request: a child of the caller's, if its `traceparent` is one. The request leaves as a child of this span.
    #[must_use]
    pub(crate) fn request(&self, method: &Method, headers: &mut HeaderMap) -> RequestSpan {
        let inner = &*self.0;
        let parent = inner.propagator.extract_with_context(&Context::new(), &Fields(headers));
        let builder = inner.tracer.span_builder(method_name(method)).with_kind(SpanKind::Server);
        let span = inner.tracer.build_with_context(builder, &parent);
        let context = parent.with_span(span);
        inner.propagator.inject_context(&context, &mut FieldsOut(headers));
        RequestSpan { context, traces: self.clone(), tries: Arc::default() }
    }

    /// One token request that has ended.
    pub(crate) fn token_request(&self, credential: &str, took: Duration, outcome: &'static str) {
        let now = SystemTime::now();
        let builder = self.0.tracer.span_builder("token request").with_kind(SpanKind::Client);
        let builder = builder.with_start_time(now - took);
        let mut span = self.0.tracer.build_with_context(builder, &Context::new());
        span.set_attribute(KeyValue::new("attache.credential", credential.to_owned()));
        span.set_attribute(KeyValue::new("attache.outcome", outcome));
        if outcome != "success" {
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

/// A method that a caller has made up must not become the name of a span.
fn method_name(method: &Method) -> Cow<'static, str> {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
    if known.contains(method) || *method == Method::CONNECT { method.as_str().to_owned().into() } else { "HTTP".into() }
}

/// A request under way. Ends by [`RequestSpan::finish`].
#[derive(Clone)]
pub(crate) struct RequestSpan {
    context: Context,
    traces: Traces,
    tries: Arc<AtomicI64>,
}

impl RequestSpan {
    /// Begins the span of one try at the upstream.
    #[must_use]
    pub(crate) fn attempt(&self, upstream: &str, method: &Method) -> Attempt {
        let tracer = &self.traces.0.tracer;
        let builder = tracer.span_builder(method_name(method)).with_kind(SpanKind::Client);
        let mut span = tracer.build_with_context(builder, &self.context);
        span.set_attribute(KeyValue::new("attache.upstream", upstream.to_owned()));
        span.set_attribute(KeyValue::new("http.request.method", method_name(method)));
        let before = self.tries.fetch_add(1, Ordering::Relaxed);
        if before > 0 {
            span.set_attribute(KeyValue::new("http.request.resend_count", before));
        }
        Attempt(span)
    }

    /// Everything is known of it, and its last byte has gone.
    pub(crate) fn finish(&self, record: &AccessRecord) {
        let span = self.context.span();
        let method = method_name(&Method::from_bytes(record.method.as_bytes()).unwrap_or_default());
        span.update_name(format!("{method} {}", record.upstream));
        let bytes = i64::try_from(record.bytes).unwrap_or(i64::MAX);
        let texts = [
            ("http.request.method", Some(method.into_owned())),
            ("url.path", Some(record.path.clone())),
            ("server.address", Some(record.host.clone())),
            ("client.address", Some(record.peer.clone())),
            ("attache.request_id", Some(record.request_id.clone())),
            ("attache.caller", record.caller.clone()),
            ("attache.listener", Some(record.listener.clone())),
            ("attache.upstream", Some(record.upstream.clone())),
            ("attache.outcome", Some(record.outcome.to_string())),
            ("attache.credential", record.credential.clone()),
            ("attache.unauthorized", record.unauthorized.as_deref().map(str::to_owned)),
        ];
        span.set_attributes(texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?))));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(record.status)));
        span.set_attribute(KeyValue::new("http.response.body.size", bytes));
        if record.status >= 500 {
            span.set_status(Status::error(record.outcome.clone()));
        }
        span.end();
    }
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSpan").finish_non_exhaustive()
    }
}

/// One try at an upstream. Without an end it ends where it is dropped.
pub(crate) struct Attempt(opentelemetry_sdk::trace::Span);

impl Attempt {
    /// The status of its answer, or why there is none.
    pub(crate) fn end(mut self, outcome: Result<u16, String>) {
        match outcome {
            Ok(status) => {
                self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
                if status >= 400 {
                    self.0.set_status(Status::error(""));
                }
            }
            Err(error) => self.0.set_status(Status::error(error)),
        }
        self.0.end();
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

struct Fields<'h>(&'h HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct FieldsOut<'h>(&'h mut HeaderMap);

impl Injector for FieldsOut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) else { return };
        if value.is_empty() {
            // An empty tracestate says nothing.
            self.0.remove(name);
        } else {
            self.0.insert(name, value);
        }
    }
}
