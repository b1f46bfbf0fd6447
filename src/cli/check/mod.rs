//! `attache check`: everything that is wrong, in one go; with `--live`, every token obtained once and every upstream reached.

mod cache;
mod diagnosis;
mod upstreams;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use self::cache::{CacheCheck, Share};
pub(super) use self::diagnosis::tell_refusal;
use self::diagnosis::{Diagnosis, diagnose};
use crate::app::token_source;
use crate::cli::config_arg::{ConfigArg, warn};
use crate::cli::output::{self, BOLD, Failure, counted, data, talk};
use crate::cli::token;
use crate::config::{Config, ConfigErrors, Problem};
use crate::credential::{CredentialKind, CredentialSettings};
use crate::token::{Ask, TokenError, TokenErrorKind, TokenSource as _, clock_skew, is_notable, skew_in_words};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The configuration file, in place of --config.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also obtain every token once, and dial and shake hands with every upstream; no request is sent there.
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
    /// `None` for a fixed credential: no server was asked.
    server: Option<String>,
    /// The method, or `fixed`.
    client_auth: &'static str,
    ok: bool,
    /// It takes a caller's own token, and there is none.
    untried: bool,
    /// What was granted; what was asked for, where the server does not say.
    scope: Option<String>,
    /// What was asked for and not granted.
    missing_scope: Option<String>,
    /// Which of several secrets works.
    secret: Option<String>,
    /// Seconds.
    lifetime: Option<u64>,
    /// Seconds that the server's clock is ahead of this machine's.
    clock_skew: Option<i64>,
    took_ms: Option<u128>,
    error: Option<String>,
    kind: Option<&'static str>,
    /// Without `[cache]` there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Share>,
    /// The likely cause of the failure, and what to do.
    #[serde(flatten)]
    diagnosis: Option<Diagnosis>,
}

pub(super) async fn check(args: CheckArgs) -> Result<(), Failure> {
    let named = args.file.clone().map_or_else(|| args.config.find(), Ok);
    let config = match named.and_then(|path| Config::load_for_check(&path)) {
        Ok(mut config) => {
            if config.listeners.is_empty() && config.upstreams.is_empty() && config.credentials.is_empty() {
                config.warnings.push(Problem::nothing_configured());
            } else if config.listeners.is_empty() {
                config.warnings.push(Problem::no_listeners());
            }
            config
        }
        Err(errors) if args.json => {
            output::json(&json!({ "ok": false, "problems": lines(&errors.source, &errors.problems) }))?;
            return Err(Failure::ConfigTold);
        }
        Err(errors) => return Err(Failure::Config(errors)),
    };
    let (mut obtained, mut upstreams) = (Vec::new(), Vec::new());
    if args.live {
        for credential in &config.credentials {
            obtained.push(obtain(credential).await);
        }
        upstreams = upstreams::check(&config).await?;
    }
    // After the tokens: what was obtained just now was not put there.
    let (cache, shares) = cache::check(&config, args.live).await.unzip();
    for (obtained, share) in obtained.iter_mut().zip(shares.unwrap_or_default()) {
        obtained.shared = share;
    }
    let ok = obtained.iter().all(|obtained| obtained.ok)
        && upstreams.iter().all(|upstream| upstream.ok)
        && !cache.as_ref().is_some_and(CacheCheck::is_misconfigured);
    if args.json {
        let warnings = lines(&config.source, &config.warnings);
        let mut document = json!({ "ok": ok, "problems": [], "warnings": warnings, "credentials": obtained });
        if let Some(document) = document.as_object_mut() {
            document.extend(args.live.then(|| ("upstreams".to_owned(), json!(upstreams))));
            document.extend(cache.map(|cache| ("cache".to_owned(), json!(cache))));
        }
        output::json(&document)?;
    } else {
        warn(&config)?;
        print(&config, &obtained, cache.as_ref())?;
        upstreams::print(&upstreams)?;
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
            untried: false,
            scope: None,
            missing_scope: None,
            secret: None,
            lifetime: None,
            clock_skew: None,
            took_ms: None,
            error: None,
            kind: None,
            shared: None,
            diagnosis: None,
        }
    }
}

