//! Starting, step by step: what is bound, what is built, and which threads run it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{Admin, AdminFacts, Counted, ReloadRequest, Reloads, Stopping};
use crate::app::build;
use crate::app::build::state::{BuildContext, ChosenNames, Slots};
use crate::app::error::StartFailure;
use crate::app::live::Live;
use crate::app::sockets::{ADMIN, ControlSocket, Sockets, listening_at, tcp_addresses};
use crate::app::sources::DpopKeys;
use crate::app::watch;
use crate::app::watch::config_file::Reloader;
use crate::app::workers::{self, Running, Stop, WorkerParts, Workers};
use crate::config::Config;
use crate::descriptors::Shares;
use crate::dial::OwnAddresses;
use crate::fleet::{CacheMetrics, ReplicaHandle};
use crate::listen::{
    self, Bound, Drain, Limits, ListenAddress, ListenContext, Listening, ListeningAt, PerAddress, Room,
};
use crate::proxy::{Admission, ProxyShared, Refusals, ReplayBudget, ViaIdentity};
use crate::runtime::SharedRuntime;
use crate::telemetry::{
    AccessLog, AccessLogSettings, AccessLogWriter, History, RecentRequests, RequestMetrics, TelemetrySettings,
    TokenSpan, Traces, traces_are_wanted,
};
use crate::tls::{MinVersion, client_config};
use crate::token::{TokenMetrics, TokenRequestEnd};

/// How long answers of the admin API may take at the very end.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// All that runs, and what ends it. Dropping it ends everything at once.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) listening: Listening,
    pub(super) reloads: Arc<Reloads>,
    pub(super) stop: Stop,
    pub(super) stopping: Stopping,
    pub(super) drain: Duration,
    pub(super) control: Option<Running>,
    pub(super) threads: Vec<Running>,
    pub(super) handle: Handle,
    pub(super) workers: Option<Workers>,
    pub(super) runtime: SharedRuntime,
    pub(super) traces: Option<Traces>,
    pub(super) access_log: Option<AccessLogWriter>,
    pub(super) crowded: Option<String>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.stop.announced.cancel();
        self.stop.drain.cancel();
        self.stop.now.cancel();
        self.stop.control.cancel();
    }
}

/// Binds every address, makes the configuration live, and serves. Nothing keeps running after a failure.
pub(super) fn start(
    config: Config,
    workers: usize,
    sockets: Sockets,
    refusals: Option<Refusals>,
) -> Result<Started, StartFailure> {
    let bound = BoundListeners::bind(&config, workers, sockets)?;
    let telemetry = Telemetry::start(&config)?;
    let (send_main, main) = oneshot::channel();
    let (control, control_thread) = workers::start_control(main)?;
    // From here on a failure has to end the control thread: dropping `send_main` does.
    let context = BuildContext {
        control: control.clone(),
        token_metrics: telemetry.tokens.clone(),
        metrics: telemetry.requests.clone(),
        own: Arc::new(OwnAddresses::new(bound.tcp_addresses())),
        dpop_keys: DpopKeys::default(),
        names: ChosenNames::default(),
        replica: ReplicaHandle::default(),
        cache_metrics: telemetry.cache.clone(),
    };
    let built = build::build(&context, &config, bound.slots.clone(), None)?;
    context.replica.set(built.fleet.as_ref().map(|fleet| Arc::clone(fleet.replica())));
    let shared = SharedRuntime::new(Arc::clone(&built.runtime));

    let stop = Stop::default();
    let admin_sockets = 1 + usize::from(bound.control.is_some());
    let descriptors = Shares::now((config.listeners.len() * workers) + admin_sockets);
    let (proxy, access_log) = proxy_shared(&config, &telemetry)?;
    let parts = WorkerParts {
        runtime: shared.clone(),
        shared: Arc::new(ProxyShared { refusals, ..proxy }),
        context: listen_context(&config.limits, descriptors, &telemetry.requests),
        workers,
        stop: stop.clone(),
    };
    let listening = Listening::default();
    listening.replace(bound.listening_at(&config));
    let (reloads, requests) = Reloads::new();
    let reloads = Arc::new(reloads);
    let stopping = Stopping::beginning_with(stop.announced.clone());
    let mut facts = admin_facts(&config, &listening, &reloads, &telemetry, descriptors)?;
    facts.stopping = stopping.clone();
    let admin = AdminListener {
        socket: bound.admin,
        control: bound.control,
        admin: Admin::new(facts, shared.clone()),
        context: admin_context(&parts.context, descriptors),
        history: telemetry.history.clone(),
        recent: telemetry.recent.clone(),
    };
    for credential in built.runtime.credentials.iter().filter(|credential| credential.required) {
        credential.prime();
    }

    let mut started = Started {
        listening: listening.clone(),
        reloads: Arc::clone(&reloads),
        stop: stop.clone(),
        stopping,
        drain: config.limits.drain,
        control: Some(control_thread),
        threads: Vec::new(),
        handle: control,
        workers: None,
        runtime: shared.clone(),
        traces: telemetry.traces,
        access_log,
        crowded: descriptors.beyond(config.limits.connections),
    };
    // On failure `started` is dropped, which ends the threads that run already.
    let (workers, threads) = Workers::start(bound.shares, &parts)?;
    started.threads = threads;
    started.workers = Some(workers.clone());
    let live = Arc::new(Live::new(context, shared, Arc::new(config), built));
    let (sockets, metrics) = (bound.sockets, telemetry.requests);
    let reloader = Reloader { live: Arc::clone(&live), sockets, workers, listening, reloads, metrics };
    let main = move || control_main(live, reloader, requests, admin, stop);
    if send_main.send(main).is_err() {
        return Err(StartFailure::Thread(io::Error::other("the control thread has ended")));
    }
    Ok(started)
}

