//! `attache log`: what a running attache logs, until its next reload.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::actions::refused;
use super::client::{AdminArg, AdminClient};
use crate::cli::output::{self, Failure, data};
use crate::telemetry::log::LogFilter;

const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache log                              what is logged now
  attache log debug                        everything, until the next reload
  attache log info,attache::token=debug    more of the tokens alone
  attache reload                           back to what the command line or ATTACHE_LOG says")]
pub(in crate::cli) struct LogArgs {
    /// A level, or targets, as --log takes it.
    filter: Option<String>,
    #[command(flatten)]
    admin: AdminArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Changes the filter, or asks for it.
pub(in crate::cli) async fn log(args: LogArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    match ask(&client, args.filter.as_deref()).await {
        Ok(document) if args.json => output::json(&document),
        Ok(document) => show(&document),
        Err(error) => refused(args.json, error, &[]),
    }
}

async fn ask(client: &AdminClient, filter: Option<&str>) -> Result<serde_json::Value, String> {
    let answered = match filter {
        Some(filter) => client.post_json("/api/log", &json!({ "filter": filter }), CHANGE_TIMEOUT).await?,
        None => client.get("/api/log").await?,
    };
    answered.document(&client.shown())
}

fn show(document: &serde_json::Value) -> Result<(), Failure> {
    let other = |_| Failure::failed("the answer has another form than this version knows; ask with --json");
    let LogFilter { filter, configured } = serde_json::from_value(document.clone()).map_err(other)?;
    let note =
        if filter == configured { String::new() } else { format!("  (until the next reload, then {configured})") };
    match document["before"].as_str() {
        Some(before) => data(format_args!("{filter}{note}, before: {before}")),
        None => data(format_args!("{filter}{note}")),
    }
}
