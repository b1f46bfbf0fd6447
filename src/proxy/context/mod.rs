//! What is known of one request: made with its head, lent to each step, and moved into the body of its answer. When that
//! has ended, or its caller has gone, the request is measured, logged, traced and shown on the status page, in one place.
//!
//! What only logs, traces and the page want is in a box that is made where one of them wants it.

mod record;
mod watched;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, StatusCode, Version};
use http_body::Body as _;

use self::record::record;
use self::watched::Watched;
use super::error::{ProxyError, ProxyErrorKind};
use super::outcome::{Outcome, UnauthorizedOutcome};
use super::request_id::RequestId;
use super::source::RequestSource;
use super::state::ProxyShared;
use crate::dial::Origin;
use crate::listen::Incoming;
use crate::route::Route;
use crate::runtime::ListenerRuntime;
use crate::telemetry::{
    AccessLog, AccessRecord, Attempt as Span, AttemptEnd, AttemptTarget, Code, Durations, RequestSpan, RouteMetrics,
    millis, trace_id_of,
};
use crate::timer::CoarseInstant;
use crate::upstream::{ExchangeError, Exchanged, OutboundField, Upstream};

#[derive(Debug)]
pub(crate) struct RequestContext {
    began: Instant,
    /// Where its duration is counted; none before its outcome is known.
    durations: Option<Durations>,
    answered: Option<Answered>,
    /// How long there was no token for it.
    waited: Duration,
    details: Option<Box<Details>>,
    pub(crate) version: Version,
    has_body: bool,
}

/// When the head of the upstream's answer was there. An answer whose body has come with it ends in the same turn, so its end needs
/// no other reading of the clock.
#[derive(Debug, Clone, Copy)]
struct Answered {
    after: Duration,
    at: CoarseInstant,
    polled: bool,
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
    /// Bytes of the request's body.
    request_bytes: Option<Rc<Cell<u64>>>,
}

/// One try at an upstream that is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    began: Instant,
    /// `None` where there are no traces.
    span: Option<Span>,
}

impl Attempt {
    /// The field by which the upstream goes on with the trace.
    pub(crate) fn traceparent(&self) -> Option<OutboundField<'_>> {
        self.span.as_ref()?.traceparent()
    }
}

impl RequestContext {
    pub(crate) fn new(began: Instant, version: Version, body: &Incoming) -> Self {
        let mut context = Self::without_head(began);
        (context.version, context.has_body) = (version, !body.is_end_stream());
        context
    }

    /// A request that did not come in HTTP.
    pub(crate) const fn without_head(began: Instant) -> Self {
        Self {
            began,
            durations: None,
            answered: None,
            waited: Duration::ZERO,
            details: None,
            version: Version::HTTP_11,
            has_body: false,
        }
    }

