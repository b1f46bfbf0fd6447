//! A request's way through, top to bottom. Knows HTTP, not TOML.
//!
//! [`Proxy::handle`] is the whole story; each step is a function or a module with one job, and the order of the calls is
//! the order in ARCHITECTURE.md. A failure on the way is a [`Refusal`], and one place turns it into a response.

mod access;
mod admit;
mod body;
mod error;
pub(crate) mod explain;
mod facts;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod head;
mod record;
mod response;
mod rewrite;
mod routing;
mod send;
mod settings;
mod source;
mod token_endpoint;
mod tunnel;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use admit::rate::Admission;
pub(crate) use body::replay_memory::{ReplayBudget, ReplayMemory};
pub(crate) use body::{CallerBody, RequestBody};
pub(crate) use error::{REQUEST_ID, Refusal, RequestId};
pub use head::hop_by_hop::{ViaIdentity, rewrite_request, rewrite_response};
pub(crate) use response::malformed;
pub(crate) use settings::{AcceptedHosts, ForwardSettings, ListenerMode, PrivateAddresses, TokenClient, Unmatched};

use self::admit::policy::{caller_authorization, check_policy, max_forwards, options_of_proxy};
use self::admit::{callers, subject};
use self::facts::{CallerFacts, finish};
use self::head::credential as inject;
use self::record::Record;
use self::rewrite::Terms;
use self::routing::destination::{self, Destination, Reached};
use self::routing::token_origin;
use self::source::{Arrived, Entrance, Visit};
use self::tunnel::intercept::Inside;
use self::tunnel::passthrough;
use self::tunnel::switch::{self, Switch};
use crate::credential::{Authorization, Credential};
use crate::dial::Origin;
use crate::listen::{CallerConnection, Incoming, Serving};
use crate::route::OnTokenError;
use crate::runtime::{ListenerRuntime, ModeRuntime, Runtime, RuntimeReader};
use crate::telemetry::{AccessLog, RecentRequests, RequestMetrics, Traces};
use crate::upstream::{Pool, ResponseBody, Upstream};

/// One worker's request path.
pub(crate) struct Proxy {
    runtime: RuntimeReader,
    pool: Pool<RequestBody>,
    replays: Rc<ReplayMemory>,
    shared: Arc<ProxyShared>,
    /// Tunnels and drained bodies: what outlives its request.
    tasks: TaskTracker,
    /// For what is served inside of tunnels.
    serving: Serving,
    /// Ends tasks at the shutdown deadline.
    stop: CancellationToken,
}

/// What all workers share besides the runtime.
#[derive(Debug)]
pub(crate) struct ProxyShared {
    /// Who we are in `Via`.
    pub(crate) via: ViaIdentity,
    /// Memory of all replay buffers.
    pub(crate) replay_budget: Arc<ReplayBudget>,
    /// How much may be asked.
    pub(crate) admission: Admission,
    /// `telemetry.access_log`.
    pub(crate) access_log: Option<AccessLog>,
    /// For whoever looks at the status page.
    pub(crate) recent: RecentRequests,
    /// Where traces go.
    pub(crate) traces: Option<Traces>,
    /// `telemetry.server_timing`.
    pub(crate) server_timing: bool,
    /// `telemetry.request_id`.
    pub(crate) request_id: bool,
    /// Counters.
    pub(crate) metrics: RequestMetrics,
}

impl Proxy {
    /// The request path of one of `workers` workers.
    #[must_use]
    pub(crate) fn new(
        runtime: RuntimeReader,
        shared: Arc<ProxyShared>,
        workers: usize,
        serving: Serving,
        stop: CancellationToken,
    ) -> Rc<Self> {
        let (pool, replays) = (Pool::new(workers), ReplayMemory::new(Arc::clone(&shared.replay_budget)));
        Rc::new(Self { runtime, pool, replays, shared, tasks: TaskTracker::new(), serving, stop })
    }

    /// Answers one request of a listener's. Cannot fail: every failure is a response.
    pub(crate) async fn handle(
        self: &Rc<Self>,
        listener: usize,
        request: Request<Incoming>,
        caller: &Arc<CallerConnection>,
    ) -> Response<CallerBody> {
        self.answer_to(Arrived { listener, inside: None, caller }, request).await
    }

    /// Answers one request that came through a tunnel which this proxy has opened.
    async fn handle_inside(
        self: &Rc<Self>,
        listener: usize,
        inside: &Inside,
        request: Request<Incoming>,
        caller: &Arc<CallerConnection>,
    ) -> Response<CallerBody> {
        self.answer_to(Arrived { listener, inside: Some(inside), caller }, request).await
    }

