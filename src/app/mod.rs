//! The running program; the only place that wires things together.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use attache::{app::App, config::Config};
//!
//! let app = App::start(Config::load("proxy.toml".as_ref())?)?;
//! for (listener, address) in app.addresses() {
//!     println!("{listener} is at {address}");
//! }
//! app.shutdown().await;
//! # Ok(()) }
//! ```

mod build;
mod live;
mod sockets;
mod sources;
mod watch;
mod workers;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub(crate) use build::dry_runtime;
use sources::BuildError;
pub(crate) use sources::token_source;

pub use crate::admin::{Reload, ReloadCause};
pub use crate::listen::ListenAddress;

use self::build::Builder;
use self::live::Live;
use self::sockets::{Sockets, listening_at, tcp_addresses};
use self::watch::config_file::Reloader;
use self::workers::{Running, Stop, WorkerParts, Workers};
use crate::admin::{Admin, AdminFacts, ReloadRequest, Reloads};
use crate::config::Config;
use crate::descriptors::Shares;
use crate::dial::OwnAddresses;
use crate::listen::{
    self, BindError, Bound, Drain, Inherited, Limits, ListenContext, Listening, ListeningAt, PerAddress, Room,
};
use crate::proxy::{Admission, ProxyShared, ReplayBudget, ViaIdentity};
use crate::runtime::SharedRuntime;
use crate::secret::SecretError;
use crate::telemetry::{
    AccessLog, AccessLogSettings, RecentRequests, RequestMetrics, TelemetrySettings, Traces, traces_are_wanted,
};
use crate::tls::{MinVersion, client_config};
use crate::token::TokenMetrics;

/// The name under which the admin listener's address is given.
pub(crate) const ADMIN: &str = "admin";

/// A running attache: its threads and its addresses. Dropping it ends everything at once; [`App::shutdown`] drains first.
#[derive(Debug)]
pub struct App {
    listening: Listening,
    reloads: Arc<Reloads>,
    stop: Stop,
    drain: Duration,
    control: Option<Running>,
    threads: Vec<Running>,
    handle: Handle,
    workers: Option<Workers>,
    traces: Option<Traces>,
    crowded: Option<String>,
}

/// Why attache did not start: a sentence.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] StartFailure);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    /// A listening address.
    #[error("listener {name:?}: {error}")]
    Bind {
        /// The listener.
        name: String,
        /// What is wrong with it.
        error: BindError,
    },
    /// A socket of the service manager's that no listener takes.
    #[error("{0}")]
    Inherited(String),
    /// A trust store, secret or endpoint.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Traces.
    #[error("telemetry.otlp_endpoint: {0}")]
    Traces(String),
    /// `admin.token`.
    #[error("admin.token: {0}")]
    AdminToken(SecretError),
    /// The system refused a thread.
    #[error("a thread cannot be started, or the access log not opened: {0}")]
    Thread(#[from] io::Error),
}

