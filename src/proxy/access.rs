//! What the access log is told of a request: begun with its head, written with the last byte of its answer.

use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use crate::proxy::body::CallerBody;
use crate::proxy::error::{REQUEST_ID, RequestId};
use crate::proxy::send::retry::Unauthorized;
use crate::proxy::{Arrived, ProxyShared, Refusal, Visit};
use crate::route::Route;
use crate::runtime::{ListenerRoute, ListenerRuntime};
use crate::telemetry::{AccessLog, AccessRecord, Attempt, RecentRequests, RequestSpan, UNMATCHED};
use crate::upstream::{Connecting, ExchangeError, Upstream};

/// W3C Server Timing.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where an answer came from; goes along in its extensions, and only where somebody wants to know.
#[derive(Debug, Clone)]
struct Answered {
    upstream: String,
    credential: Option<String>,
    generation: Option<u64>,
    outcome: &'static str,
    unauthorized: Option<&'static str>,
    token: Duration,
    connecting: Option<Duration>,
    upstreams: Duration,
}

/// Who it was, where that is known only with the answer.
#[derive(Debug, Clone)]
pub(super) struct Called(pub(super) String);

/// A record in the making; written when it is dropped.
#[derive(Debug)]
pub(super) struct AccessEntry {
    log: Option<AccessLog>,
    recent: Option<RecentRequests>,
    span: Option<RequestSpan>,
    /// For the log alone, and only if it asks: the page and traces have none.
    query: Option<String>,
    began: Instant,
    record: AccessRecord,
}

/// `telemetry.request_id`: the request leaves with an id, its own or one of ours.
pub(super) fn identify(shared: &ProxyShared, head: &mut Parts) -> Option<HeaderValue> {
    if !shared.request_id {
        return None;
    }
    let id = head.headers.get(REQUEST_ID).map_or_else(RequestId::random, RequestId::of_value);
    let value = HeaderValue::from_str(id.text()).ok()?;
    head.headers.insert(REQUEST_ID, value.clone());
    Some(value)
}

/// Notes what is known with the head, where there is a log or somebody looks.
pub(super) fn begin(
    shared: &ProxyShared,
    listener: &ListenerRuntime,
    arrived: &Arrived<'_>,
    head: &mut Parts,
    began: Instant,
) -> Option<Box<AccessEntry>> {
    let recent = shared.recent.is_watched().then(|| shared.recent.clone());
    if shared.access_log.is_none() && shared.traces.is_none() && recent.is_none() {
        return None;
    }
    let span = shared.traces.as_ref().map(|traces| traces.request(&head.method, &mut head.headers));
    if let Some(span) = &span {
        head.extensions.insert(span.clone());
    }
    // What stands before an @ may be a password.
    let bare = |text: &str| text.rsplit('@').next().unwrap_or_default().to_owned();
    let host = head.uri.authority().map(|authority| bare(authority.as_str()));
    let host = host.or_else(|| Some(bare(head.headers.get(http::header::HOST)?.to_str().ok()?)));
    let request_id = head.headers.get(REQUEST_ID).map_or_else(RequestId::random, RequestId::of_value);
    let record = AccessRecord {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        request_id: request_id.text().to_owned(),
        peer: arrived.caller.peer.to_string(),
        listener: listener.name.clone(),
        upstream: UNMATCHED.to_owned(),
        method: head.method.to_string(),
        host: host.unwrap_or_default(),
        path: if head.method == http::Method::CONNECT { String::new() } else { head.uri.path().to_owned() },
        outcome: "passed",
        ..AccessRecord::default()
    };
    let wanted = shared.access_log.as_ref().is_some_and(AccessLog::wants_query);
    let query = if wanted { head.uri.query().map(str::to_owned) } else { None };
    Some(Box::new(AccessEntry { log: shared.access_log.clone(), recent, span, query, began, record }))
}

/// Notes who it was. A name that has not been proven is not one: it is what anybody may write.
pub(super) fn called(entry: &mut Option<Box<AccessEntry>>, visit: &Visit<'_>) {
    if let Some(entry) = entry {
        entry.record.caller = visit.caller().map(str::to_owned);
    }
}

/// Begins the span of one try at the upstream, where the request has one.
pub(super) fn attempt(head: &Parts, upstream: &Upstream) -> Option<Box<Attempt>> {
    let request = head.extensions.get::<RequestSpan>()?;
    Some(Box::new(request.attempt(&upstream.settings.name, &head.method)))
}

/// Ends it.
pub(super) fn attempted<B>(attempt: Option<Box<Attempt>>, exchanged: &Result<Response<B>, ExchangeError>) {
    if let Some(attempt) = attempt {
        attempt.end(exchanged.as_ref().map(|response| response.status().as_u16()).map_err(ToString::to_string));
    }
}