    async fn answer_to(self: &Rc<Self>, arrived: Arrived<'_>, request: Request<Incoming>) -> Response<CallerBody> {
        let began = Instant::now();
        // One request uses one snapshot, whatever is reloaded meanwhile.
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(arrived.listener) else {
            let refusal = Refusal::denied("this listener is no longer part of the configuration");
            return refusal.into_response(&RequestId::random(), true);
        };
        let facts = CallerFacts::of(&request);
        let (mut head, body) = request.into_parts();
        let readable = switch::read_extended_connect(&mut head, &body);
        let request_id = access::identify(&self.shared, &mut head);
        let mut entry = access::begin(&self.shared, listener, &arrived, &mut head, began);
        let answered = match callers::admit(&self.shared.admission, listener, &arrived, &mut head.headers) {
            Ok(proven) => {
                let visit = Visit { arrived, proven, began };
                access::called(&mut entry, &visit);
                match readable {
                    Ok(()) => self.forward(&runtime, listener, &visit, &mut head, body).await,
                    Err(refusal) => Err((refusal, None)),
                }
            }
            Err(refusal) => Err((refusal, None)),
        };
        match answered {
            Ok(response) => finish(access::answered(entry, request_id, response), facts),
            Err((refusal, listener_route)) => {
                let request_id = head.headers.get(REQUEST_ID).map_or_else(RequestId::random, RequestId::of_value);
                record::refusal(listener, &refusal, &request_id, began, listener_route.as_deref());
                let entry = entry.map(|entry| entry.refused(&refusal, &request_id, listener_route.as_deref()));
                let response = refusal.into_response(&request_id, facts.must_close());
                access::refused(entry, response)
            }
        }
    }

    /// Where the request goes, and then there. What is rare is boxed: its state would be carried by every request.
    async fn forward(
        self: &Rc<Self>,
        runtime: &Runtime,
        listener: &ListenerRuntime,
        visit: &Visit<'_>,
        head: &mut Parts,
        body: Incoming,
    ) -> Result<Response<CallerBody>, Failure> {
        let inside = visit.arrived.inside;
        if let ModeRuntime::Token(clients) = &listener.mode {
            return Ok(Box::pin(token_endpoint::answer(listener, clients, head, body, visit)).await);
        }
        match self.destination(listener, inside, head, visit.caller()).map_err(|refusal| (refusal, None))? {
            Destination::Route(reached) => {
                let terms = Terms::of(listener, inside, &reached, head);
                let answered = self.to_upstream(&reached, terms.as_ref(), head, body, visit).await;
                answered.map_err(|refusal| (refusal, Some(reached.listener_route)))
            }
            Destination::Unmatched(origin) => {
                let passing = Box::pin(self.to_unmatched(runtime, listener, &origin, head, body, visit));
                passing.await.map_err(|refusal| (refusal, None))
            }
            Destination::Tunnel(tunnel) => {
                let listener_route = tunnel.listener_route.clone();
                let opening = tunnel::open(self, runtime, listener, visit.entrance(), tunnel, body);
                Box::pin(opening).await.map_err(|refusal| (refusal, listener_route))
            }
            Destination::Refused(listener_route, refusal) => Err((refusal, Some(listener_route))),
            Destination::Itself => Ok(options_of_proxy()),
        }
    }

    /// The loop, and the target.
    fn destination(
        &self,
        listener: &ListenerRuntime,
        inside: Option<&Inside>,
        head: &Parts,
        caller: Option<&str>,
    ) -> Result<Destination, Refusal> {
        if self.shared.via.is_loop(&head.headers) {
            return Err(Refusal::proxy_loop("the request has passed this proxy before (Via)"));
        }
        destination::of(listener, inside, head, caller)
    }

    /// A request to a configured upstream: policy, authorization, head, exchange, answer.
    async fn to_upstream(
        self: &Rc<Self>,
        reached: &Reached,
        terms: Option<&Terms>,
        head: &mut Parts,
        mut body: Incoming,
        visit: &Visit<'_>,
    ) -> Result<Response<CallerBody>, Refusal> {
        let (route, metrics) = (&reached.listener_route.route, &reached.listener_route.metrics);
        check_policy(reached, head)?;
        if let Some(answer) = max_forwards(head)? {
            return Ok(answer);
        }
        let mut watch = access::Watch::begin(&self.shared);
        let exchanged = subject::exchanged(route.credential.as_deref(), head)?;
        let credential = match &exchanged {
            Some(credential) => Some(credential),
            None => caller_authorization(reached, head)?,
        };
        let authorization = match credential {
            Some(credential) => match credential.ready() {
                Some(authorization) => Some((credential, authorization)),
                None => Box::pin(wait_for_token(reached, credential)).await?.map(|obtained| (credential, obtained)),
            },
            None => None,
        };
        watch.has_token(authorization.as_ref().map(|(_, obtained)| obtained.generation()));
        let told = token_origin::reached(reached, authorization.as_ref().map(|(credential, _)| &***credential))?;
        let reached = told.as_ref().unwrap_or(reached);
        let injecting = route.credential.is_some();
        let wanted = rewrite_request(&self.shared.via, head, reached.path.clone(), injecting);
        let switch = switch::ask(wanted, head, &mut body);
        rewrite::tell_upstream(terms, reached, head);
        if let Some(credential) = credential {
            inject::make_room(credential, head);
        }
        let outcome = match (&authorization, credential) {
            (Some(_), _) => (&metrics.injected, "injected"),
            (None, Some(_)) => (&metrics.passed_without_token, "passed_without_token"),
            (None, None) => (&metrics.passed, "passed"),
        };
        let head = &*head;
        let interims = terms.and_then(|_| body.interim());
        let tell = |headers: &mut HeaderMap| rewrite::tell_caller(terms, reached, head, headers);
        let response = match authorization {
            Some((credential, authorization)) => {
                let answer = pin!(self.send_authorized(reached, credential, head, body, authorization));
                rewrite::changed_before(answer, interims, tell).await
            }
            None => {
                let mut answer = Box::pin(self.pass(&route.upstream, reached.origin(), head, body));
                rewrite::changed_before(pin!(&mut answer), interims, tell).await.map(|response| (response, None))
            }
        };
        let (response, trailers) = response.map_err(|error| Refusal::exchange(route.name(), &error))?;
        let record = Record::new(visit.began, metrics, outcome.0);
        let mut response = self.answer(response, switch, &route.upstream, record, visit)?;
        rewrite::tell_caller(terms, reached, head, response.headers_mut());
        watch.tell(&self.shared, &mut response, route, outcome.1);
        if let Some(watch) = trailers {
            response = response.map(|body| body.with_trailers(watch));
        }
        Ok(response)
    }

