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
mod error;
mod live;
mod sockets;
mod sources;
mod start;
mod trial;
mod watch;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use build::dry_runtime;
pub use error::StartError;
pub(crate) use sources::token_source;
pub(crate) use trial::{CacheTrial, UpstreamTrial, try_cache, try_upstreams};

pub use crate::admin::{Reload, ReloadCause};
pub use crate::listen::ListenAddress;

use self::sockets::Sockets;
use self::start::Started;
use crate::config::Config;
use crate::listen::{Inherited, ListeningAt};
use crate::proxy::Refusals;
use crate::token::TokenError;

/// How long the last traces may take at the end.
const TRACES_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the last lines of the access log may take, beside these.
const ACCESS_LOG_TIMEOUT: Duration = Duration::from_secs(2);

/// A running attache: its threads and its addresses. Dropping it ends everything at once; [`App::shutdown`] drains first.
#[derive(Debug)]
pub struct App(Started);

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

    /// As [`App::start`], on the sockets that a service manager passed, as far as listeners have their names or addresses, and
    /// with a control socket at this path: the admin API for this user alone, whatever `[admin]` says.
    ///
    /// # Errors
    /// As [`App::start`]; a socket that no listener takes.
    pub(crate) fn start_inheriting(
        config: Config,
        inherited: Inherited,
        control: Option<PathBuf>,
    ) -> Result<Self, StartError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self(start::start(config, workers, Sockets::new(inherited, control), None)?))
    }

    /// As [`App::start`], with this many workers.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_with(config: Config, workers: usize) -> Result<Self, StartError> {
        Ok(Self(start::start(config, workers, Sockets::default(), None)?))
    }

    /// As [`App::start`], telling of what is refused.
    ///
    /// # Errors
    /// As [`App::start`].
    pub(crate) fn start_telling(config: Config, refusals: Refusals) -> Result<Self, StartError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self(start::start(config, workers, Sockets::default(), Some(refusals))?))
    }

    /// Obtains the tokens of these credentials, unless they are there; gives those that are unavailable.
    pub(crate) async fn obtain(&self, names: &[&str]) -> Vec<(String, Arc<TokenError>)> {
        let runtime = self.0.runtime.current();
        let wanted = runtime.credentials.iter().filter(|credential| names.contains(&credential.name.as_str()));
        let asked = wanted.map(|credential| {
            let credential = Arc::clone(credential);
            // Where token requests run, and the timers that bound the wait.
            self.0
                .handle
                .spawn(async move { credential.obtain().await.err().map(|error| (credential.name.clone(), error)) })
        });
        // One that ended by a panic has been reported.
        let ended = futures_util::future::join_all(asked).await;
        ended.into_iter().filter_map(|outcome| outcome.ok().flatten()).collect()
    }

    /// Reads the configuration again, as SIGHUP does, and gives the outcome: the new one is live, or the old one stays and there
    /// are problems.
    pub async fn reload(&self) -> Reload {
        self.0.reloads.ask(ReloadCause::Signal).await
    }

    /// The outcome of the last reload, of whatever cause; none yet at the beginning.
    #[must_use]
    pub(crate) fn reloads(&self) -> tokio::sync::watch::Receiver<Option<Reload>> {
        self.0.reloads.watch()
    }

    /// Ready once the end was asked for over the admin API (`POST /quitquitquit`); the program that runs this then calls
    /// [`App::shutdown`].
    pub async fn asked_to_stop(&self) {
        self.0.stopping.asked().await;
    }

    /// Where every listener really listens, in the configuration's order, the admin listener (as `admin`) last.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, ListenAddress)> {
        self.0.listening.all().into_iter().map(|listener| (listener.name, listener.address)).collect()
    }

    /// What to say where `limits.connections` is more than descriptors allow.
    #[must_use]
    pub(crate) fn crowded(&self) -> Option<&str> {
        self.0.crowded.as_deref()
    }

    /// As [`App::addresses`], with the listeners' modes.
    #[must_use]
    pub(crate) fn listening(&self) -> Vec<ListeningAt> {
        self.0.listening.all()
    }

    /// True if every thread answers within this time: what a watchdog wants to know.
    pub(crate) async fn is_alive(&self, limit: Duration) -> bool {
        let control = self.0.handle.spawn(std::future::ready(()));
        let workers = async { self.0.workers.as_ref()?.answer().await };
        let all = async { control.await.is_ok() && workers.await.is_some() };
        tokio::time::timeout(limit, all).await.unwrap_or(false)
    }

    /// Says that the end is near, and goes on serving: `/readyz` is 503, and each connection ends with its next answer
    /// (`Connection: close`, GOAWAY), so that balancers and callers go elsewhere before [`App::shutdown`].
    pub fn announce_end(&self) {
        self.0.stop.announced.cancel();
    }

    /// Stops accepting, lets requests in progress finish for at most `limits.drain`, then ends.
    pub async fn shutdown(self) {
        let limit = self.0.drain;
        self.shutdown_within(limit).await;
    }

    /// As [`App::shutdown`], within this time. True if everything finished by itself.
    pub async fn shutdown_within(mut self, limit: Duration) -> bool {
        self.0.stop.announced.cancel();
        self.0.stop.drain.cancel();
        let workers = std::mem::take(&mut self.0.threads);
        let (ended, threads): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|running| (running.ended, running.thread)).unzip();
        let mut ended = futures_util::future::join_all(ended);
        let in_time = tokio::time::timeout(limit, &mut ended).await.is_ok();
        self.0.stop.now.cancel();
        if !in_time {
            ended.await;
        }
        for thread in threads {
            // An error means that it ended by a panic, which was reported when it happened.
            let _outcome = thread.join();
        }
        // With the workers went all that writes to the access log.
        let log = self.0.access_log.take();
        let log = log.map(|log| tokio::task::spawn_blocking(move || log.finish(ACCESS_LOG_TIMEOUT)));
        if let Some(traces) = self.0.traces.take() {
            // An error means that the runtime is ending; then nobody waits for traces either.
            let _outcome = tokio::task::spawn_blocking(move || traces.shut_down(TRACES_TIMEOUT)).await;
        }
        if let Some(log) = log
            && matches!(log.await, Ok(false))
        {
            tracing::warn!(
                target: "attache::app",
                "the last lines of the access log are lost: they could not be written within {} seconds",
                ACCESS_LOG_TIMEOUT.as_secs()
            );
        }
        // The control thread goes last: requests in progress may need a token, and probes are answered to the end.
        self.0.stop.control.cancel();
        if let Some(control) = self.0.control.take() {
            let _outcome = control.ended.await;
            let _outcome = control.thread.join();
        }
        in_time
    }
}
