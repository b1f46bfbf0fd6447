//! `attache exec`: a proxy around one command, and nothing of it left behind.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::config_arg::{ConfigArg, load_without_listeners};
use super::output::{Failure, talk};
use super::single::SingleArgs;
use super::trust;
use crate::app::App;
use crate::config::{Config, ConfigErrors, ListenerConfig, Problem};
use crate::dial::OriginPattern;
use crate::exec::{Change, Child, Proxy, Setup, private_folder};
use crate::listen::ListenAddress;
use crate::proxy::ListenerMode;
use crate::secret::{Secret, SecretSource};
use crate::tls::{AuthoritySource, CertificateAuthority};

/// How long what the command left running may finish its requests.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What each of attache's own variables begins with.
const OWN: &str = "ATTACHE_";

#[derive(Debug, Args)]
#[command(
    override_usage = "attache exec [OPTIONS] -- CMD [ARG]...",
    after_help = "\
The command finds a proxy in HTTP_PROXY, HTTPS_PROXY and the like, on a free port of
127.0.0.1. It knows every upstream of the configuration, or those of one listener; it listens
nowhere else, and ends with the command:
  attache exec -- curl http://orders.example.com/v1/orders
  attache exec --upstream https://api.example.com --token-endpoint https://login.example.com/token \\
      --client-id me --client-secret-env SECRET -- ./job.sh

https:// gets its tokens too: unless [intercept] names a CA, one is made that lives as long as the
command and that only the command trusts (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS and so on).

The command runs as it would without: terminal, stdin and stdout are its own, signals reach
it, and attache exits with its code. On Linux the proxy is for programs of this user alone. The
command gets no secret: variables that the configuration reads secrets from, and ATTACHE_...,
are not in its environment. NO_PROXY is kept, save what names an upstream.

Exit codes: the command's, 128 + N if signal N ended it; 127 there is no such command, 126 it
cannot be run; 78 configuration, 2 usage, 1 the proxy did not start."
)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    single: SingleArgs,
    /// Only the upstreams that this listener of the configuration knows.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    listener: Option<String>,
    /// Let programs of other users use the proxy too, for a command that becomes another user.
    #[arg(long)]
    any_user: bool,
    /// Say on stderr where the proxy is and what it knows.
    #[arg(short, long)]
    verbose: bool,
    /// What to run, with its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) async fn exec(args: ExecArgs) -> Result<ExitCode, Failure> {
    let config = args.single.config_or(|| load_without_listeners(&args.config.config), "127.0.0.1:0", "127.0.0.1:0")?;
    let mut config = beside(config, args.listener.as_deref(), args.any_user)?;
    let (source, variables) = (config.source.clone(), config.variables.clone());
    let origins: Vec<OriginPattern> = known(&config).map(|upstream| upstream.connection.origin.clone()).collect();
    let opens = config.upstreams.iter().any(|upstream| upstream.credential.is_some() && upstream.route.intercept);
    let authority = if opens { Some(authority(&mut config)?) } else { None };
    crate::descriptors::raise();
    let app = App::start(config).map_err(Failure::failed)?;
    hide_environment();

    // Kept until the command has ended, and gone then.
    let folder = private_folder().map_err(Failure::failed)?;
    let trusted = match &authority {
        Some(authority) => Some(trust::write(authority, folder.path(), "ca", &current)?),
        None => None,
    };
    let proxy = Proxy { address: address(&app)? };
    let setup = Setup { proxy: Some(proxy), trust: trusted.as_ref(), upstreams: &origins };
    let environment = setup.environment(&current);
    for note in &environment.notes {
        talk(format_args!("attache: {note}"))?;
    }
    if args.verbose {
        let names: Vec<String> = origins.iter().map(ToString::to_string).collect();
        talk(format_args!("attache: {} with {source}, for {}", proxy.url(), names.join(", ")))?;
    }
    let secrets = withheld(variables);
    let code = run(&args.command, secrets.iter().chain(&environment.changes)).await;
    app.shutdown_within(DRAIN_TIMEOUT).await;
    let path = folder.path().to_owned();
    if let Err(error) = folder.close() {
        tracing::warn!(target: "attache::exec", folder = %path.display(), %error, "a temporary folder stays behind");
    }
    code
}

/// The CA that opens the command's tunnels: the configured one, or one that lives only as long as the command and is never
/// written down.
fn authority(config: &mut Config) -> Result<CertificateAuthority, Failure> {
    let source = match &config.intercept {
        Some(source) => source,
        None => {
            let made = CertificateAuthority::generate(&[]).map_err(Failure::failed)?;
            let literal = SecretSource::Literal;
            config
                .intercept
                .insert(AuthoritySource { certificate: literal(Secret::new(made.certificate)), key: literal(made.key) })
        }
    };
    source.read().map_err(Failure::failed)
}

/// Runs the command to its end.
async fn run<'c>(
    command: &[OsString],
    changes: impl Iterator<Item = &'c (String, Change)>,
) -> Result<ExitCode, Failure> {
    // clap has made sure that there is one.
    let Some((program, arguments)) = command.split_first() else { return Err(Failure::usage("there is no command")) };
    let child = Child::start(program, arguments, changes);
    let child = child.map_err(|error| Failure::Command(error.to_string(), error.exit_code()))?;
    child.wait().await.map(ExitCode::from).map_err(Failure::failed)
}

