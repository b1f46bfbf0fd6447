//! `attache run`: start, say where, serve, drain.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::output::{BOLD, Failure, talk};
use super::{load, warn};
use crate::app::{ADMIN, App};
use crate::config::{Config, SingleUpstream};
use crate::listen::ListenAddress;

#[derive(Debug, Args)]
#[command(after_help = "\
Without a file, for one upstream:
  export SECRET=…
  attache run --upstream https://api.example.com --token-endpoint https://login.example.com/token \\
      --client-id me --client-secret-env SECRET
It listens as a proxy (--forward) and as a base URL (--reverse).

SIGTERM and Ctrl-C let requests in progress finish; a second one ends at once.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: super::ConfigArg,
    /// Serve one upstream without a file: its origin.
    #[arg(long, value_name = "ORIGIN", requires_all = ["token_endpoint", "client_id"], conflicts_with = "config")]
    upstream: Option<String>,
    #[command(flatten)]
    request: super::token::RequestArgs,
    /// Where programs with HTTP_PROXY connect, with --upstream.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS", requires = "upstream")]
    forward: SocketAddr,
    /// The base URL, with --upstream.
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS", requires = "upstream")]
    reverse: SocketAddr,
    /// Trusted certificates of the upstream, with --upstream.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca_file: Option<PathBuf>,
}

pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let config = match args.upstream {
        None => load(&args.config.config)?,
        Some(upstream) => {
            let single = SingleUpstream {
                upstream,
                upstream_ca_file: args.upstream_ca_file,
                forward: args.forward.to_string(),
                reverse: args.reverse.to_string(),
                request: args.request.into_settings()?,
            };
            let config = Config::for_one_upstream(&single).map_err(Failure::Config)?;
            warn(&config)?;
            config
        }
    };
    // Before the first announcement, so that a signal that comes right after it drains.
    let mut signals = Signals::listen()?;
    let (source, upstreams) = (config.source.clone(), config.upstreams.len());
    let drain = config.limits.drain;
    let modes = modes(&config);
    let app = App::start(config).map_err(Failure::failed)?;
    announce(&source, upstreams, &app, &modes)?;
    signals.next().await;
    let limit = humantime::format_duration(drain);
    talk(format_args!("draining: requests in progress may finish within {limit}; the same signal again ends at once"))?;
    tokio::select! {
        finished = app.shutdown_within(drain) => {
            talk(format_args!("{}", if finished { "stopped" } else { "stopped; some requests were cut off" }))
        }
        () = signals.next() => talk(format_args!("stopped at once")),
    }
}

/// Which configuration was read, and every address it really listens on.
fn announce(source: &str, upstreams: usize, app: &App, modes: &[(String, &str)]) -> Result<(), Failure> {
    let plural = if upstreams == 1 { "" } else { "s" };
    talk(format_args!("attache {} with {source} ({upstreams} upstream{plural})", env!("CARGO_PKG_VERSION")))?;
    for (name, address) in app.addresses() {
        let mode = modes.iter().find(|(listener, _)| *listener == name).map_or(ADMIN, |(_, mode)| mode);
        match address {
            ListenAddress::Tcp(address) => talk(format_args!("  {mode:<8} {BOLD}http://{address}{BOLD:#}  ({name})"))?,
            ListenAddress::Unix(path) => {
                talk(format_args!("  {mode:<8} {BOLD}unix:{}{BOLD:#}  ({name})", path.display()))?;
            }
        }
    }
    Ok(())
}

fn modes(config: &Config) -> Vec<(String, &'static str)> {
    let mode = |listener: &crate::config::ListenerConfig| match listener.mode {
        crate::proxy::ListenerMode::Forward { .. } => "forward",
        crate::proxy::ListenerMode::Socks5 { .. } => "socks5",
        crate::proxy::ListenerMode::Reverse { .. } => "reverse",
        crate::proxy::ListenerMode::Token { .. } => "token",
    };
    config.listeners.iter().map(|listener| (listener.name.clone(), mode(listener))).collect()
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
