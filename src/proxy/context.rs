//! What is known of one request: made with its head, lent to each step, and moved into the body of its answer. When that
//! has ended, or its caller has gone, the request is measured, logged, traced and shown on the status page, in one place.
//!
//! What only logs, traces and the page want is in a box that is made where one of them wants it.

use std::time::{Duration, Instant, SystemTime};

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};
use http_body::Body as _;

use super::error::ProxyError;
use super::outcome::{Outcome, UnauthorizedOutcome};
use super::request_id::RequestId;
use super::source::RequestSource;
use super::state::ProxyShared;
use super::watched::{Attempt, Tried, Watched};
use crate::listen::Incoming;
use crate::route::Route;
use crate::runtime::ListenerRuntime;
use crate::telemetry::{AccessLog, AccessRecord, Durations, RequestSpan, RouteMetrics, UNMATCHED};
use crate::upstream::Upstream;

#[derive(Debug)]
pub(crate) struct RequestContext {
    began: Instant,
    /// Where its duration is counted; none before its outcome is known.
    durations: Option<Durations>,
    details: Option<Box<Details>>,
    pub(crate) version: Version,
    has_body: bool,
}

/// For the access log, traces, the status page and `Server-Timing`.
#[derive(Debug)]
struct Details {
    log: Option<AccessLog>,
    /// For the status page, while it is open.
    watched: Option<Watched>,
    span: Option<RequestSpan>,
    server_timing: bool,
    record: AccessRecord,
    /// For the log alone, and only if it asks: the page and traces have none.
    query: Option<String>,
    /// Since when the current part of the request has been running.
    since: Instant,
    token: Duration,
    generation: Option<u64>,
    connecting: Option<Duration>,
    unauthorized: Option<UnauthorizedOutcome>,
}

impl RequestContext {
    pub(crate) fn new(began: Instant, version: Version, body: &Incoming) -> Self {
        Self { began, durations: None, details: None, version, has_body: !body.is_end_stream() }
    }

    /// A request that did not come in HTTP.
    pub(crate) const fn without_head(began: Instant) -> Self {
        Self { began, durations: None, details: None, version: Version::HTTP_11, has_body: false }
    }

    /// Notes what the head says, where there is a log or the like. The request leaves as a child of the span that begins here.
    pub(crate) fn note_head(
        &mut self,
        shared: &ProxyShared,
        listener: &ListenerRuntime,
        source: RequestSource<'_>,
        head: &mut Parts,
    ) {
        let watched = shared.recent.is_watched().then(|| Watched::new(shared.recent.clone(), &head.headers));
        let is_recorded = shared.access_log.is_some() || shared.traces.is_some() || watched.is_some();
        if !is_recorded && !shared.server_timing {
            return;
        }
        let span = shared.traces.as_ref().map(|traces| traces.request(&head.method, &mut head.headers));
        let record = if is_recorded { record(listener, source, head) } else { AccessRecord::default() };
        let wants_query = shared.access_log.as_ref().is_some_and(AccessLog::wants_query);
        self.details = Some(Box::new(Details {
            log: shared.access_log.clone(),
            watched,
            span,
            server_timing: shared.server_timing,
            record,
            query: if wants_query { head.uri.query().map(str::to_owned) } else { None },
            since: self.began,
            token: Duration::ZERO,
            generation: None,
            connecting: None,
            unauthorized: None,
        }));
    }

    pub(crate) fn note_caller(&mut self, name: Option<&str>) {
        if let Some(details) = &mut self.details {
            details.record.caller = name.map(str::to_owned);
        }
    }

    /// A tunnel to this upstream; the requests inside have lines of their own.
    pub(crate) fn note_tunnel(&mut self, upstream: &str) {
        if let Some(details) = &mut self.details {
            upstream.clone_into(&mut details.record.upstream);
        }
    }

    /// The request may go on; from here on its parts are timed.
    pub(crate) fn note_permitted(&mut self) {
        if let Some(details) = &mut self.details {
            details.since = Instant::now();
        }
    }

    /// There is a token, or none is needed.
    pub(crate) fn note_token(&mut self, generation: Option<u64>) {
        if let Some(details) = &mut self.details {
            let now = Instant::now();
            details.token = now - std::mem::replace(&mut details.since, now);
            details.generation = generation;
        }
    }

    /// Begins one try at the upstream; `None` where nobody wants to know of it.
    pub(super) fn begin_attempt(&self, head: &Parts, upstream: &Upstream) -> Option<Box<Attempt>> {
        let details = self.details.as_ref()?;
        if details.span.is_none() && details.watched.is_none() {
            return None;
        }
        let span = details.span.as_ref().map(|span| span.attempt(&upstream.settings.name, &head.method));
        Some(Box::new(Attempt { began: Instant::now(), span }))
    }

    pub(super) fn end_attempt(&mut self, attempt: Box<Attempt>, tried: Tried) {
        let Attempt { began, span } = *attempt;
        if let Some(watched) = self.details.as_mut().and_then(|details| details.watched.as_mut()) {
            watched.note_try(self.began, began, &tried);
        }
        if let Some(span) = span {
            span.end(tried.map(|(status, _)| status));
        }
    }

