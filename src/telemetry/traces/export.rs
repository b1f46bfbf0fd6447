//! Spans on their way to the collector: what is dropped is counted, and a collector that is away is told of once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use prometheus_client::metrics::counter::Counter;

/// Spans that wait to be sent, where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing else: the SDK's own default.
const MAX_WAITING: usize = 2048;

/// Batches spans for this exporter, on a thread of its own.
pub(super) fn processor<E: SpanExporter + 'static>(
    exporter: E,
    collector: String,
    dropped: &Counter,
) -> impl SpanProcessor + use<E> {
    let room = std::env::var("OTEL_BSP_MAX_QUEUE_SIZE").ok().and_then(|room| room.parse().ok()).unwrap_or(MAX_WAITING);
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Watched {
        exporter,
        collector,
        waiting: Arc::clone(&waiting),
        dropped: dropped.clone(),
        is_away: AtomicBool::new(false),
    };
    let config = BatchConfigBuilder::default().with_max_queue_size(room).build();
    let next = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    Bounded { next, waiting, room, dropped: dropped.clone() }
}

/// Keeps the SDK's queue from filling up: what it drops there, nobody hears of.
#[derive(Debug)]
struct Bounded<P> {
    next: P,
    /// Given to the queue, and not yet to the exporter.
    waiting: Arc<AtomicUsize>,
    room: usize,
    dropped: Counter,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let enter = |waiting| (waiting < self.room).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok() {
            self.next.on_end(span);
        } else {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Hears of each batch whether it was taken.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    collector: String,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
    is_away: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        let collector = &self.collector;
        match &exported {
            Ok(()) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(target: "attache::telemetry", collector, "traces are sent again");
                }
            }
            Err(error) => {
                self.dropped.inc_by(count as u64);
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "attache::telemetry", collector, %error,
                        "traces cannot be sent, and are dropped until they can (attache_spans_dropped_total counts them); check telemetry.otlp_endpoint, and that OTLP over HTTP is spoken there (port 4318; 4317 is gRPC)"
                    );
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
