//! `[cache]` in `attache check`: what is configured, and with `--live` whether the server does what it is asked.

use serde::Serialize;
use tokio::runtime::Handle;

use super::diagnosis::Diagnosis;
use crate::app::{CacheTrial, try_cache};
use crate::cli::output::{BOLD, Failure, counted, data, span, talk};
use crate::config::Config;
use crate::fleet::{Publish, Standing};
use crate::store::StoreError;
use crate::token::is_notable;

/// What there is to say of the shared cache.
#[derive(Debug, Default, Serialize)]
pub(super) struct CacheCheck {
    address: String,
    prefix: String,
    /// How many credentials share their tokens.
    credentials: usize,
    /// `None`: it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Asked>,
}

/// What the server did.
#[derive(Debug, Default, Serialize)]
struct Asked {
    /// It is there and does all that it is asked.
    ok: bool,
    server: Option<String>,
    tls: bool,
    latency_ms: Option<f64>,
    scripts: Option<bool>,
    publish: Option<bool>,
    /// Seconds by which its clock is ahead.
    clock_skew: Option<i64>,
    error: Option<String>,
    /// No waiting mends it: what the configuration says is refused.
    #[serde(skip)]
    misconfigured: bool,
    #[serde(flatten)]
    diagnosis: Option<Diagnosis>,
}

/// Where one credential's tokens are.
#[derive(Debug, Default, Serialize)]
pub(super) struct Share {
    /// The beginning of its name there.
    #[serde(rename = "as")]
    tag: Option<String>,
    generation: Option<u64>,
    /// Seconds.
    left: Option<u64>,
    why_not: Option<String>,
    /// Why what is there cannot be used.
    error: Option<String>,
}

impl CacheCheck {
    /// True if the server is there and refuses what the configuration says, such as its password.
    pub(super) fn is_misconfigured(&self) -> bool {
        self.live.as_ref().is_some_and(|asked| asked.misconfigured)
    }
}

/// Of each credential, in the configuration's order.
pub(super) type Shares = Vec<Option<Share>>;

/// `None` without `[cache]`. With `live` the server is asked; that it is away is no failure.
pub(super) async fn check(config: &Config, live: bool) -> Option<(CacheCheck, Shares)> {
    let settings = config.cache.as_ref()?;
    let why_not = |share: Option<Share>, why: Option<String>| match (share, why) {
        (share, None) => share,
        (_, Some(why)) => Some(Share { why_not: Some(why), ..Share::default() }),
    };
    let mut check = CacheCheck {
        address: settings.store.places(),
        prefix: settings.prefix.clone(),
        credentials: config.credentials.iter().filter(|credential| credential.unshared().is_none()).count(),
        live: None,
    };
    let mut shares: Shares = config.credentials.iter().map(|_| None).collect();
    if live {
        match try_cache(config, settings, &Handle::current()).await {
            Ok(trial) => {
                check.live = Some(Asked::of(&trial));
                shares = trial.credentials.into_iter().map(|standing| standing.map(Share::of)).collect();
            }
            Err(error) => check.live = Some(Asked { error: Some(error.to_string()), ..Asked::default() }),
        }
    }
    let reasons = config.credentials.iter().map(|credential| credential.unshared().map(|why| why.to_string()));
    let shares = shares.into_iter().zip(reasons).map(|(share, why)| why_not(share, why)).collect();
    Some((check, shares))
}

impl Asked {
    fn of(trial: &CacheTrial) -> Self {
        let round = match &trial.round {
            Ok(round) => round,
            Err(status) => {
                let cause = status.last_error.clone().unwrap_or_else(|| "it does not answer".to_owned());
                let next_step =
                    status.remedy.unwrap_or("see that the server runs, and that no firewall stands between");
                let diagnosis = Some(Diagnosis { cause, next_step: next_step.to_owned() });
                let misconfigured = status.misconfigured;
                return Self { error: Some("it is away".to_owned()), misconfigured, diagnosis, ..Self::default() };
            }
        };
        let failed = round.failed.as_ref();
        let diagnosis = failed.map(|failed| {
            let commands: String = failed.commands.iter().map(|command| format!(" +{command}")).collect();
            Diagnosis {
                cause: format!("the question {:?} is not answered: {}", failed.question, failed.error),
                next_step: format!(
                    "if it has an ACL, let the user do +eval +evalsha{commands} on ~attache:1:* (docs/fleet.md has the whole line)"
                ),
            }
        });
        Self {
            ok: failed.is_none(),
            server: round.status.server.clone(),
            tls: round.status.tls,
            latency_ms: Some((round.took.as_secs_f64() * 1e5).round() / 1e2),
            scripts: Some(failed.is_none()),
            publish: round.publish.works(),
            clock_skew: Some(whole_seconds(round.skew)),
            error: failed.map(|failed| failed.error.to_string()),
            misconfigured: false,
            diagnosis,
        }
    }
}