    /// How long the try waited for a connection, where it had to.
    pub(crate) fn note_connecting(&mut self, connecting: Option<Duration>) {
        if let Some(details) = &mut self.details {
            details.connecting = connecting;
        }
    }

    pub(crate) fn note_unauthorized(&mut self, outcome: UnauthorizedOutcome) {
        if let Some(details) = &mut self.details {
            details.unauthorized = Some(outcome);
        }
    }

    /// Counts the outcome now; the duration follows at the end.
    pub(crate) fn count(&mut self, metrics: &RouteMetrics, outcome: Outcome) {
        outcome.counter(metrics).inc();
        self.durations = Some(metrics.durations.clone());
    }

    /// The same for an upstream's answer.
    pub(crate) fn count_answer(&mut self, metrics: &RouteMetrics, outcome: Outcome, status: StatusCode) {
        self.count(metrics, outcome);
        if status.is_server_error() {
            metrics.server_errors.inc();
        }
    }

    /// The head of a configured upstream's answer is there. What `Server-Timing` says of it, where that is wanted.
    pub(crate) fn note_upstream(&mut self, route: &Route, outcome: Outcome) -> Option<HeaderValue> {
        let details = self.details.as_mut()?;
        let millis = |part: Duration| part.as_secs_f64() * 1e3;
        let (token, upstream) = (millis(details.token), millis(details.since.elapsed()));
        let credential = route.credential.as_ref().filter(|_| outcome == Outcome::Injected);
        let record = &mut details.record;
        route.name().clone_into(&mut record.upstream);
        record.credential = credential.map(|credential| credential.name.clone());
        record.generation = details.generation;
        record.outcome = outcome.label().into();
        record.unauthorized = details.unauthorized.map(|unauthorized| unauthorized.label().into());
        (record.token_ms, record.upstream_ms) = (Some(token), Some(upstream));
        record.connect_ms = details.connecting.map(millis);
        if !details.server_timing {
            return None;
        }
        HeaderValue::try_from(format!("token;dur={token:.1}, upstream;dur={upstream:.1}")).ok()
    }

    /// The answer that the caller gets.
    pub(crate) fn note_answer(&mut self, status: StatusCode) {
        if let Some(details) = &mut self.details {
            details.record.status = status.as_u16();
            if details.record.method == "CONNECT" {
                details.record.outcome = Outcome::Tunneled.label().into();
            }
        }
    }

    /// The same of one that attache gives itself.
    pub(crate) fn note_error(&mut self, error: &ProxyError, request_id: &RequestId) {
        let Some(details) = &mut self.details else { return };
        let record = &mut details.record;
        (record.status, record.outcome) = (error.status().as_u16(), error.outcome().label().into());
        request_id.text().clone_into(&mut record.request_id);
        if let Some(at) = &error.route {
            at.route.name().clone_into(&mut record.upstream);
        }
        if let Some(watched) = &mut details.watched {
            watched.note_reason(error.sentence());
        }
    }

    /// Bytes of the answer have gone.
    pub(crate) fn note_sent(&mut self, bytes: usize) {
        if let Some(details) = &mut self.details {
            details.record.bytes += bytes as u64;
        }
    }

    /// A request that is answered before its body has been read ends an HTTP/1 connection (RFC 9112 section 9.3).
    pub(crate) fn must_close(&self) -> bool {
        self.version == Version::HTTP_10 || (self.version == Version::HTTP_11 && self.has_body)
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.durations.is_none() && self.details.is_none() {
            return;
        }
        let took = self.began.elapsed();
        if let Some(durations) = &self.durations {
            durations.observe(took);
        }
        if let Some(details) = self.details.take() {
            details.finish(took);
        }
    }
}

impl Details {
    fn finish(mut self: Box<Self>, took: Duration) {
        self.record.duration_ms = took.as_secs_f64() * 1e3;
        if let Some(span) = &self.span {
            span.finish(&self.record);
        }
        if let Some(watched) = self.watched.take() {
            watched.finish(self.record.clone());
        }
        if let Some(log) = &self.log {
            if let Some(query) = self.query.take() {
                self.record.path = format!("{}?{query}", self.record.path);
            }
            log.write(&self.record);
        }
    }
}

fn record(listener: &ListenerRuntime, source: RequestSource<'_>, head: &Parts) -> AccessRecord {
    // What stands before an @ may be a password.
    let bare = |text: &str| text.rsplit('@').next().unwrap_or_default().to_owned();
    let host = head.uri.authority().map(|authority| bare(authority.as_str()));
    let host = host.or_else(|| Some(bare(head.headers.get(HOST)?.to_str().ok()?)));
    AccessRecord {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        request_id: RequestId::from_head(head).text().to_owned(),
        peer: source.connection.peer.to_string(),
        listener: listener.name.clone(),
        upstream: UNMATCHED.to_owned(),
        method: head.method.to_string(),
        host: host.unwrap_or_default(),
        path: if head.method == Method::CONNECT { String::new() } else { head.uri.path().to_owned() },
        outcome: Outcome::Passed.label().into(),
        ..AccessRecord::default()
    }
}