/// The sockets of all listeners, before anything is served on them.
struct BoundListeners {
    sockets: Sockets,
    /// One for each worker.
    shares: Vec<Vec<(usize, Bound)>>,
    slots: Slots,
    addresses: Vec<(String, ListenAddress)>,
    admin: Option<Bound>,
    admin_address: Option<ListenAddress>,
    control: Option<ControlSocket>,
}

impl BoundListeners {
    fn bind(config: &Config, workers: usize, sockets: Sockets) -> Result<Self, StartFailure> {
        sockets.check_inherited(config)?;
        let plan = sockets.plan(&config.listeners, workers)?;
        let (admin, admin_address) = match &config.admin {
            None => (None, None),
            Some(admin) => {
                let (address, bound) = sockets.admin(&admin.address)?;
                (bound, Some(address))
            }
        };
        let control = sockets.control()?;
        let slots = plan.slots.clone();
        let (sockets, shares) = sockets.begin(plan, workers);
        let addresses = sockets.addresses(&slots);
        Ok(Self { sockets, shares, slots, addresses, admin, admin_address, control })
    }

    fn tcp_addresses(&self) -> Vec<SocketAddr> {
        tcp_addresses(self.addresses.iter().map(|(_, address)| address).chain(&self.admin_address))
    }

    fn listening_at(&self, config: &Config) -> Vec<ListeningAt> {
        let admin = self.admin_address.clone();
        let admin = admin.map(|address| ListeningAt { name: ADMIN.into(), address, mode: ADMIN, scheme: "http" });
        listening_at(config, self.addresses.clone(), admin)
    }
}

/// What is counted and shown of requests and tokens.
struct Telemetry {
    requests: RequestMetrics,
    tokens: TokenMetrics,
    cache: CacheMetrics,
    recent: RecentRequests,
    history: History,
    traces: Option<Traces>,
}

impl Telemetry {
    fn start(config: &Config) -> Result<Self, StartFailure> {
        let (requests, cache) = (RequestMetrics::default(), CacheMetrics::default());
        let traces = start_traces(config.telemetry.otlp_endpoint.as_deref(), &requests)?;
        let tokens = TokenMetrics::default();
        if let Some(traces) = traces.clone() {
            tokens.observe(move |&TokenRequestEnd { credential, took, outcome, server, status }| {
                traces.token_request(&TokenSpan { credential, took, outcome, server, status });
            });
        }
        requests.reloads.begin();
        let (recent, history) = (RecentRequests::default(), History::default());
        Ok(Self { requests, tokens, cache, recent, history, traces })
    }
}

/// On a thread of its own: the library's client may not be made on an asynchronous runtime.
fn start_traces(endpoint: Option<&str>, metrics: &RequestMetrics) -> Result<Option<Traces>, StartFailure> {
    if !traces_are_wanted(endpoint) {
        return Ok(None);
    }
    let tls = client_config(None, &[b"h2", b"http/1.1"], None, MinVersion::default());
    let tls = tls.map_err(|error| StartFailure::Traces(error.to_string()))?;
    let (endpoint, dropped) = (endpoint.map(str::to_owned), metrics.spans_dropped.clone());
    let started = std::thread::spawn(move || Traces::start(endpoint.as_deref(), tls, &dropped)).join();
    match started {
        Ok(started) => started.map(Some).map_err(StartFailure::Traces),
        Err(_panic) => Err(StartFailure::Traces("their exporter cannot be set up".into())),
    }
}

