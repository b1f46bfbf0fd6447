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
mod certificates;
mod credentials;
mod listeners;
mod rotation;
mod sources;
mod workers;

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, oneshot};

pub use build::dry_runtime;
pub use sources::{BuildError, token_source};

use self::build::Builder;
use self::rotation::Live;
use self::workers::{Running, Stop, WorkerParts};
use crate::admin::{Admin, AdminFacts};
use crate::config::Config;
use crate::listen::{self, BindError, Bound, ListenAddress, ListenContext, Roster, UnixPath};
use crate::proxy::{ListenerMode, ProxyShared, RateLimit, ReplayBudget, ViaIdentity};
use crate::runtime::SharedRuntime;
use crate::secret::SecretError;
use crate::telemetry::RequestMetrics;
use crate::token::TokenMetrics;
use crate::upstream::OwnAddresses;

/// The name under which the admin listener's address is given.
pub const ADMIN: &str = "admin";

/// A running attache: its threads and its addresses. Dropping it ends everything at once; [`App::shutdown`] drains first.
#[derive(Debug)]
pub struct App {
    addresses: Vec<(String, ListenAddress)>,
    stop: Stop,
    drain: Duration,
    control: Option<Running>,
    threads: Vec<Running>,
    _unix_paths: Vec<UnixPath>,
}

/// Why attache did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening address.
    #[error("listener {name:?}: {error}")]
    Bind {
        /// The listener.
        name: String,
        /// What is wrong with it.
        error: BindError,
    },
    /// A trust store, secret or endpoint.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// `admin.token`.
    #[error("admin.token: {0}")]
    AdminToken(SecretError),
    /// The system refused a thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// The sockets of a start: those of each worker, the admin one, and what they really are.
struct Sockets {
    workers: Vec<Vec<Bound>>,
    admin: Option<Bound>,
    addresses: Vec<(String, ListenAddress)>,
}

impl App {
    /// Binds every address, makes the configuration live, and serves on threads of its own. One worker for each core that
    /// this process may use.
    ///
    /// # Errors
    /// An address that cannot be had, a trust store that cannot be loaded. Nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self::start_with(config, workers)
    }

    /// As [`App::start`], with this many workers.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_with(config: Config, workers: usize) -> Result<Self, StartError> {
        let Sockets { workers: sockets, admin, addresses } = bind_all(&config, workers)?;
        let stop = Stop::default();
        let metrics = RequestMetrics::default();
        let token_metrics = TokenMetrics::default();
        let (send_main, main) = oneshot::channel();
        let (control, control_thread) = workers::start_control(main)?;
        // From here on a failure has to end the control thread: dropping `send_main` does.
        let builder = Builder {
            control,
            token_metrics: token_metrics.clone(),
            metrics: metrics.clone(),
            own: Arc::new(OwnAddresses::new(tcp_addresses(&addresses))),
            dpop_keys: sources::DpopKeys::default(),
        };
        let built = Arc::new(builder.build(&config, None)?);
        let shared = SharedRuntime::new(Arc::clone(&built.runtime));
        let drain = config.limits.drain;
        let parts = worker_parts(&config, workers, &shared, &metrics, &stop);
        let facts = admin_facts(&config, &addresses, metrics, token_metrics).map_err(StartError::AdminToken)?;
        // Whoever reads the metrics is no caller: neither held up by the bound on callers nor counted among them.
        let admin_context = ListenContext { permits: None, gauge: Gauge::default(), ..parts.context.clone() };
        for credential in built.runtime.credentials.iter().filter(|credential| credential.required) {
            credential.prime();
        }
        let live = Arc::new(Live { config, builder, built: Mutex::new(built), shared: shared.clone() });
        let control_stop = stop.clone();
        let main = move || control_main(live, admin, Admin::new(facts, shared), admin_context, control_stop);
        if send_main.send(main).is_err() {
            return Err(StartError::Thread(io::Error::other("the control thread has ended")));
        }
        let unix_paths = addresses.iter().filter_map(|(_, address)| UnixPath::of(address)).collect();
        let control = Some(control_thread);
        let mut app = Self { addresses, stop, drain, control, threads: Vec::new(), _unix_paths: unix_paths };
        for (number, sockets) in sockets.into_iter().enumerate() {
            // On failure `app` is dropped, which ends the threads that run already.
            app.threads.push(workers::start_worker(number, sockets, parts.clone())?);
        }
        Ok(app)
    }

    /// Where every listener really listens, in the configuration's order, the admin listener (as [`ADMIN`]) last.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, ListenAddress)> {
        self.addresses.clone()
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
        in_time
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.drain.cancel();
        self.stop.now.cancel();
    }
}

