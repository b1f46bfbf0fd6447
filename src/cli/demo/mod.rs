//! `attache demo`: stories of [`crate::demo`], told on the terminal. Every line that begins with `>` or `<` was sent or received on a
//! real socket at that moment.

#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod processes;
mod single;
mod telling;

use clap::Args;

use self::telling::DemoError;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --fleet: an API that wants OAuth tokens, a program that has none, and attache between them; a token is revoked, and the
next request is answered all the same.
With --fleet: three proxies share a token through a valkey-server or redis-server from the PATH, which runs on a private socket.
They make one token request for all, also after the token is revoked; the one that asks is killed; the server is stopped, and
started again. It takes about ten seconds.

Everything that is started ends with the demo. Exit codes: 0 if every step held, else 1.")]
pub(super) struct DemoArgs {
    /// Three proxies that share one token through Redis or Valkey.
    #[arg(long)]
    fleet: bool,
    /// End after the story; 0 only if every step held.
    #[arg(long)]
    once: bool,
}

/// Starts everything, tells the story, and serves on until Ctrl-C, or not if `once`.
///
/// # Errors
/// When something does not start, or a step of the story does not hold.
pub(super) async fn run(args: &DemoArgs) -> Result<(), DemoError> {
    if !args.fleet {
        return single::run(args.once).await;
    }
    #[cfg(unix)]
    return fleet::run(args.once).await;
    #[cfg(not(unix))]
    Err(DemoError::Start("its server listens on a Unix socket, which this system has none of".to_owned()))
}