    /// Notes what the head says, where there is a log or the like. The request leaves as a child of the span that begins here.
    pub(crate) fn note_head(
        &mut self,
        shared: &ProxyShared,
        listener: &ListenerRuntime,
        source: RequestSource<'_>,
        (head, body): (&mut Parts, &mut Incoming),
    ) {
        let watched = shared.recent.is_watched().then(|| Watched::new(shared.recent.clone(), &head.headers));
        let is_recorded = shared.access_log.is_some() || shared.traces.is_some() || watched.is_some();
        if !is_recorded && !shared.server_timing {
            return;
        }
        let mut record = if is_recorded { record(listener, source, head) } else { AccessRecord::default() };
        let span = shared.traces.as_ref().map(|traces| traces.request(&head.method, &mut head.headers));
        match &span {
            Some(span) => (record.trace_id, record.span_id) = both(span.ids()),
            None if is_recorded => record.trace_id = trace_id_of(&head.headers),
            None => {}
        }
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
            request_bytes: (is_recorded && !body.is_end_stream()).then(|| body.count()),
        }));
    }

    /// The trace that the request is a part of, and attache's span in it, as far as they are known: for lines of the log.
    pub(crate) fn trace(&self) -> TraceIds<'_> {
        let record = self.details.as_ref().map(|details| &details.record);
        TraceIds {
            trace_id: record.and_then(|record| record.trace_id.as_deref()),
            span_id: record.and_then(|record| record.span_id.as_deref()),
        }
    }

    /// The request has waited so long for a token request of this name ([`crate::credential::Credential::token_name`]).
    pub(crate) fn note_waited(&mut self, token: &str, waited: Duration) {
        self.waited += waited;
        if let Some(span) = self.details.as_ref().and_then(|details| details.span.as_ref()) {
            span.waited_for_token(token);
        }
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
    pub(super) fn begin_attempt(&self, head: &Parts, upstream: &Upstream, origin: &Origin) -> Option<Box<Attempt>> {
        let details = self.details.as_ref()?;
        if details.span.is_none() && details.watched.is_none() {
            return None;
        }
        let span = details.span.as_ref().map(|span| {
            span.attempt(AttemptTarget {
                upstream: &upstream.settings.name,
                method: head.method.as_str(),
                host: origin.host.bare(),
                port: origin.port,
                url: format_args!("{origin}{}", head.uri.path()),
            })
        });
        Some(Box::new(Attempt { began: Instant::now(), span }))
    }

    pub(super) fn end_attempt<B>(&mut self, attempt: Box<Attempt>, tried: Result<&Exchanged<B>, &ExchangeError>) {
        let Attempt { began, span } = *attempt;
        if let Some(watched) = self.details.as_mut().and_then(|details| details.watched.as_mut()) {
            let tried = tried.map(|exchanged| (exchanged.response.status().as_u16(), exchanged.connecting));
            watched.note_try(self.began, began, tried.map_err(ToString::to_string));
        }
        let Some(span) = span else { return };
        span.end(match tried {
            Ok(exchanged) => {
                AttemptEnd::Answered { status: exchanged.response.status().as_u16(), peer: exchanged.peer }
            }
            Err(error) => AttemptEnd::Failed {
                error: ProxyErrorKind::Upstream(error.kind).row().proxy_status,
                why: error.to_string().into(),
            },
        });
    }

    /// How long the try waited for a connection, where it had to, and where that leads.
    pub(crate) fn note_connection(&mut self, connecting: Option<Duration>, peer: Option<SocketAddr>) {
        if let Some(details) = &mut self.details {
            details.connecting = connecting;
            details.record.upstream_address = peer;
        }
    }

    pub(crate) fn note_unauthorized(&mut self, outcome: UnauthorizedOutcome) {
        if let Some(details) = &mut self.details {
            details.unauthorized = Some(outcome);
        }
    }

    /// Counts the outcome now, with what the caller is answered; the duration follows at the end.
    pub(crate) fn count(&mut self, metrics: &RouteMetrics, outcome: Outcome, status: StatusCode) {
        metrics.count(outcome, Code::of(status));
        self.durations = Some(metrics.upstream.durations.clone());
    }

    /// The same for an upstream's answer, whose head is there now.
    pub(crate) fn count_answer(&mut self, metrics: &RouteMetrics, outcome: Outcome, status: StatusCode) {
        self.count(metrics, outcome, status);
        let after = self.began.elapsed();
        metrics.upstream.responses.observe(after.saturating_sub(self.waited));
        self.answered = Some(Answered { after, at: CoarseInstant::now(), polled: false });
    }

    /// The next part of the answer's body is asked for.
    pub(crate) fn note_polled(&mut self) {
        self.answered = self.answered.filter(|answered| !answered.polled);
        if let Some(answered) = &mut self.answered {
            answered.polled = true;
        }
    }

    /// The head of a configured upstream's answer is there. What `Server-Timing` says of it, where that is wanted.
    pub(crate) fn note_upstream(&mut self, route: &Route, outcome: Outcome) -> Option<HeaderValue> {
        let details = self.details.as_mut()?;
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
        record.error = Some(error.kind.row().proxy_status.into());
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
        // Where the parts of a request are told too, the whole is not told less exactly.
        let with_its_head = self.answered.filter(|_| self.details.is_none()).filter(|of| of.at == CoarseInstant::now());
        let took = with_its_head.map_or_else(|| self.began.elapsed(), |answered| answered.after);
        if let Some(durations) = &self.durations {
            durations.observe(took);
            let span = self.details.as_ref().and_then(|details| details.span.as_ref());
            if let Some(trace) = span.and_then(RequestSpan::sampled_trace) {
                durations.exemplify(took, trace);
            }
        }
        if let Some(details) = self.details.take() {
            details.finish(took);
        }
    }
}

impl Details {
    fn finish(mut self: Box<Self>, took: Duration) {
        self.record.duration_ms = millis(took);
        self.record.request_bytes = self.request_bytes.as_ref().map_or(0, |count| count.get());
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

/// As fields of a line of the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TraceIds<'a> {
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) span_id: Option<&'a str>,
}

fn both((trace, span): (String, String)) -> (Option<String>, Option<String>) {
    (Some(trace), Some(span))
}
