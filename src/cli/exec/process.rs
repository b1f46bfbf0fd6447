//! The command itself: what it gets to see of the environment, and how it is run to its end.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::output::Failure;
use crate::config::Config;
use crate::exec::{Change, Child};

/// What each of attache's own variables begins with.
const OWN: &str = "ATTACHE_";

/// Runs the command to its end.
pub(super) async fn run<'c>(
    command: &[OsString],
    changes: impl Iterator<Item = &'c (String, Change)>,
) -> Result<ExitCode, Failure> {
    // clap has made sure that there is one.
    let Some((program, arguments)) = command.split_first() else { return Err(Failure::usage("there is no command")) };
    let child = Child::start(program, arguments, changes);
    let child = child.map_err(|error| Failure::Command(error.to_string(), error.exit_code()))?;
    child.wait().await.map(ExitCode::from).map_err(Failure::failed)
}

/// A variable of this process. One that is no text cannot be kept exactly, and none of those here should be.
pub(in crate::cli) fn current(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// `ATTACHE_EXEC`: by it a prompt shows, and a script knows, which configuration is around. The file's name, or the upstream's host.
pub(super) fn mark(config: &Config) -> (String, Change) {
    let file =
        config.file.as_ref().and_then(|file| file.path.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let host = || config.upstreams.first().map(|upstream| upstream.connection.origin.base().host.to_string());
    (format!("{OWN}EXEC"), Change::Set(file.or_else(host).unwrap_or_else(|| "attache".to_owned())))
}

/// `ATTACHE_CA_SPKI`: browsers read no variable for a CA, and take this as an argument.
pub(super) fn pin(pin: String) -> (String, Change) {
    (format!("{OWN}CA_SPKI"), Change::Set(pin))
}

/// What the command does not get to see: secrets, and what is meant for attache alone.
pub(super) fn withheld(variables: &[String]) -> Vec<(String, Change)> {
    let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| name.starts_with(OWN));
    variables.iter().cloned().chain(own).map(|name| (name, Change::Unset)).collect()
}