    /// A request to an origin that nothing is known about: it passes untouched, if policy lets it.
    async fn to_unmatched(
        self: &Rc<Self>,
        runtime: &Runtime,
        listener: &ListenerRuntime,
        origin: &Origin,
        head: &mut Parts,
        mut body: Incoming,
        visit: &Visit<'_>,
    ) -> Result<Response<CallerBody>, Refusal> {
        let upstream = passthrough::unmatched(runtime, listener, origin, origin)?;
        if let Some(answer) = max_forwards(head)? {
            return Ok(answer);
        }
        let wanted = rewrite_request(&self.shared.via, head, None, false);
        let switch = switch::ask(wanted, head, &mut body);
        let response = self.pass(upstream, origin, head, body).await;
        let response = response.map_err(|error| Refusal::unmatched_exchange(&origin.to_string(), &error))?;
        let record = Record::new(visit.began, &listener.metrics, &listener.metrics.passed);
        self.answer(response, switch, upstream, record, visit)
    }

    /// Makes the upstream's answer ours, or joins the two sides of a switch of protocols.
    fn answer(
        self: &Rc<Self>,
        response: Response<ResponseBody<RequestBody>>,
        switch: Option<Switch>,
        upstream: &Upstream,
        record: Record,
        visit: &Visit<'_>,
    ) -> Result<Response<CallerBody>, Refusal> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switch::join(self, switch, response, upstream, record, visit.entrance());
        }
        if switch.is_some_and(|switch| switch.would_be_opened_by(response.status())) {
            return Err(Refusal::bad_response(
                "the upstream answered without switching to the protocol that was asked for",
            ));
        }
        let (mut head, body) = response.into_parts();
        rewrite_response(&self.shared.via, &mut head);
        Ok(CallerBody::answer(head, body, record))
    }

    /// Runs something that outlives its request, until the shutdown deadline.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        };
        // Owned by the tracker, which the worker waits for.
        drop(tokio::task::spawn_local(self.tasks.track_future(task)));
    }

    /// `listeners.L.users`: true if this caller may connect. Somebody who may not is told nothing.
    pub(crate) async fn admits(&self, listener: usize, caller: &CallerConnection) -> bool {
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(listener) else { return true };
        callers::admits_user(listener, caller).await
    }

    /// The TLS of a listener towards its callers.
    #[must_use]
    pub(crate) fn tls(&self, listener: usize) -> Option<Arc<rustls::ServerConfig>> {
        self.runtime.current().listener(listener)?.tls.clone()
    }

    /// Closes connections that have been idle for too long; the worker calls it every few seconds.
    pub(crate) fn sweep(&self) {
        let runtime = self.runtime.current();
        self.pool.sweep(|upstream| runtime.has_upstream(upstream));
        self.replays.sweep();
    }

    /// Waits for tunnels and the like; they are ended by the token given to [`Proxy::new`].
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A refusal, and the route it happened on, if it came that far.
type Failure = (Refusal, Option<Arc<crate::runtime::ListenerRoute>>);

/// The token for a request that found none: from the token request in flight.
async fn wait_for_token(reached: &Reached, credential: &Credential) -> Result<Option<Authorization>, Refusal> {
    match credential.obtain().await {
        Ok(authorization) => Ok(Some(authorization)),
        Err(error) if reached.listener_route.route.settings.on_token_error == OnTokenError::Pass => {
            record::without_token(&reached.listener_route, &credential.name, &error);
            Ok(None)
        }
        Err(error) => Err(Refusal::token(&credential.name, &error)),
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}
