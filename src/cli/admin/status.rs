//! `attache status`: what a running attache says of itself, once or live.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

use super::client::{AdminArg, AdminClient};
use super::status_table;
use crate::admin::{HistoryReport, StatusReport};
use crate::cli::output::{self, Failure, data, talk, text};

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache status --watch                   live, until Ctrl-C
  attache status --json | jq '.credentials[] | select(.state == \"failed\")'
  attache status --admin unix:/run/attache/admin.sock")]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Draw it anew each second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// As JSON, as /api/status has it; with --watch one document on each line.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn status(args: StatusArgs) -> Result<(), Failure> {
    let as_json = args.json;
    let shown = once_or_watched(args).await;
    if as_json { shown.map_err(Failure::in_json) } else { shown }
}

async fn once_or_watched(args: StatusArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    if !args.watch {
        return show(&client, args.json).await?.map_err(Failure::Failed);
    }
    tokio::select! {
        // Only an output that is closed ends it.
        ended = watch(&client, args.json) => ended,
        _signal = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn watch(client: &AdminClient, as_json: bool) -> Result<(), Failure> {
    let drawn = !as_json && std::io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if drawn {
            match read(client).await {
                Ok(document) => redraw(&render(client, &document, history(client).await.as_ref())?)?,
                // It may be starting again: that is what a person watches for.
                Err(error) => redraw(&format!("{error}\n"))?,
            }
        } else if let Err(error) = show(client, as_json).await? {
            talk(format_args!("{error}"))?;
        }
    }
}

/// Prints one reading. The inner error is one of asking.
async fn show(client: &AdminClient, as_json: bool) -> Result<Result<(), String>, Failure> {
    let document = match read(client).await {
        Ok(document) => document,
        Err(error) => return Ok(Err(error)),
    };
    if as_json {
        output::json(&document)?;
    } else {
        text(render(client, &document, history(client).await.as_ref())?.as_bytes())?;
    }
    Ok(Ok(()))
}

async fn read(client: &AdminClient) -> Result<serde_json::Value, String> {
    client.get("/api/status").await?.document(&client.shown())
}

/// An older attache has none.
async fn history(client: &AdminClient) -> Option<HistoryReport> {
    let document = client.get("/api/history").await.ok()?.document(&client.shown()).ok()?;
    serde_json::from_value(document).ok()
}

fn render(
    client: &AdminClient,
    document: &serde_json::Value,
    history: Option<&HistoryReport>,
) -> Result<String, Failure> {
    let report: StatusReport = serde_json::from_value(document.clone())
        .map_err(|_other| Failure::failed("the status has another form than this version knows; ask with --json"))?;
    Ok(status_table::render(&report, history, &client.shown(), std::time::SystemTime::now()))
}

/// Over what was there before, line by line, so that nothing flickers.
fn redraw(screen: &str) -> Result<(), Failure> {
    let lines = screen.replace('\n', "\x1b[K\n");
    data(format_args!("\x1b[H{lines}\x1b[J\x1b[2mCtrl-C ends it\x1b[0m"))
}
