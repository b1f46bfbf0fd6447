//! `attache env`: the variables of [`crate::exec`] for a proxy that runs already, written down.

mod caller;
mod listener;
mod shell;
mod writing;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use self::listener::{address, listener, no_forward};
use self::shell::ShellParser;
use super::config_arg::ConfigArg;
use super::exec::{current, known};
use super::output::{Failure, talk};
use super::trust;
use crate::config::Config;
use crate::dial::OriginPattern;
use crate::exec::{Before, Notation, Setup, cache_folder, kept_from_others};
use crate::proxy::Unmatched;

#[derive(Debug, Args)]
#[command(after_help = "\
For the shell you sit in:
  eval \"$(attache env)\"                                          # bash, zsh, sh
  attache env | source                                           # fish
  attache env --shell powershell | Out-String | Invoke-Expression
and out of it again:
  eval \"$(attache env --unset)\"
For programs that read a file:
  attache env --format dotenv > proxy.env

It needs the configuration and none of its secrets, save the password of --caller. The values are made for the environment
that it runs in: NO_PROXY and JAVA_TOOL_OPTIONS are added to, not replaced.")]
pub(super) struct EnvArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The forward listener that programs go through; needed if there are several.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// As whom programs come, where the listener has `callers`: the URL then has the caller's name and password.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Take it all back: every variable is as it was before.
    #[arg(long, conflicts_with_all = ["listener", "caller", "write_bundle", "format", "json"])]
    unset: bool,
    /// The shell that is to read it, by its name or path; by default that of $SHELL.
    #[arg(long, value_name = "SHELL", value_parser = ShellParser)]
    shell: Option<Notation>,
    /// Where the trusted certificates are written, if [intercept] names a CA: FILE.pem, FILE.jks and so on. By default in the cache
    /// folder of this user, under a name with the CA's fingerprint.
    #[arg(long, value_name = "FILE")]
    write_bundle: Option<PathBuf>,
    /// A file instead of a shell's commands: dotenv or json.
    #[arg(long, value_name = "FORMAT", value_parser = ["dotenv", "json"], conflicts_with = "shell")]
    format: Option<String>,
    /// As --format json.
    #[arg(long, conflicts_with_all = ["shell", "format"])]
    json: bool,
}

pub(super) fn env(args: &EnvArgs) -> Result<(), Failure> {
    let format = if args.json { Some("json") } else { args.format.as_deref() };
    let before = if format.is_none() { Before::read(&current) } else { Before::default() };
    if args.unset {
        return unset(args, before);
    }
    let mut config = Config::load_without_secrets(&args.config.path()?).map_err(Failure::Config)?;
    let listener = listener(&config, args.listener.as_deref())?.cloned();
    let address = listener.as_ref().map(address).transpose()?;
    let proxy = match (&listener, address) {
        (Some(listener), Some(address)) => Some(caller::proxy(listener, address, args.caller.as_deref())?),
        _ => None,
    };
    if listener.is_none() {
        talk(format_args!(
            "{}; without one these are the variables by which programs trust the CA",
            no_forward(&config)
        ))?;
    }
    config.listeners = listener.into_iter().collect();
    let origins: Vec<OriginPattern> = known(&config).map(|upstream| upstream.connection.origin.clone()).collect();
    let original = |name: &str| before.original(name, &current);
    let trusted = match &config.intercept {
        Some(source) => {
            let authority = source.read_certificate().map_err(Failure::failed)?;
            let (folder, name) = match &args.write_bundle {
                None => {
                    let name = format!("ca-{}", authority.short_fingerprint());
                    (cache_folder(&current).map_err(|error| not_written(&error))?, name)
                }
                Some(file) => {
                    let (folder, name) = named(file)?;
                    kept_from_others(&folder).map_err(|error| not_written(&error))?;
                    (folder, name)
                }
            };
            Some(trust::write(&authority, &folder, &name, &original)?)
        }
        None => None,
    };
    let setup = Setup { proxy, trust: trusted.as_ref(), upstreams: &origins };
    let environment = setup.environment(&original);
    for note in &environment.notes {
        talk(format_args!("attache: {note}"))?;
    }
    if let Some(address) = address {
        about_the_listener(&config, address)?;
    }
    match (format, args.shell) {
        (Some("json"), _) => writing::json(&environment),
        (Some(_), _) => writing::write(&environment, Notation::Dotenv),
        (None, shell) => {
            writing::write(&before.remembering(environment, &current), shell.unwrap_or_else(writing::own_shell))
        }
    }
}

/// What a person would otherwise find out from programs that fail.
fn about_the_listener(config: &Config, address: SocketAddr) -> Result<(), Failure> {
    if !listener::answers(address) {
        let source = &config.source;
        talk(format_args!("attache: nothing answers at {address} yet: start it with `attache run --config {source}`"))?;
    }
    if config.forward.unmatched == Unmatched::Deny {
        talk(format_args!(
            "attache: programs reach no host through it but the upstreams' (403); for a shell that goes elsewhere too, set \
             [forward] unmatched = \"pass\""
        ))?;
    }
    Ok(())
}

/// Takes all of it back.
fn unset(args: &EnvArgs, before: Before) -> Result<(), Failure> {
    writing::write(&before.restored(), args.shell.unwrap_or_else(writing::own_shell))
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
