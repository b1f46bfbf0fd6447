//! `attache run`: start, say where, serve, drain.

mod service_manager;

use clap::Args;

use self::service_manager::ServiceManager;
use crate::app::App;
use crate::cli::config_arg::{ConfigArg, load};
use crate::cli::hidden::{hide, no_core_dumps};
use crate::cli::output::{BOLD, Failure, counted, talk, tell};
use crate::cli::single::{Addresses, SingleArgs};
use crate::listen::{Inherited, ListenAddress, ListeningAt};

#[derive(Debug, Args)]
#[command(after_help = "\
Without a file, for one upstream:
  export SECRET=…
  attache run --upstream https://api.example.com --token-endpoint https://login.example.com/token \\
      --client-id me --client-secret-env SECRET
It listens as a proxy (--forward) and as a base URL (--reverse); with --admin 127.0.0.1:8079
`attache status --admin 127.0.0.1:8079` shows what it does.

A changed file is read again at once, and also after SIGHUP or `attache reload`; a bad one leaves everything as it is.
One that says where or how secrets are sent waits for one of these, or a restart, and says so.
SIGTERM, Ctrl-C and `attache stop` let requests in progress finish; a second signal ends at once.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    single: SingleArgs,
    /// Where programs with HTTP_PROXY connect, with --upstream: an address, or a socket, as the file takes it.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS", requires = "upstream")]
    forward: String,
    /// The base URL, with --upstream.
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS", requires = "upstream")]
    reverse: String,
    /// The status page, metrics and the admin API, with --upstream; without it there are none.
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    admin: Option<String>,
}

pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let addresses = Addresses { forward: args.forward, reverse: args.reverse, admin: args.admin };
    let config = args.single.config_at(|| load(&args.config), addresses)?;
    no_core_dumps();
    hide();
    crate::descriptors::raise();
    // Before the first announcement, so that a signal that comes right after it drains.
    let mut signals = Signals::listen()?;
    let mut hangups = Hangups::listen()?;
    let (source, upstreams) = (config.source.clone(), config.upstreams.len());
    let drain = config.limits.drain;
    let inherited = Inherited::from_environment().map_err(Failure::failed)?;
    let app = App::start_inheriting(config, inherited).map_err(Failure::failed)?;
    let manager = ServiceManager::from_environment();
    announce(&source, upstreams, &app)?;
    if let Some(sentence) = app.crowded() {
        tracing::warn!(target: "attache::app", "{sentence}");
    }
    ServiceManager::ready(&format!("serving {upstreams} upstreams"));
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = app.asked_to_stop() => break,
            () = hangups.next() => {
                ServiceManager::reloading();
                // The outcome is in the log, too. An end does not wait for a file that hangs.
                tokio::select! {
                    reload = app.reload() => ServiceManager::reloaded(reload.problems.first()),
                    () = signals.next() => break,
                    () = app.asked_to_stop() => break,
                }
            }
            () = manager.sign_of_life(&app) => {}
        }
    }
    ServiceManager::stopping();
    let limit = humantime::format_duration(drain);
    talk(format_args!("draining: requests in progress may finish within {limit}; a signal ends at once"))?;
    tokio::select! {
        finished = app.shutdown_within(drain) => {
            talk(format_args!("{}", if finished { "stopped" } else { "stopped; some requests were cut off" }))
        }
        () = signals.next() => talk(format_args!("stopped at once")),
    }
}

/// Which configuration was read, and every address it really listens on.
fn announce(source: &str, upstreams: usize, app: &App) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    tell(
        format_args!("attache {version} with {source} ({})", counted(upstreams, "upstream")),
        &[("version", version.into()), ("configuration", source.into()), ("upstreams", upstreams.into())],
    )?;
    for ListeningAt { name, address, mode } in app.listening() {
        let shown = match address {
            ListenAddress::Tcp(address) => format!("http://{address}"),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        tell(
            format_args!("  {mode:<8} {BOLD}{shown}{BOLD:#}  ({name})"),
            &[("listener", name.as_str().into()), ("mode", mode.into()), ("address", shown.as_str().into())],
        )?;
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP: read the configuration again.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangups {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signal: signal(SignalKind::hangup()).map_err(Failure::failed)? })
    }

    async fn next(&mut self) {
        self.signal.recv().await;
    }
}

#[cfg(not(unix))]
impl Hangups {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        // An error means that no signal can come: then only the process's end ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