/// The configuration with one listener, on a free port, so that it runs beside another attache.
fn beside(mut config: Config, listener: Option<&str>, any_user: bool) -> Result<Config, Failure> {
    let upstreams = match listener {
        None => config.upstreams.iter().map(|upstream| upstream.connection.name.clone()).collect(),
        Some(name) => upstreams_of(&config, name)?,
    };
    config.listeners = vec![ListenerConfig {
        name: "exec".to_owned(),
        address: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        mode: ListenerMode::Forward { upstreams },
        callers: None,
        users: if any_user { None } else { users() },
        socket_mode: None,
        tls: None,
        title_case: false,
    }];
    // There is one caller, and it is asked nothing.
    for upstream in &mut config.upstreams {
        Arc::make_mut(&mut upstream.route).callers = None;
    }
    config.admin = None;
    // What was read is what runs: a changed file must not bring the other listeners back.
    config.file = None;
    distinct(&config)?;
    Ok(config)
}

/// The command is one caller, so two upstreams of one origin are told apart by their `paths` alone.
fn distinct(config: &Config) -> Result<(), Failure> {
    let mut seen: HashMap<(String, Option<String>), &str> = HashMap::new();
    for upstream in known(config) {
        let (origin, name) = (upstream.connection.origin.to_string(), upstream.connection.name.as_str());
        let mut paths: Vec<Option<String>> = upstream.route.paths.iter().map(|path| Some(path.to_string())).collect();
        if paths.is_empty() {
            paths.push(None);
        }
        for path in paths {
            let Some(earlier) = seen.insert((origin.clone(), path), name).filter(|earlier| *earlier != name) else {
                continue;
            };
            let what = format!(
                "the upstreams {earlier:?} and {name:?} have the same origin, {origin}, and no `paths` tell them apart"
            );
            let remedy =
                "name a listener that knows one of them: --listener NAME (`callers` do not count here: the command is \
                          not asked who it is)"
                    .to_owned();
            let problems = vec![Problem::new(what, remedy)];
            return Err(Failure::Config(ConfigErrors { source: config.source.clone(), problems }));
        }
    }
    Ok(())
}

/// The upstreams that the listeners of a configuration know.
pub(super) fn known(config: &Config) -> impl Iterator<Item = &crate::config::UpstreamConfig> {
    let names = config.listeners.iter().flat_map(|listener| match &listener.mode {
        ListenerMode::Forward { upstreams }
        | ListenerMode::Socks5 { upstreams }
        | ListenerMode::Reverse { upstreams, .. } => upstreams.as_slice(),
        ListenerMode::Token { .. } => &[],
    });
    let names: BTreeSet<&String> = names.collect();
    config.upstreams.iter().filter(move |upstream| names.contains(&upstream.connection.name))
}

fn upstreams_of(config: &Config, name: &str) -> Result<Vec<String>, Failure> {
    let names = || config.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    let listener = config.listeners.iter().find(|listener| listener.name == name);
    match listener.map(|listener| &listener.mode) {
        Some(
            ListenerMode::Forward { upstreams }
            | ListenerMode::Socks5 { upstreams }
            | ListenerMode::Reverse { upstreams, .. },
        ) => Ok(upstreams.clone()),
        Some(ListenerMode::Token { .. }) => Err(Failure::usage(format!(
            "listener {name:?} is a token endpoint and knows no upstreams; there are: {}",
            names()
        ))),
        None => {
            Err(Failure::usage(format!("there is no listener {name:?} in {}; there are: {}", config.source, names())))
        }
    }
}

/// A port of this machine is open to its other users too, and they are not to have these tokens.
#[cfg(target_os = "linux")]
fn users() -> Option<Vec<u32>> {
    // Where the system shows no connections (ProcSubset=pid), no connection's owner could be told, and every caller would be refused.
    std::fs::read("/proc/net/tcp").ok()?;
    Some(crate::exec::users())
}

#[cfg(not(target_os = "linux"))]
const fn users() -> Option<Vec<u32>> {
    None
}

fn address(app: &App) -> Result<SocketAddr, Failure> {
    match app.addresses().as_slice() {
        [(_, ListenAddress::Tcp(address))] => Ok(*address),
        _ => Err(Failure::failed("the proxy has no address")),
    }
}

/// A variable of this process. One that is no text cannot be kept exactly, and none of those here should be.
pub(super) fn current(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// What the command does not get to see: secrets, and what is meant for attache alone.
fn withheld(variables: Vec<String>) -> Vec<(String, Change)> {
    let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| name.starts_with(OWN));
    variables.into_iter().chain(own).map(|name| (name, Change::Unset)).collect()
}

/// This process's environment still has the secrets. Other processes of the same user read it in /proc, and core dumps hold it,
/// unless the system is told that this process is not to be looked into.
fn hide_environment() {
    #[cfg(target_os = "linux")]
    if let Err(error) = crate::exec::hide_from_others() {
        tracing::warn!(target: "attache::exec", %error, "other processes of this user can read attache's environment");
    }
}
