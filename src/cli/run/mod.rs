//! `attache run`: start, say where, serve, drain.

mod ending;
mod service_manager;
mod signals;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::ending::{AskedBy, Times, end};
use self::service_manager::ServiceManager;
use self::signals::{Hangups, Signals};
use crate::app::App;
use crate::cli::config_arg::{ConfigArg, load};
use crate::cli::hidden::{hide, no_core_dumps};
use crate::cli::output::{BOLD, Failure, counted, tell};
use crate::cli::single::{Addresses, SingleArgs};
use crate::config::parse_duration;
use crate::listen::{Inherited, ListeningAt};

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
SIGTERM, Ctrl-C and `attache stop` let requests in progress finish; a second signal ends at once, with 128 and its number.
With limits.drain_delay a signal first only withdraws readiness (/readyz), and accepting goes on that long; a further one
ends the delay.")]
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
    /// `limits.drain_delay` where the file has none: how long to go on accepting after SIGTERM, such as 5s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    default_drain_delay: Option<Duration>,
    /// A unix socket at this path, for this user alone: what `--admin unix:PATH` of `attache reload`, `status` and `stop`
    /// asks, whatever the file says of [admin]. It needs no token.
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
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
    let times = Times::of(&config.limits, args.default_drain_delay);
    let inherited = Inherited::from_environment().map_err(Failure::failed)?;
    let app = App::start_inheriting(config, inherited, args.control_socket).map_err(Failure::failed)?;
    let manager = ServiceManager::from_environment();
    announce(&source, upstreams, &app)?;
    if let Some(sentence) = app.crowded() {
        tracing::warn!(target: "attache::app", "{sentence}");
    }
    ServiceManager::ready(&format!("serving {}", counted(upstreams, "upstream")));
    let asked_by = tokio::select! {
        asked_by = serve(&app, &mut signals, &mut hangups) => asked_by,
        // Beside the serving, whatever that waits for: systemd ends a program that it hears nothing of.
        never = manager.signs_of_life(&app) => match never {},
    };
    end(app, asked_by, times, &mut signals, &manager).await
}

/// Reloads whenever that is asked for, until the end is.
async fn serve(app: &App, signals: &mut Signals, hangups: &mut Hangups) -> AskedBy {
    let mut reloads = app.reloads();
    loop {
        tokio::select! {
            _ = signals.next() => break AskedBy::Signal,
            () = app.asked_to_stop() => break AskedBy::Admin,
            () = hangups.next() => {
                ServiceManager::reloading();
                // The outcome is in the log, too. An end does not wait for a file that hangs.
                tokio::select! {
                    reload = app.reload() => {
                        reloads.mark_unchanged();
                        ServiceManager::reloaded(&reload);
                    }
                    _ = signals.next() => break AskedBy::Signal,
                    () = app.asked_to_stop() => break AskedBy::Admin,
                }
            }
            // Asked for elsewhere, or by a changed file.
            Ok(()) = reloads.changed() => {
                let reload = reloads.borrow_and_update().clone();
                reload.iter().for_each(ServiceManager::has_reloaded);
            }
        }
    }
}

/// Which configuration was read, and every address it really listens on.
fn announce(source: &str, upstreams: usize, app: &App) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    tell(
        format_args!("attache {version} with {source} ({})", counted(upstreams, "upstream")),
        "started",
        &[("version", version.into()), ("configuration", source.into()), ("upstreams", upstreams.into())],
    )?;
    for at in app.listening() {
        let (url, ListeningAt { name, mode, .. }) = (at.url(), &at);
        tell(
            format_args!("  {mode:<8} {BOLD}{url}{BOLD:#}  ({name})"),
            "listening",
            &[("listener", name.as_str().into()), ("mode", (*mode).into()), ("address", url.as_str().into())],
        )?;
    }
    Ok(())
}