fn bind_all(config: &Config, workers: usize) -> Result<Sockets, StartError> {
    let mut sockets: Vec<Vec<Bound>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in &config.listeners {
        let bound = listen::bind(&listener.address, workers);
        let (address, bound) = bound.map_err(|error| StartError::Bind { name: listener.name.clone(), error })?;
        addresses.push((listener.name.clone(), address));
        for (worker, socket) in sockets.iter_mut().zip(bound) {
            worker.push(socket);
        }
    }
    let admin = match &config.admin {
        None => None,
        Some(admin) => {
            let bound = listen::bind(&admin.address, 1);
            let (address, mut bound) = bound.map_err(|error| StartError::Bind { name: ADMIN.into(), error })?;
            addresses.push((ADMIN.into(), address));
            bound.pop()
        }
    };
    Ok(Sockets { workers: sockets, admin, addresses })
}

fn tcp_addresses(addresses: &[(String, ListenAddress)]) -> Vec<std::net::SocketAddr> {
    let tcp = |(_, address): &(String, ListenAddress)| match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    };
    addresses.iter().filter_map(tcp).collect()
}

fn worker_parts(
    config: &Config,
    workers: usize,
    runtime: &SharedRuntime,
    metrics: &RequestMetrics,
    stop: &Stop,
) -> WorkerParts {
    let limits = Arc::new(config.limits.clone());
    let shared = ProxyShared {
        via: ViaIdentity::default(),
        replay_budget: Arc::new(ReplayBudget::new(limits.replay_memory, metrics.replay_bytes.clone())),
        rate: limits.requests_per_second.map(RateLimit::new),
        metrics: metrics.clone(),
    };
    let context = ListenContext {
        permits: Some(Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)))),
        gauge: metrics.caller_connections.clone(),
        panics: metrics.panics.clone(),
        limits,
    };
    WorkerParts { runtime: runtime.clone(), shared: Arc::new(shared), context, workers, stop: stop.clone() }
}

fn admin_facts(
    config: &Config,
    addresses: &[(String, ListenAddress)],
    metrics: RequestMetrics,
    token_metrics: TokenMetrics,
) -> Result<AdminFacts, SecretError> {
    let mode = |name: &str| {
        let listener = config.listeners.iter().find(|listener| listener.name == name);
        listener.map_or(ADMIN, |listener| match listener.mode {
            ListenerMode::Forward { .. } => "forward",
            ListenerMode::Socks5 { .. } => "socks5",
            ListenerMode::Reverse { .. } => "reverse",
            ListenerMode::Token { .. } => "token",
        })
    };
    let listeners = addresses.iter().map(|(name, address)| (name.clone(), address.clone(), mode(name))).collect();
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    let local = config.admin.as_ref().is_none_or(|admin| admin.address.is_local());
    AdminFacts::new(listeners, token, local, metrics, token_metrics)
}

/// The control thread's work: the admin API and the watch on secrets. Token requests are spawned onto it from elsewhere.
async fn control_main(live: Arc<Live>, socket: Option<Bound>, admin: Admin, context: ListenContext, stop: Stop) {
    let clock = tokio::task::spawn_local(crate::coarse::drive());
    let rotation = tokio::task::spawn_local(rotation::watch(live));
    let roster = Rc::new(Roster::default());
    if let Some(socket) = socket {
        roster.spawn(listen::serve(socket, Rc::new(admin), context, Rc::clone(&roster)));
    }
    stop.drain.cancelled().await;
    rotation.abort();
    roster.begin_drain();
    stop.now.cancelled().await;
    clock.abort();
}