impl Publish {
    /// `None`: nobody is to be told.
    const fn works(self) -> Option<bool> {
        match self {
            Self::Off => None,
            Self::Works => Some(true),
            Self::NoSubscribe | Self::Silent => Some(false),
        }
    }
}

impl Share {
    fn of(standing: Result<Standing, StoreError>) -> Self {
        let Standing { tag, token } = match standing {
            Ok(standing) => standing,
            Err(error) => return Self { error: Some(error.to_string()), ..Self::default() },
        };
        let (generation, opened) = token.unzip();
        let (left, error) = match opened {
            None => (None, None),
            Some(Ok(left)) => (Some(left.as_secs()), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Self { tag: Some(tag.to_string()), generation, left, why_not: None, error }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a skew of clocks, in seconds")]
fn whole_seconds(skew: f64) -> i64 {
    skew.round() as i64
}

/// The line of the cache, and what is wrong with it.
pub(super) fn print(check: &CacheCheck) -> Result<(), Failure> {
    let CacheCheck { address, prefix, credentials, live } = check;
    let Some(asked) = live else {
        let sharing = counted(*credentials, "credential");
        return data(format_args!("{BOLD}cache{BOLD:#}  {address}  prefix {prefix}, for {sharing}"));
    };
    data(format_args!("\n{BOLD}cache{BOLD:#}  {address}  {}", asked.facts().join(", ")))?;
    if let Some(error) = &asked.error {
        let level = if asked.misconfigured { "error" } else { "warning" };
        talk(format_args!("{level}: the shared cache: {error}; until that is mended each replica asks for itself"))?;
    }
    if asked.publish == Some(false) {
        talk(format_args!(
            "warning: the shared cache: replicas are not told what others have put, and ask a little later; +subscribe, +publish and the channel &attache:1:* are what that needs"
        ))?;
    }
    if let Some(skew) = asked.clock_skew.filter(|skew| is_notable(*skew)) {
        talk(format_args!(
            "warning: the shared cache's clock is {skew:+} s off; have both set by a time server (NTP)"
        ))?;
    }
    if let Some(Diagnosis { cause, next_step }) = &asked.diagnosis {
        talk(format_args!("  likely cause: {cause}\n  next step:    {next_step}"))?;
    }
    Ok(())
}

impl Asked {
    /// `valkey 8.1.8, master, TLS, 0.7 ms, scripts ok, publish ok, clock +0 s`
    fn facts(&self) -> Vec<String> {
        let Some(took) = self.latency_ms else { return vec!["away".to_owned()] };
        let word = |works: bool| if works { "ok" } else { "refused" };
        let mut facts = vec![self.server.clone().unwrap_or_else(|| "unknown server".to_owned()), "master".to_owned()];
        facts.extend(self.tls.then(|| "TLS".to_owned()));
        facts.push(format!("{took:.1} ms"));
        facts.extend(self.scripts.map(|work| format!("scripts {}", word(work))));
        facts.extend(self.publish.map(|works| format!("publish {}", word(works))));
        facts.extend(self.clock_skew.map(|skew| format!("clock {skew:+} s")));
        facts
    }
}

/// `shared as Zk3f…: generation 12, 41 min left`
pub(super) fn print_share(name: &str, share: &Share) -> Result<(), Failure> {
    let Share { tag, generation, left, why_not, error } = share;
    let said = match (why_not, tag, generation) {
        (Some(why), ..) => format!("not shared: {why}"),
        (None, Some(tag), None) => format!("shared as {tag}: nothing is there yet"),
        (None, Some(tag), Some(generation)) => match (left, error) {
            (Some(left), _) => format!("shared as {tag}: generation {generation}, {} left", span(*left)),
            (None, error) => {
                format!("shared as {tag}: generation {generation} is not used: {}", error.as_deref().unwrap_or("-"))
            }
        },
        (None, None, _) => format!("shared, and not asked for: {}", error.as_deref().unwrap_or("-")),
    };
    data(format_args!("{name}  {said}"))
}
