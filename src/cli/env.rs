//! `attache env`: the variables of [`crate::exec`] for a proxy that runs already, written down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::config_arg::ConfigArg;
use super::exec::{current, known};
use super::output::{self, Failure, data, talk};
use super::trust;
use crate::config::{Config, ListenerConfig};
use crate::dial::OriginPattern;
use crate::exec::{Change, Environment, Notation, Proxy, Setup, cache_folder, kept_from_others};
use crate::listen::ListenAddress;
use crate::proxy::ListenerMode;

#[derive(Debug, Args)]
#[command(after_help = "\
For the shell you sit in:
  eval \"$(attache env)\"                                          # bash, zsh, sh
  attache env | source                                           # fish
  attache env --shell powershell | Out-String | Invoke-Expression
For programs that read a file:
  attache env --format dotenv > proxy.env

It needs the configuration and none of its secrets. The values are made for the environment
that it runs in: NO_PROXY and JAVA_TOOL_OPTIONS are added to, not replaced.")]
pub(super) struct EnvArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The forward listener that programs go through; needed if there are several.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The shell that is to read it: bash (also for zsh and sh), fish or powershell; by default that of $SHELL.
    #[arg(long, value_name = "SHELL", value_parser = Notation::of_shell)]
    shell: Option<Notation>,
    /// Where the trusted certificates are written, if [intercept] names a CA: FILE.pem and FILE.jks. By default ca.pem and ca.jks
    /// in the cache folder of this user.
    #[arg(long, value_name = "FILE")]
    write_bundle: Option<PathBuf>,
    /// A file instead of a shell's commands: dotenv or json.
    #[arg(long, value_name = "FORMAT", value_parser = ["dotenv", "json"], conflicts_with = "shell")]
    format: Option<String>,
}

pub(super) fn env(args: &EnvArgs) -> Result<(), Failure> {
    let mut config = Config::load_without_secrets(&args.config.config).map_err(Failure::Config)?;
    let listener = listener(&config, args.listener.as_deref())?.cloned();
    let proxy = listener.as_ref().map(address).transpose()?.map(|address| Proxy { address });
    if listener.is_none() {
        talk(format_args!(
            "{}; without one these are the variables by which programs trust the CA",
            no_forward(&config)
        ))?;
    }
    config.listeners = listener.into_iter().collect();
    let origins: Vec<OriginPattern> = known(&config).map(|upstream| upstream.connection.origin.clone()).collect();
    let trusted = match &config.intercept {
        Some(source) => {
            let authority = source.read().map_err(Failure::failed)?;
            let (folder, name) = match &args.write_bundle {
                None => (cache_folder(&current).map_err(|error| not_written(&error))?, "ca".to_owned()),
                Some(file) => {
                    let (folder, name) = named(file)?;
                    kept_from_others(&folder).map_err(|error| not_written(&error))?;
                    (folder, name)
                }
            };
            Some(trust::write(&authority, &folder, &name, &current)?)
        }
        None => None,
    };
    let setup = Setup { proxy, trust: trusted.as_ref(), upstreams: &origins };
    let environment = setup.environment(&current);
    for note in &environment.notes {
        talk(format_args!("attache: {note}"))?;
    }
    match (args.format.as_deref(), args.shell) {
        (Some("json"), _) => json(&environment),
        (Some(_), _) => write(&environment, Notation::Dotenv),
        (None, Some(notation)) => write(&environment, notation),
        (None, None) => write(&environment, own_shell()),
    }
}

fn not_written(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the files of trusted certificates are not written: {error}"))
}

/// A folder and the first part of the names in it.
fn named(file: &Path) -> Result<(PathBuf, String), Failure> {
    let file = std::path::absolute(file).map_err(Failure::failed)?;
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let (Some(folder), Some(stem)) = (file.parent(), stem) else {
        return Err(Failure::usage("--write-bundle needs the name of a file"));
    };
    Ok((folder.to_owned(), stem.to_owned()))
}

/// What is not set is taken out only where it is there: a shell's user sees what really changes.
fn write(environment: &Environment, notation: Notation) -> Result<(), Failure> {
    for (name, change) in &environment.changes {
        if *change == Change::Unset && std::env::var_os(name).is_none() {
            continue;
        }
        if let Some(line) = notation.line(name, change) {
            data(format_args!("{line}"))?;
        }
    }
    Ok(())
}

/// An object of the variables; `null` is one that is to be taken out.
fn json(environment: &Environment) -> Result<(), Failure> {
    let member = |(name, change): &(String, Change)| {
        let value = match change {
            Change::Set(value) => serde_json::Value::String(value.clone()),
            Change::Unset => serde_json::Value::Null,
        };
        (name.clone(), value)
    };
    output::json(&environment.changes.iter().map(member).collect::<serde_json::Map<_, _>>())
}

/// The language of the shell that started attache, as far as the environment tells.
fn own_shell() -> Notation {
    let usual = if cfg!(windows) { Notation::PowerShell } else { Notation::Posix };
    std::env::var("SHELL").ok().and_then(|shell| Notation::of_shell(&shell).ok()).unwrap_or(usual)
}

/// The forward listener that is meant; `None` where there is none, and a CA to be trusted all the same.
fn listener<'c>(config: &'c Config, name: Option<&str>) -> Result<Option<&'c ListenerConfig>, Failure> {
    let is_forward = |listener: &&ListenerConfig| matches!(listener.mode, ListenerMode::Forward { .. });
    let forward: Vec<&ListenerConfig> = config.listeners.iter().filter(is_forward).collect();
    let names = || forward.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    let source = &config.source;
    match (name, forward.as_slice()) {
        (None, []) if config.intercept.is_some() => Ok(None),
        (_, []) => Err(Failure::failed(format!(
            "{}; add one, or give programs the base URL of a reverse listener",
            no_forward(config)
        ))),
        (None, [only]) => Ok(Some(only)),
        (None, _) => Err(Failure::usage(format!(
            "{source} has several forward listeners; name one with --listener: {}",
            names()
        ))),
        (Some(name), _) => forward.iter().find(|listener| listener.name == name).copied().map(Some).ok_or_else(|| {
            Failure::usage(format!("there is no forward listener {name:?} in {source}; there are: {}", names()))
        }),
    }
}

fn no_forward(config: &Config) -> String {
    format!("{} has no listener with mode = \"forward\", which is what HTTP_PROXY needs", config.source)
}

/// Where programs on this machine reach a listener.
fn address(listener: &ListenerConfig) -> Result<SocketAddr, Failure> {
    let name = &listener.name;
    match &listener.address {
        ListenAddress::Unix(_) => Err(Failure::failed(format!(
            "listener {name:?} is a unix socket, which HTTP_PROXY cannot name; give a listener an IP address and a port"
        ))),
        ListenAddress::Tcp(address) if address.port() == 0 => Err(Failure::failed(format!(
            "listener {name:?} takes a free port (0), another one at each start; write a port into its address, or use \
             `attache exec`"
        ))),
        ListenAddress::Tcp(address) => {
            // Every address includes this machine's own.
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            };
            Ok(SocketAddr::new(ip, address.port()))
        }
    }
}