async fn obtain(settings: &CredentialSettings) -> Obtained {
    let oauth = match &settings.kind {
        CredentialKind::OAuth(token) => &token.oauth,
        // Its secret was read when the configuration was.
        CredentialKind::Fixed(_) => return Obtained::unasked(&settings.name, "fixed"),
    };
    if oauth.grant.is_of_callers() {
        // Only a caller's own token could be exchanged, and there is none here: untried, and no failure.
        let untried = Obtained::unasked(&settings.name, oauth.client_auth.name());
        return Obtained { server: Some(oauth.server.host()), untried: true, ..untried };
    }
    let began = Instant::now();
    let fetched = match token_source(&settings.name, oauth) {
        Ok(source) => source.fetch(Ask::apart()).await,
        Err(error) => Err(TokenError::new(TokenErrorKind::Configuration, error.to_string())),
    };
    let took_ms = Some(began.elapsed().as_millis());
    let asked = (!oauth.scope.is_empty()).then(|| oauth.scope.join(" "));
    let mut obtained = Obtained {
        server: Some(oauth.server.host()),
        ok: fetched.is_ok(),
        took_ms,
        ..Obtained::unasked(&settings.name, oauth.client_auth.name())
    };
    match fetched {
        Ok(granted) => {
            obtained.scope = granted.scope.or(asked);
            obtained.missing_scope = (!granted.missing_scope.is_empty()).then(|| granted.missing_scope.join(" "));
            obtained.secret = granted.detail.proven_by;
            obtained.lifetime = token::expires_in(granted.expires);
            obtained.clock_skew = granted.server_date.map(|date| clock_skew(date, granted.requested_at));
        }
        Err(error) => {
            obtained.clock_skew = error.clock_skew;
            obtained.diagnosis = Some(diagnose(&settings.name, oauth, &error).await);
            (obtained.kind, obtained.error) = (Some(error.kind.as_str()), Some(error.message));
        }
    }
    obtained
}

fn print(config: &Config, obtained: &[Obtained], cache: Option<&CacheCheck>) -> Result<(), Failure> {
    let summary = [
        counted(config.listeners.len(), "listener"),
        counted(config.upstreams.len(), "upstream"),
        counted(config.credentials.len(), "credential"),
    ];
    let summary = summary.join(", ");
    data(format_args!("{} is right: {summary}", config.source))?;
    if let Some(cache) = cache {
        cache::print(cache)?;
    }
    for row in obtained {
        if let Some(share) = &row.shared {
            cache::print_share(&row.credential, share)?;
        }
    }
    if obtained.is_empty() {
        return Ok(());
    }
    table(obtained)?;
    for row in obtained {
        if row.untried {
            talk(format_args!("credential {:?}: not tried, since it takes a caller's own token", row.credential))?;
        }
        if let Some(missing) = &row.missing_scope {
            talk(format_args!("warning: credential {:?}: granted without the scope {missing}", row.credential))?;
        }
        if let Some(secret) = &row.secret {
            talk(format_args!("credential {:?}: the server takes {secret}", row.credential))?;
        }
        if let Some(skew) = row.clock_skew.filter(|skew| is_notable(*skew)) {
            talk(format_args!("warning: credential {:?}: {}", row.credential, skew_in_words(skew)))?;
        }
        if let Some(error) = &row.error {
            diagnosis::tell(&row.credential, error, row.diagnosis.as_ref())?;
        }
    }
    Ok(())
}

fn table(obtained: &[Obtained]) -> Result<(), Failure> {
    let widest =
        |title: &str, of: &dyn Fn(&Obtained) -> usize| obtained.iter().map(of).max().unwrap_or(0).max(title.len());
    let name_width = widest("credential", &|row| row.credential.len());
    let server_width = widest("server", &|row| row.server.as_ref().map_or(1, String::len));
    data(format_args!(
        "\n{BOLD}{:<name_width$}  {:<server_width$}  {:<19}  {:<6}  {:>8}  {:>6}  {:>7}  scope{BOLD:#}",
        "credential", "server", "method", "result", "lifetime", "skew", "took"
    ))?;
    for row in obtained {
        let dash = || "-".to_owned();
        let lifetime = row.lifetime.map_or_else(dash, |seconds| format!("{seconds} s"));
        let skew = row.clock_skew.map_or_else(dash, |seconds| format!("{seconds:+} s"));
        let scope = match (&row.scope, &row.missing_scope) {
            (scope, Some(missing)) => format!("{} (not granted: {missing})", scope.as_deref().unwrap_or("-")),
            (Some(scope), None) => scope.clone(),
            (None, None) => dash(),
        };
        let took = row.took_ms.map_or_else(dash, |took| format!("{took} ms"));
        let result = if row.ok { "ok" } else { "failed" };
        let (name, server, method) = (&row.credential, row.server.as_deref().unwrap_or("-"), row.client_auth);
        data(format_args!(
            "{name:<name_width$}  {server:<server_width$}  {method:<19}  {result:<6}  {lifetime:>8}  {skew:>6}  {took:>7}  {scope}"
        ))?;
    }
    Ok(())
}
