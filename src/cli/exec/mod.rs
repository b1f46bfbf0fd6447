//! `attache exec`: a proxy around one command, and nothing of it left behind.

mod args;
mod authority;
mod base;
mod beside;
mod isolate;
mod known;
mod process;
mod refusals;
mod tokens;
mod way_out;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use self::args::BesideArgs;
use self::authority::authority;
use self::beside::{PROXY, beside};
use self::isolate::Isolation;
use self::process::{mark, pin, run, withheld};
use super::config_arg::load_without_listeners;
use super::hidden::hide;
use super::output::{Failure, talk};
use super::trust;
use crate::app::App;
use crate::config::Config;
use crate::dial::OriginPattern;
use crate::exec::{Change, PrivateFolder, Proxy, Setup, let_others_read, node_preload, private_folder};
use crate::listen::ListenAddress;
use crate::proxy::Refusals;
use crate::tls::CertificateAuthority;

pub(super) use self::args::ExecArgs;
pub(super) use self::known::known;
pub(super) use self::process::current;

/// How long what the command left running may finish its requests.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn exec(args: ExecArgs) -> Result<ExitCode, Failure> {
    let config = args.single.config_or(|| load_without_listeners(&args.config), "127.0.0.1:0", "127.0.0.1:0")?;
    let prepared = prepare(config, &args.beside, args.node_preload).await?;
    let (refusals, mut heard) = Refusals::new();
    let app = start(&prepared, refusals)?;
    if args.require_token {
        tokens::obtain(&app, &tokens::wanted(&prepared.config)).await?;
    }
    let changes = surroundings(&prepared, &app, &args.beside, args.verbose)?;
    let command = match &prepared.isolation {
        Some(isolation) => isolation.around(&args.command)?,
        None => args.command,
    };
    let code = refusals::while_running(&mut heard, run(&command, changes.iter())).await;
    // What the command left running may finish, and what was refused to it meanwhile is told; only then do the files go that it reads.
    app.shutdown_within(DRAIN_TIMEOUT).await;
    refusals::rest(&mut heard);
    let path = prepared.folder.path().to_owned();
    if let Err(error) = prepared.folder.close() {
        tracing::warn!(target: "attache::exec", folder = %path.display(), %error, "a temporary folder stays behind");
    }
    code
}

/// What is settled before anything listens.
struct Prepared {
    config: Config,
    authority: Option<CertificateAuthority>,
    isolation: Option<Isolation>,
    /// Kept until the command has ended, and gone then.
    folder: PrivateFolder,
    /// Variables that do not depend on where the proxy listens.
    marks: Vec<(String, Change)>,
}

async fn prepare(config: Config, args: &BesideArgs, preload: bool) -> Result<Prepared, Failure> {
    // By the file's name, which the configuration that runs has no more.
    let mut marks = vec![mark(&config)];
    let mut config = beside(config, args)?;
    way_out::keep(&mut config, &current)?;
    // Into the configuration, so that the proxy signs with the CA that the command is told to trust.
    let opens = config.upstreams.iter().any(|upstream| upstream.credential.is_some() && upstream.route.intercept);
    let authority = if opens { Some(authority(&mut config)?) } else { None };
    marks.extend(authority.as_ref().map(|authority| pin(authority.certificate().key_pin())));
    let folder = private_folder().map_err(Failure::failed)?;
    if preload {
        marks.push(node_preload(folder.path(), &current).map_err(Failure::failed)?);
    }
    // It moves the listeners, so it comes before they are bound; where it is unavailable, nothing has been started.
    let mut isolation = None;
    if args.isolate {
        isolation = Some(Isolation::prepare(&mut config, folder.path()).await?);
    }
    Ok(Prepared { config, authority, isolation, folder, marks })
}

/// Starts the proxy.
fn start(prepared: &Prepared, refusals: Refusals) -> Result<App, Failure> {
    // Before the first socket: the limit counts those of the listeners too.
    crate::descriptors::raise();
    let app = App::start_telling(prepared.config.clone(), refusals).map_err(Failure::failed)?;
    // Before there is a token, and before there is a command that could look.
    hide();
    Ok(app)
}

/// Writes the files that the command is told of, and gives the changes to its environment; it takes the addresses of a proxy that
/// listens.
fn surroundings(
    prepared: &Prepared,
    app: &App,
    args: &BesideArgs,
    verbose: bool,
) -> Result<Vec<(String, Change)>, Failure> {
    let Prepared { config, authority, isolation, folder, marks } = prepared;
    let trusted = match authority {
        Some(authority) => Some(trust::write(authority.certificate(), folder.path(), "ca", &current)?),
        None => None,
    };
    if args.any_user {
        let_others_read(folder.path()).map_err(Failure::failed)?;
    }
    let listening = match isolation {
        Some(isolation) => isolation.inside(app.addresses()),
        None => app.addresses(),
    };
    let proxy = Proxy::at(address(&listening)?);
    let origins: Vec<OriginPattern> = known(config).map(|upstream| upstream.connection.origin.clone()).collect();
    let setup = Setup { proxy: Some(proxy.clone()), trust: trusted.as_ref(), upstreams: &origins };
    let environment = setup.environment(&current);
    for note in &environment.notes {
        talk(format_args!("attache: {note}"))?;
    }
    if verbose {
        let names: Vec<String> = origins.iter().map(ToString::to_string).collect();
        talk(format_args!("attache: {} with {}, for {}", proxy.url(), config.source, names.join(", ")))?;
    }
    let bases = base::variables(&args.base, config, &listening, &environment);
    // Later ones win: a variable that held a secret may be one that the command is given anew.
    let changes = withheld(&config.variables).into_iter().chain(environment.changes);
    Ok(changes.chain(bases).chain(marks.iter().cloned()).collect())
}

fn address(listening: &[(String, ListenAddress)]) -> Result<SocketAddr, Failure> {
    match listening.iter().find(|(name, _)| name == PROXY) {
        Some((_, ListenAddress::Tcp(address))) => Ok(*address),
        _ => Err(Failure::failed("the proxy has no address")),
    }
}
