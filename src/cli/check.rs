//! `attache check`: everything that is wrong, in one go; with `--live`, every token obtained once.

use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::output::{self, BOLD, Failure, data, talk};
use crate::app::token_source;
use crate::config::{Config, ConfigErrors, Problem};
use crate::credential::{CredentialKind, CredentialSettings};
use crate::token::TokenSource as _;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: super::ConfigArg,
    /// Also obtain every token once, and show what came.
    #[arg(long)]
    live: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What one credential's token request brought.
#[derive(Debug, Serialize)]
struct Obtained {
    credential: String,
    /// `None` for a fixed credential: nobody was asked.
    server: Option<String>,
    /// The method, or `fixed`.
    client_auth: &'static str,
    ok: bool,
    /// What was granted; what was asked for, where the server does not say.
    scope: Option<String>,
    /// Seconds.
    lifetime: Option<u64>,
    /// Seconds that the server's clock is ahead of ours.
    clock_skew: Option<i64>,
    took_ms: Option<u128>,
    error: Option<String>,
    kind: Option<&'static str>,
}

pub(super) async fn check(args: CheckArgs) -> Result<(), Failure> {
    let path = &args.config.config;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) if args.json => {
            output::json(&json!({ "ok": false, "problems": lines(&errors.source, &errors.problems) }))?;
            return Err(Failure::ConfigTold);
        }
        Err(errors) => return Err(Failure::Config(errors)),
    };
    let mut obtained = Vec::new();
    if args.live {
        for credential in &config.credentials {
            obtained.push(obtain(credential).await);
        }
    }
    let ok = obtained.iter().all(|obtained| obtained.ok);
    if args.json {
        let warnings = lines(&config.source, &config.warnings);
        output::json(&json!({ "ok": ok, "problems": [], "warnings": warnings, "credentials": obtained }))?;
    } else {
        super::warn(&config)?;
        print(&config, &obtained)?;
    }
    if ok { Ok(()) } else { Err(Failure::Told) }
}

fn lines(source: &str, problems: &[Problem]) -> Vec<String> {
    ConfigErrors::lines(source, problems).collect()
}

impl Obtained {
    /// What is known before anything is asked.
    fn unasked(credential: &str, client_auth: &'static str) -> Self {
        Self {
            credential: credential.to_owned(),
            server: None,
            client_auth,
            ok: true,
            scope: None,
            lifetime: None,
            clock_skew: None,
            took_ms: None,
            error: None,
            kind: None,
        }
    }
}

async fn obtain(settings: &CredentialSettings) -> Obtained {
    let oauth = match &settings.kind {
        CredentialKind::OAuth(token) => &token.oauth,
        // Its secret was read when the configuration was.
        CredentialKind::Fixed(_) => return Obtained::unasked(&settings.name, "fixed"),
    };
    let began = Instant::now();
    let fetched = match token_source(&settings.name, oauth) {
        Ok(source) => source.fetch().await.map_err(|error| (error.message, error.kind.as_str())),
        Err(error) => Err((error.to_string(), "configuration")),
    };
    let asked = (!oauth.scope.is_empty()).then(|| oauth.scope.join(" "));
    let mut obtained = Obtained {
        server: Some(oauth.token_endpoint.host_str().unwrap_or_default().to_owned()),
        ok: fetched.is_ok(),
        took_ms: Some(began.elapsed().as_millis()),
        ..Obtained::unasked(&settings.name, oauth.client_auth.name())
    };
    match fetched {
        Ok(token) => {
            obtained.scope = token.scope.or(asked);
            obtained.lifetime = super::token::expires_in(token.expires);
            obtained.clock_skew = token.server_date.map(|date| skew(date, SystemTime::now()));
        }
        Err((error, kind)) => (obtained.error, obtained.kind) = (Some(error), Some(kind)),
    }
    obtained
}

/// Whole seconds, positive where the server is ahead. `Date` has no fractions, so one second is nothing.
fn skew(server: SystemTime, ours: SystemTime) -> i64 {
    let seconds = |apart: Duration| i64::try_from(apart.as_secs()).unwrap_or(i64::MAX);
    match server.duration_since(ours) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

fn print(config: &Config, obtained: &[Obtained]) -> Result<(), Failure> {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let summary = [
        counted(config.listeners.len(), "listener"),
        counted(config.upstreams.len(), "upstream"),
        counted(config.credentials.len(), "credential"),
    ];
    let summary = summary.join(", ");
    data(format_args!("{} is right: {summary}", config.source))?;
    if obtained.is_empty() {
        return Ok(());
    }
    let width = obtained.iter().map(|row| row.credential.len()).max().unwrap_or(0).max("credential".len());
    data(format_args!(
        "\n{BOLD}{:<width$}  {:<20} {:>8}  {:>6}  {:>6}  scope{BOLD:#}",
        "credential", "method", "lifetime", "skew", "took"
    ))?;
    for row in obtained {
        let dash = || "-".to_owned();
        let lifetime = row.lifetime.map_or_else(dash, |seconds| format!("{seconds} s"));
        let skew = row.clock_skew.map_or_else(dash, |seconds| format!("{seconds:+} s"));
        let scope = row.scope.clone().unwrap_or_else(dash);
        let took = row.took_ms.map_or_else(dash, |took| format!("{took} ms"));
        let (name, method) = (&row.credential, row.client_auth);
        data(format_args!("{name:<width$}  {method:<20} {lifetime:>8}  {skew:>6}  {took:>6}  {scope}"))?;
    }
    for row in obtained {
        if let (Some(error), Some(kind)) = (&row.error, row.kind) {
            talk(format_args!("error: credential {:?}: {error} ({kind})", row.credential))?;
        }
    }
    Ok(())
}
