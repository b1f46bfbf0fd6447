//! `attache wait` and `attache health`: for scripts, and for containers that have no curl.

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::answered::Answered;
use super::client::{AdminArg, AdminClient};
use crate::admin::{CredentialStatus, Readiness};
use crate::cli::output::{self, Failure, data, talk};

/// Short beside what a start takes.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache run & attache wait && ./job      the job begins when every required credential has its token

0 once it is ready, 1 when the time is over; stderr says what was missing.")]
pub(in crate::cli) struct WaitArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// How long to wait, such as 30s or 2m.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  HEALTHCHECK CMD [\"attache\", \"health\"]      in a Dockerfile

0 if it answers, 1 if not. Being alive does not depend on any authorization server; --ready does, and so does --startup
until it has been 0 once.")]
pub(in crate::cli) struct HealthArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Ask whether it is ready, not only whether it is alive.
    #[arg(long)]
    ready: bool,
    /// Ask whether it has started: whether each required credential has had a token, once.
    #[arg(long, conflicts_with = "ready")]
    startup: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What a probe found.
enum Found {
    Yes,
    /// One sentence each.
    No(Vec<String>),
    /// It will not change by waiting.
    Never(Vec<String>),
}

/// Asks until it is ready or the time is over.
pub(in crate::cli) async fn wait(args: WaitArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let began = Instant::now();
    let deadline = began.checked_add(args.timeout);
    let mut known: Option<Vec<String>> = None;
    loop {
        let asked = match deadline {
            // One answer that hangs is not longer than the whole wait.
            Some(deadline) => tokio::time::timeout_at(deadline, ready(&client)).await,
            None => Ok(ready(&client).await),
        };
        let reasons = match asked {
            Ok(Found::No(reasons)) => reasons,
            Ok(found) => return tell(&client, "ready", &found, args.json),
            // What the answer before has said is more than that the last one came too late.
            Err(_elapsed) => known.unwrap_or_else(|| vec![format!("{} did not answer in time", client.shown())]),
        };
        if deadline.is_some_and(|deadline| Instant::now() + POLL_INTERVAL >= deadline) {
            return tell(&client, "ready", &Found::No(reasons), args.json);
        }
        known = Some(reasons);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Asks once.
pub(in crate::cli) async fn health(args: HealthArgs) -> Result<(), Failure> {
    let client = args.admin.client()?;
    if args.ready {
        let found = ready(&client).await;
        return tell(&client, "ready", &found, args.json);
    }
    if args.startup {
        let found = started(&client).await;
        return tell(&client, "started", &found, args.json);
    }
    let found = match client.get("/livez").await {
        Ok(answered) if answered.status == StatusCode::OK => Found::Yes,
        Ok(answered) => Found::No(vec![answered.refusal(&client.shown())]),
        Err(error) => Found::No(vec![error]),
    };
    tell(&client, "alive", &found, args.json)
}

async fn ready(client: &AdminClient) -> Found {
    match client.get("/readyz").await {
        Err(error) => Found::No(vec![error]),
        Ok(answered) if answered.status == StatusCode::OK => Found::Yes,
        Ok(answered) if answered.status.is_client_error() => Found::Never(vec![answered.refusal(&client.shown())]),
        Ok(answered) => Found::No(reasons(client, &answered)),
    }
}

async fn started(client: &AdminClient) -> Found {
    match client.get("/startupz?verbose").await {
        Err(error) => Found::No(vec![error]),
        Ok(answered) if answered.status == StatusCode::OK => Found::Yes,
        Ok(answered) if answered.status == StatusCode::SERVICE_UNAVAILABLE => {
            let text = String::from_utf8_lossy(&answered.body);
            Found::No(text.lines().filter_map(|line| line.strip_prefix("[-]").map(str::to_owned)).collect())
        }
        Ok(answered) => Found::No(vec![answered.refusal(&client.shown())]),
    }
}

/// A 503 has the credentials in it, anything else is a refusal.
fn reasons(client: &AdminClient, answered: &Answered) -> Vec<String> {
    let document = answered.json().filter(|_| answered.status == StatusCode::SERVICE_UNAVAILABLE);
    let missing = document.map_or_else(Vec::new, |Readiness { stopping, credentials, .. }| {
        if stopping { vec!["it is stopping".to_owned()] } else { waited_for(&credentials) }
    });
    if missing.is_empty() { vec![answered.refusal(&client.shown())] } else { missing }
}

/// The required credentials that have nothing to put on a request.
fn waited_for(credentials: &[CredentialStatus]) -> Vec<String> {
    let missing = credentials.iter().filter(|credential| {
        let alive = credential.state == "ready" || credential.expires_in.is_some_and(|left| left > 0);
        credential.required && !alive
    });
    let sentence = |credential: &CredentialStatus| {
        let why = credential.last_error.as_deref().unwrap_or("its token request has not ended yet");
        format!("credential {:?} has no token: {why}", credential.name)
    };
    missing.map(sentence).collect()
}

fn tell(client: &AdminClient, what: &'static str, found: &Found, as_json: bool) -> Result<(), Failure> {
    let (yes, reasons) = match found {
        Found::Yes => (true, &[][..]),
        Found::No(reasons) | Found::Never(reasons) => (false, reasons.as_slice()),
    };
    if as_json {
        output::json(&json!({ what: yes, "admin": client.shown(), "reasons": reasons }))?;
    } else if yes {
        data(format_args!("{what}"))?;
    } else {
        talk(format_args!("not {what}:"))?;
        for reason in reasons {
            talk(format_args!("  {reason}"))?;
        }
    }
    if yes { Ok(()) } else { Err(Failure::Told) }
}