impl App {
    /// Binds every address, makes the configuration live, and serves on threads of its own. One worker for each core that
    /// this process may use.
    ///
    /// # Errors
    /// An address that is unavailable, a trust store that cannot be loaded. Nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self::start_with(config, workers)
    }

    /// As [`App::start`], on the sockets that a service manager passed, as far as listeners have their names or addresses.
    ///
    /// # Errors
    /// As [`App::start`]; a socket that no listener takes.
    pub(crate) fn start_inheriting(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self::start_on(config, workers, Sockets::new(inherited))?)
    }

    /// As [`App::start`], with this many workers.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_with(config: Config, workers: usize) -> Result<Self, StartError> {
        Ok(Self::start_on(config, workers, Sockets::default())?)
    }

    fn start_on(config: Config, workers: usize, sockets: Sockets) -> Result<Self, StartFailure> {
        sockets.check_inherited(&config)?;
        let plan = sockets.plan(&config.listeners, workers)?;
        let (admin, admin_address) = match &config.admin {
            None => (None, None),
            Some(admin) => {
                let (address, bound) = sockets.admin(&admin.address)?;
                (bound, Some(address))
            }
        };
        let slots = plan.slots.clone();
        let (sockets, shares) = sockets.begin(plan, workers);
        let addresses = sockets.addresses(&slots);
        let stop = Stop::default();
        let metrics = RequestMetrics::default();
        let recent = RecentRequests::default();
        let traces = start_traces(config.telemetry.otlp_endpoint.as_deref())?;
        let token_metrics = TokenMetrics::default();
        if let Some(traces) = traces.clone() {
            token_metrics.observe(move |credential, took, outcome| traces.token_request(credential, took, outcome));
        }
        let (send_main, main) = oneshot::channel();
        let (control, control_thread) = workers::start_control(main)?;
        let handle = control.clone();
        // From here on a failure has to end the control thread: dropping `send_main` does.
        let own = OwnAddresses::new(tcp_addresses(addresses.iter().map(|(_, address)| address).chain(&admin_address)));
        let builder = Builder {
            control,
            token_metrics: token_metrics.clone(),
            metrics: metrics.clone(),
            own: Arc::new(own),
            dpop_keys: sources::DpopKeys::default(),
            names: build::upstreams::ChosenNames::default(),
        };
        let built = builder.build(&config, slots, None)?;
        let shared = SharedRuntime::new(Arc::clone(&built.runtime));
        let drain = config.limits.drain;
        let places = Shares::now((config.listeners.len() * workers) + 1);
        let crowded = places.beyond(config.limits.connections);
        let parts = WorkerParts {
            runtime: shared.clone(),
            shared: Arc::new(proxy_shared(&config, &metrics, &recent, traces.as_ref())?),
            context: listen_context(&config.limits, places, &metrics),
            workers,
            stop: stop.clone(),
        };
        let listening = Listening::default();
        let admin_at = admin_address.map(|address| ListeningAt { name: ADMIN.into(), address, mode: ADMIN });
        listening.replace(listening_at(&config, addresses, admin_at));
        let reload_metrics = metrics.clone();
        let (reloads, requests) = Reloads::new();
        let reloads = Arc::new(reloads);
        let mut facts = admin_facts(&config, &listening, &reloads, metrics, token_metrics, recent)
            .map_err(StartFailure::AdminToken)?;
        facts.watchers = places.admin / 4;
        // Whoever reads the metrics is no caller: neither held up by the bound on callers nor counted among them.
        let admin_context = ListenContext {
            room: Room::new(places.admin),
            per_address: None,
            gauge: Gauge::default(),
            ..parts.context.clone()
        };
        for credential in built.runtime.credentials.iter().filter(|credential| credential.required) {
            credential.prime();
        }
        let mut app = Self {
            listening: listening.clone(),
            reloads: Arc::clone(&reloads),
            stop: stop.clone(),
            drain,
            control: Some(control_thread),
            threads: Vec::new(),
            handle,
            workers: None,
            traces,
            crowded,
        };
        // On failure `app` is dropped, which ends the threads that run already.
        let (workers, threads) = Workers::start(shares, &parts)?;
        app.threads = threads;
        app.workers = Some(workers.clone());
        let live = Arc::new(Live::new(builder, shared.clone(), Arc::new(config), built));
        let reloader =
            Reloader { live: Arc::clone(&live), sockets, workers, listening, reloads, metrics: reload_metrics };
        let main =
            move || control_main(live, reloader, requests, admin, Admin::new(facts, shared), admin_context, stop);
        if send_main.send(main).is_err() {
            return Err(StartFailure::Thread(io::Error::other("the control thread has ended")));
        }
        Ok(app)
    }

    /// Reads the configuration again, as SIGHUP does, and says what became of it: the new one is live, or the old one stays and
    /// there are problems.
    pub async fn reload(&self) -> Reload {
        self.reloads.ask(ReloadCause::Signal).await
    }

    /// Where every listener really listens, in the configuration's order, the admin listener (as `admin`) last.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, ListenAddress)> {
        self.listening.all().into_iter().map(|listener| (listener.name, listener.address)).collect()
    }

    /// What to say where `limits.connections` is more than descriptors allow.
    #[must_use]
    pub(crate) fn crowded(&self) -> Option<&str> {
        self.crowded.as_deref()
    }

    /// As [`App::addresses`], with the listeners' modes.
    #[must_use]
    pub(crate) fn listening(&self) -> Vec<ListeningAt> {
        self.listening.all()
    }

    /// True if every thread answers within this time: what a watchdog wants to know.
    pub(crate) async fn is_alive(&self, limit: Duration) -> bool {
        let control = self.handle.spawn(std::future::ready(()));
        let workers = async { self.workers.as_ref()?.answer().await };
        let all = async { control.await.is_ok() && workers.await.is_some() };
        tokio::time::timeout(limit, all).await.unwrap_or(false)
    }

    /// Stops accepting, lets requests in progress finish for at most `limits.drain`, then ends.
    pub async fn shutdown(self) {
        let limit = self.drain;
        self.shutdown_within(limit).await;
    }

    /// As [`App::shutdown`], within this time. True if everything finished by itself.
    pub async fn shutdown_within(mut self, limit: Duration) -> bool {
        self.stop.drain.cancel();
        let workers = std::mem::take(&mut self.threads);
        let (ended, threads): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|running| (running.ended, running.thread)).unzip();
        let mut ended = futures_util::future::join_all(ended);
        let in_time = tokio::time::timeout(limit, &mut ended).await.is_ok();
        // The control thread goes last: requests in progress may still need a token.
        self.stop.now.cancel();
        if !in_time {
            ended.await;
        }
        if let Some(control) = self.control.take() {
            // An error means that it ended by a panic, which was reported when it happened.
            let _outcome = control.ended.await;
            let _outcome = control.thread.join();
        }
        for thread in threads {
            let _outcome = thread.join();
        }
        if let Some(traces) = self.traces.take() {
            // An error means that the runtime is ending; then nobody waits for traces either.
            let _outcome = tokio::task::spawn_blocking(move || traces.shut_down(LAST_TRACES)).await;
        }
        in_time
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.drain.cancel();
        self.stop.now.cancel();
    }
}