/// How long the parts of a request take, where somebody wants to know; the clock is not read otherwise.
#[derive(Debug)]
pub(super) struct Watch {
    since: Option<Instant>,
    token: Duration,
    generation: Option<u64>,
}

impl Watch {
    /// From here on.
    pub(super) fn begin(shared: &ProxyShared) -> Self {
        let wanted = shared.access_log.is_some()
            || shared.server_timing
            || shared.traces.is_some()
            || shared.recent.is_watched();
        Self { since: wanted.then(Instant::now), token: Duration::ZERO, generation: None }
    }

    /// There is a token, or none is needed.
    pub(super) fn has_token(&mut self, generation: Option<u64>) {
        if let Some(since) = &mut self.since {
            self.token = since.elapsed();
            *since = Instant::now();
            self.generation = generation;
        }
    }

    /// The head of the answer is there: it says where it came from, and to the caller how long it took, if that is wanted.
    pub(super) fn tell(
        self,
        shared: &ProxyShared,
        response: &mut Response<CallerBody>,
        route: &Route,
        outcome: &'static str,
    ) {
        let Some(since) = self.since else { return };
        let upstreams = since.elapsed();
        if shared.server_timing {
            let millis = |part: Duration| part.as_secs_f64() * 1e3;
            let timing = format!("token;dur={:.1}, upstream;dur={:.1}", millis(self.token), millis(upstreams));
            if let Ok(value) = HeaderValue::try_from(timing) {
                // The upstream may have said something of its own.
                response.headers_mut().append(SERVER_TIMING, value);
            }
        }
        let credential = route.credential.as_ref().filter(|_| outcome == "injected");
        let unauthorized = response.extensions().get::<Unauthorized>().map(|Unauthorized(outcome)| *outcome);
        let connecting = response.extensions().get::<Connecting>().map(|Connecting(took)| *took);
        response.extensions_mut().insert(Answered {
            upstream: route.name().to_owned(),
            credential: credential.map(|credential| credential.name.clone()),
            generation: self.generation,
            outcome,
            unauthorized,
            token: self.token,
            connecting,
            upstreams,
        });
    }
}

/// The answer takes the record along, where there is one, and its request's id.
pub(super) fn answered(
    entry: Option<Box<AccessEntry>>,
    request_id: Option<HeaderValue>,
    mut response: Response<CallerBody>,
) -> Response<CallerBody> {
    if let Some(id) = request_id {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
    match entry {
        None => response,
        Some(entry) => entry.answered(response),
    }
}

/// The same of an answer of our own, with what [`AccessEntry::refused`] has noted.
pub(super) fn refused(entry: Option<Box<AccessEntry>>, response: Response<CallerBody>) -> Response<CallerBody> {
    match entry {
        None => response,
        Some(mut entry) => {
            entry.record.status = response.status().as_u16();
            response.map(|body| body.with_entry(entry))
        }
    }
}

impl AccessEntry {
    fn answered(mut self: Box<Self>, mut response: Response<CallerBody>) -> Response<CallerBody> {
        self.record.status = response.status().as_u16();
        if self.record.method == "CONNECT" {
            self.record.outcome = "tunneled";
        }
        if let Some(Called(name)) = response.extensions_mut().remove() {
            self.record.caller = Some(name);
        }
        if let Some(answered) = response.extensions_mut().remove::<Answered>() {
            let millis = |part: Duration| Some(part.as_secs_f64() * 1e3);
            let record = &mut self.record;
            (record.upstream, record.credential, record.outcome) =
                (answered.upstream, answered.credential, answered.outcome);
            (record.generation, record.unauthorized) = (answered.generation, answered.unauthorized);
            (record.token_ms, record.upstream_ms) = (millis(answered.token), millis(answered.upstreams));
            record.connect_ms = answered.connecting.and_then(millis);
        }
        response.map(|body| body.with_entry(self))
    }

    /// An answer of our own.
    pub(super) fn refused(
        mut self: Box<Self>,
        refusal: &Refusal,
        request_id: &RequestId,
        listener_route: Option<&ListenerRoute>,
    ) -> Box<Self> {
        self.record.outcome = if refusal.is_denial() { "denied" } else { "failed" };
        request_id.text().clone_into(&mut self.record.request_id);
        if let Some(listener_route) = listener_route {
            listener_route.route.name().clone_into(&mut self.record.upstream);
        }
        self
    }

    /// Bytes of the answer have gone.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.record.bytes += bytes as u64;
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        self.record.duration_ms = self.began.elapsed().as_secs_f64() * 1e3;
        if let Some(span) = &self.span {
            span.finish(&self.record);
        }
        if let Some(recent) = &self.recent {
            recent.keep(self.record.clone());
        }
        if let Some(log) = &self.log {
            if let Some(query) = self.query.take() {
                self.record.path = format!("{}?{query}", self.record.path);
            }
            log.write(&self.record);
        }
    }
}