/// And the writer of the access log, if there is one.
fn proxy_shared(config: &Config, telemetry: &Telemetry) -> io::Result<(ProxyShared, Option<AccessLogWriter>)> {
    let (limits, metrics) = (&config.limits, &telemetry.requests);
    let TelemetrySettings { access_log, server_timing, request_id, otlp_endpoint: _ } = config.telemetry.clone();
    let AccessLogSettings { to, format, query } = access_log;
    let start = |target| AccessLog::start(target, format, query, metrics.access_log_dropped.clone());
    let (access_log, writer) = to.map(start).transpose()?.unzip();
    let shared = ProxyShared {
        via: ViaIdentity::default(),
        replay_budget: Arc::new(ReplayBudget::new(limits.replay_memory, metrics.replay_bytes.clone())),
        admission: Admission::new(limits.requests_per_second, limits.requests_per_second_per_caller, limits.body_bytes),
        access_log,
        recent: telemetry.recent.clone(),
        traces: telemetry.traces.clone(),
        server_timing,
        request_id,
        metrics: metrics.clone(),
        refusals: None,
    };
    Ok((shared, writer))
}

fn listen_context(limits: &Limits, places: Shares, metrics: &RequestMetrics) -> ListenContext {
    ListenContext {
        room: Room::new(limits.connections.min(places.callers)),
        per_address: limits.connections_per_address.map(PerAddress::new),
        gauge: metrics.caller_connections.clone(),
        panics: metrics.panics.clone(),
        limits: Arc::new(limits.clone()),
    }
}

/// A program that reads the metrics is no caller: neither held up by the bound on callers nor counted among them.
fn admin_context(callers: &ListenContext, descriptors: Shares) -> ListenContext {
    ListenContext { room: Room::new(descriptors.admin), per_address: None, gauge: Gauge::default(), ..callers.clone() }
}

fn admin_facts(
    config: &Config,
    listening: &Listening,
    reloads: &Arc<Reloads>,
    telemetry: &Telemetry,
    descriptors: Shares,
) -> Result<AdminFacts, StartFailure> {
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    let is_loopback = |address: &ListenAddress| matches!(address, ListenAddress::Tcp(_)) && address.is_local();
    let loopback = config.admin.as_ref().is_none_or(|admin| is_loopback(&admin.address));
    let Telemetry { requests, tokens, cache, .. } = telemetry;
    let counted = Counted { requests: requests.clone(), tokens: tokens.clone(), cache: cache.clone() };
    let facts = AdminFacts::new(listening.clone(), Arc::clone(reloads), token, loopback, counted);
    let mut facts = facts.map_err(StartFailure::AdminToken)?;
    facts.recent = telemetry.recent.clone();
    facts.history = telemetry.history.clone();
    facts.watchers = descriptors.admin / 4;
    Ok(facts)
}

/// The admin API, and where it is served.
struct AdminListener {
    socket: Option<Bound>,
    control: Option<ControlSocket>,
    admin: Admin,
    context: ListenContext,
    history: History,
    recent: RecentRequests,
}

/// The control thread's work: the admin API, reloads, and the watch on secrets. Token requests are spawned onto it from
/// elsewhere.
async fn control_main(
    live: Arc<Live>,
    reloader: Reloader,
    requests: mpsc::Receiver<ReloadRequest>,
    admin: AdminListener,
    stop: Stop,
) {
    let AdminListener { socket, control, admin, context, history, recent } = admin;
    let metrics = reloader.metrics.clone();
    let clock = tokio::task::spawn_local(crate::timer::drive());
    let rotation = tokio::task::spawn_local(watch::secrets::watch(live));
    let reloading = tokio::task::spawn_local(reloader.serve(requests));
    let drain = Drain::new(&context.room);
    // Without a listener nobody can look.
    let is_watched = socket.is_some() || control.is_some();
    let sampling = is_watched.then(|| tokio::task::spawn_local(history.drive(metrics, recent)));
    // The path of the control socket goes when this ends.
    let (control, _path) = control.map(ControlSocket::into_parts).unzip();
    if let Some(socket) = control {
        drain.spawn(listen::serve(socket, Rc::new(admin.for_own_user()), context.clone(), Rc::clone(&drain)));
    }
    if let Some(socket) = socket {
        drain.spawn(listen::serve(socket, Rc::new(admin), context, Rc::clone(&drain)));
    }
    stop.drain.cancelled().await;
    rotation.abort();
    reloading.abort();
    // Probes are answered, and metrics read, for as long as requests are finishing.
    stop.control.cancelled().await;
    drain.begin_drain();
    let _cut_off = tokio::time::timeout(LAST_ANSWERS, drain.drained()).await;
    if let Some(sampling) = sampling {
        sampling.abort();
    }
    clock.abort();
}
