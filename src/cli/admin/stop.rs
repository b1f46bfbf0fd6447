//! `attache stop`: has a running attache finish what is in progress, and waits for its end.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::actions::refused;
use super::client::AdminArg;
use super::session::Session;
use crate::cli::output::{self, Failure, data, talk};

/// Short beside what an end takes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The process has a thread for this that does little else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache stop                             as SIGTERM would, with no limits.drain_delay, from wherever the admin listener can be reached
  ./job; attache stop                      a job takes its proxy along

Requests in progress finish within limits.drain. 0 once it has ended, 1 if it was not reached or goes on.")]
pub(in crate::cli) struct StopArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// How long to wait for its end, such as 30s or 2m.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Asks for the end on a connection that ends with the process, and watches that: another process may be started in its place.
pub(in crate::cli) async fn stop(args: StopArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let mut session = match client.open().await {
        Ok(session) => session,
        Err(error) => return refused(args.json, error, &[]),
    };
    match timeout(ANSWER_TIMEOUT, session.ask(Method::POST, "/quitquitquit")).await {
        Ok(Ok(answered)) if answered.status == StatusCode::OK => {}
        Ok(Ok(answered)) => return refused(args.json, answered.refusal(&client.shown()), &[]),
        Ok(Err(error)) => return refused(args.json, format!("{} does not answer: {error}", client.shown()), &[]),
        Err(_elapsed) => return refused(args.json, format!("{} does not answer in time", client.shown()), &[]),
    }
    if !args.json {
        talk(format_args!("stopping: requests in progress may finish"))?;
    }
    if timeout(args.timeout, ended(session)).await.is_err() {
        let limit = humantime::format_duration(args.timeout);
        let error = format!("{} has not ended within {limit}: requests are in progress", client.shown());
        return refused(args.json, error, &[]);
    }
    if args.json {
        return output::json(&json!({ "ok": true, "stopped": true, "admin": client.shown() }));
    }
    data(format_args!("stopped"))
}

/// Waits for the end of a connection that is in use all the time, so that nothing but the process's end ends it.
async fn ended(mut session: Session) {
    while session.ask(Method::GET, "/livez").await.is_ok() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
