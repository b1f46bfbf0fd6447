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

use self::authority::authority;
use self::beside::{PROXY, beside};
use self::isolate::Isolation;
use self::process::{mark, pin, run, withheld};
use super::config_arg::load_without_listeners;
use super::hidden::hide;
use super::output::{Failure, talk};
use super::trust;
use crate::app::App;
use crate::dial::OriginPattern;
use crate::exec::{Proxy, Setup, let_others_read, node_preload, private_folder};
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
    let mut marks = vec![mark(&config)];
    let mut config = beside(config, &args.beside)?;
    way_out::keep(&mut config, &current)?;
    let (source, variables) = (config.source.clone(), config.variables.clone());
    let origins: Vec<OriginPattern> = known(&config).map(|upstream| upstream.connection.origin.clone()).collect();
    let opens = config.upstreams.iter().any(|upstream| upstream.credential.is_some() && upstream.route.intercept);
    let authority = if opens { Some(authority(&mut config)?) } else { None };
    marks.extend(authority.as_ref().and_then(CertificateAuthority::key_pin).map(pin));
    let wanted = if args.require_token { tokens::wanted(&config) } else { Vec::new() };
    // Kept until the command has ended, and gone then.
    let folder = private_folder().map_err(Failure::failed)?;
    let mut isolation = None;
    if args.beside.isolate {
        isolation = Some(Isolation::prepare(&mut config, folder.path()).await?);
    }
    crate::descriptors::raise();
    let (refusals, mut heard) = Refusals::new();
    let app = App::start_telling(config.clone(), refusals).map_err(Failure::failed)?;
    hide();
    tokens::obtain(&app, &wanted).await?;

    let trusted = match &authority {
        Some(authority) => Some(trust::write(authority, folder.path(), "ca", &current)?),
        None => None,
    };
    if args.node_preload {
        marks.push(node_preload(folder.path(), &current).map_err(Failure::failed)?);
    }
    if args.beside.any_user {
        let_others_read(folder.path()).map_err(Failure::failed)?;
    }
    let listening = match &isolation {
        Some(isolation) => isolation.inside(app.addresses()),
        None => app.addresses(),
    };
    let proxy = Proxy::at(address(&listening)?);
    let setup = Setup { proxy: Some(proxy.clone()), trust: trusted.as_ref(), upstreams: &origins };
    let environment = setup.environment(&current);
    for note in &environment.notes {
        talk(format_args!("attache: {note}"))?;
    }
    if args.verbose {
        let names: Vec<String> = origins.iter().map(ToString::to_string).collect();
        talk(format_args!("attache: {} with {source}, for {}", proxy.url(), names.join(", ")))?;
    }
    let (secrets, bases) = (withheld(variables), base::variables(&args.beside.base, &config, &listening, &environment));
    let changes = secrets.iter().chain(&environment.changes).chain(&bases).chain(&marks);
    let command = match &isolation {
        Some(isolation) => isolation.around(&args.command)?,
        None => args.command,
    };
    let code = refusals::while_running(&mut heard, run(&command, changes)).await;
    app.shutdown_within(DRAIN_TIMEOUT).await;
    refusals::rest(&mut heard);
    let path = folder.path().to_owned();
    if let Err(error) = folder.close() {
        tracing::warn!(target: "attache::exec", folder = %path.display(), %error, "a temporary folder stays behind");
    }
    code
}

fn address(listening: &[(String, ListenAddress)]) -> Result<SocketAddr, Failure> {
    match listening.iter().find(|(name, _)| name == PROXY) {
        Some((_, ListenAddress::Tcp(address))) => Ok(*address),
        _ => Err(Failure::failed("the proxy has no address")),
    }
}
