//! `attache tail`: requests of a running attache as they end, a line each.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::{AdminArg, AdminClient};
use crate::admin::StatusReport;
use crate::cli::output::{self, Failure, counted, data, talk};
use crate::telemetry::{AccessRecord, UNMATCHED};

/// A thousand are kept there: up to three thousand a second are seen.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// As `attache_requests_total` has them.
const OUTCOMES: [&str; 6] = ["injected", "passed", "passed_without_token", "tunneled", "denied", "failed"];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache tail --status 5xx                what fails
  attache tail --upstream orders --outcome injected
  attache tail --json | jq .path

The fields of the access log, as text or as an object on each line, from now until Ctrl-C. Where requests
come faster than they can be shown, stderr says how many were missed.")]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Only requests to this upstream, - for none; may be given several times.
    #[arg(long, value_name = "NAME")]
    upstream: Vec<String>,
    /// Only answers of this status, such as 404 or 5xx; may be given several times.
    #[arg(long, value_name = "STATUS", value_parser = StatusRange::parse)]
    status: Vec<StatusRange>,
    /// Only requests that came to this; may be given several times.
    #[arg(long, value_name = "OUTCOME", value_parser = OUTCOMES)]
    outcome: Vec<String>,
    /// As JSON: an object a line, with each try, and why it was refused.
    #[arg(long)]
    json: bool,
}

/// `404`, or `4xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StatusRange {
    first: u16,
    last: u16,
}

/// What has come since the question before.
#[derive(Debug, Deserialize)]
struct Batch {
    requests: Vec<Value>,
    next: u64,
    #[serde(default)]
    missed: u64,
}

/// Shows what ends from now on.
pub(in crate::cli) async fn tail(args: TailArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let from = ask(&client, None).await.map_err(Failure::Failed)?.next;
    unknown_upstreams(&client, &args.upstream).await?;
    tokio::select! {
        // Only an output that is closed ends it.
        ended = follow(&client, &args, from) => ended,
        _signal = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(client: &AdminClient, args: &TailArgs, mut from: u64) -> Result<(), Failure> {
    let mut away = false;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let batch = match ask(client, Some(from)).await {
            Ok(batch) => batch,
            // It may be starting again. Said once.
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    talk(format_args!("{error}"))?;
                }
                continue;
            }
        };
        away = false;
        from = batch.next;
        if batch.missed > 0 {
            let missed = counted(batch.missed, "request");
            talk(format_args!("{missed} missed: they came faster than they could be read"))?;
        }
        for request in &batch.requests {
            show(args, request)?;
        }
    }
}

fn show(args: &TailArgs, request: &Value) -> Result<(), Failure> {
    let record = AccessRecord::deserialize(request)
        .map_err(|_other| Failure::failed("a request has another form than this version knows"))?;
    if !args.wants(&record) {
        return Ok(());
    }
    if args.json { output::json(request) } else { data(format_args!("{}", record.line())) }
}

async fn ask(client: &AdminClient, since: Option<u64>) -> Result<Batch, String> {
    let path = since.map_or_else(|| "/api/requests".to_owned(), |since| format!("/api/requests?since={since}"));
    let answered = client.get(&path).await?;
    let document = answered.document(&client.shown())?;
    Batch::deserialize(document).map_err(|_other| "the requests have another form than this version knows".to_owned())
}

/// A name that is misspelt would show nothing for ever.
async fn unknown_upstreams(client: &AdminClient, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let answered = client.get("/api/status").await.map_err(Failure::Failed)?;
    let Some(StatusReport { upstreams, .. }) = answered.json() else { return Ok(()) };
    let known: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    for name in names.iter().filter(|name| *name != UNMATCHED && !known.contains(&name.as_str())) {
        talk(format_args!("warning: there is no upstream {name:?} now; there are: {}", known.join(", ")))?;
    }
    Ok(())
}

impl TailArgs {
    fn wants(&self, record: &AccessRecord) -> bool {
        let upstream = self.upstream.is_empty() || self.upstream.contains(&record.upstream);
        let status = self.status.is_empty() || self.status.iter().any(|range| range.has(record.status));
        let outcome = self.outcome.is_empty() || self.outcome.iter().any(|outcome| *outcome == *record.outcome);
        upstream && status && outcome
    }
}

impl StatusRange {
    fn parse(text: &str) -> Result<Self, String> {
        let remedy = || "write a status such as 404, or a class such as 5xx".to_owned();
        let (first, last) = match text.as_bytes() {
            [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                let first = u16::from(class - b'0') * 100;
                (first, first + 99)
            }
            _ => {
                let status = text.parse().ok().filter(|status| (100..=999).contains(status)).ok_or_else(remedy)?;
                (status, status)
            }
        };
        Ok(Self { first, last })
    }

    const fn has(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_class() {
        let has = |text: &str, status| StatusRange::parse(text).unwrap().has(status);
        assert!(has("404", 404) && !has("404", 403) && has("5xx", 500) && has("5XX", 599) && !has("5xx", 499));
        for wrong in ["", "5x", "6xx", "abc", "99", "4040", "-1"] {
            assert!(StatusRange::parse(wrong).unwrap_err().contains("such as 404"), "{wrong}");
        }
    }
}