/// How long the last traces may take at the end.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// On a thread of its own: the library's client may not be made on an asynchronous runtime.
fn start_traces(endpoint: Option<&str>) -> Result<Option<Traces>, StartFailure> {
    if !traces_are_wanted(endpoint) {
        return Ok(None);
    }
    let tls = client_config(None, &[b"h2", b"http/1.1"], None, MinVersion::default());
    let tls = tls.map_err(|error| StartFailure::Traces(error.to_string()))?;
    let endpoint = endpoint.map(str::to_owned);
    let started = std::thread::spawn(move || Traces::start(endpoint.as_deref(), tls)).join();
    match started {
        Ok(started) => started.map(Some).map_err(StartFailure::Traces),
        Err(_panic) => Err(StartFailure::Traces("their exporter cannot be set up".into())),
    }
}

fn proxy_shared(
    config: &Config,
    metrics: &RequestMetrics,
    recent: &RecentRequests,
    traces: Option<&Traces>,
) -> io::Result<ProxyShared> {
    let limits = &config.limits;
    let TelemetrySettings { access_log, server_timing, request_id, otlp_endpoint: _ } = config.telemetry.clone();
    let AccessLogSettings { to, json, query } = access_log;
    let start = |target| AccessLog::start(target, json, query, metrics.access_log_dropped.clone());
    let access_log = to.map(start).transpose()?;
    Ok(ProxyShared {
        via: ViaIdentity::default(),
        replay_budget: Arc::new(ReplayBudget::new(limits.replay_memory, metrics.replay_bytes.clone())),
        admission: Admission::new(limits.requests_per_second, limits.requests_per_second_per_caller, limits.body_bytes),
        access_log,
        recent: recent.clone(),
        traces: traces.cloned(),
        server_timing,
        request_id,
        metrics: metrics.clone(),
    })
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

fn admin_facts(
    config: &Config,
    listening: &Listening,
    reloads: &Arc<Reloads>,
    metrics: RequestMetrics,
    token_metrics: TokenMetrics,
    recent: RecentRequests,
) -> Result<AdminFacts, SecretError> {
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    let local = config.admin.as_ref().is_none_or(|admin| admin.address.is_local());
    let mut facts = AdminFacts::new(listening.clone(), Arc::clone(reloads), token, local, metrics, token_metrics)?;
    facts.recent = recent;
    Ok(facts)
}

/// The control thread's work: the admin API, reloads, and the watch on secrets. Token requests are spawned onto it from
/// elsewhere.
async fn control_main(
    live: Arc<Live>,
    reloader: Reloader,
    requests: mpsc::Receiver<ReloadRequest>,
    socket: Option<Bound>,
    admin: Admin,
    context: ListenContext,
    stop: Stop,
) {
    let clock = tokio::task::spawn_local(crate::coarse::drive());
    let rotation = tokio::task::spawn_local(watch::secrets::watch(live));
    let reloading = tokio::task::spawn_local(reloader.serve(requests));
    let drain = Drain::new(&context.room);
    if let Some(socket) = socket {
        drain.spawn(listen::serve(socket, Rc::new(admin), context, Rc::clone(&drain)));
    }
    stop.drain.cancelled().await;
    rotation.abort();
    reloading.abort();
    drain.begin_drain();
    stop.now.cancelled().await;
    clock.abort();
}
