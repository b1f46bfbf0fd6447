//! `attache init`: a commented configuration to begin with. At a terminal it asks; flags answer beforehand; without either
//! it writes the starter.

mod interview;
mod prompt;
mod secret_place;
mod told;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;

use self::interview::interview;
use self::told::Told;
use crate::cli::config_arg::ConfigArg;
use crate::cli::output::{Failure, talk};
use crate::config::{Draft, PROVIDERS, Provider, step_line};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache init                             asks, at a terminal
  attache init --preset keycloak           begins with what a provider needs
  attache init --token-endpoint https://login.example.com/token --client-id me \\
      --client-secret-env SECRET --upstream https://api.example.com

Nothing is overwritten. What is not told stands in the file as an example, marked with <--.")]
pub(super) struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Begin with what a provider needs: entra, auth0, okta, keycloak, cognito, google, salesforce or paypal.
    #[arg(long, value_name = "NAME", value_parser = provider)]
    preset: Option<Provider>,
    #[command(flatten)]
    told: Told,
}

fn provider(name: &str) -> Result<Provider, String> {
    let known = PROVIDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = PROVIDERS.iter().find(|(word, _)| *word == name).map(|(_, provider)| *provider);
    found.ok_or_else(|| format!("the presets are {known}"))
}

/// Nothing is overwritten: the file is made or the command fails.
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let path = &args.config.to_write()?;
    // Said before anybody has answered anything.
    if path.exists() {
        return Err(there_already(path));
    }
    let asks = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !args.told.says_something();
    let mut draft = if asks {
        interview(args.preset, &mut std::io::stdin().lock())?
    } else {
        let mut draft = Draft::new(args.preset);
        args.told.answer(&mut draft)?;
        draft
    };
    match args.config.profile() {
        Some(name) => draft.in_profile(name),
        None if is_found(path) => {}
        None => draft.in_file(path),
    }
    write(path, &draft.text())?;
    if let Some(doubt) = args.told.doubt() {
        talk(format_args!("warning: {doubt}"))?;
    }
    let examples = draft.has_examples();
    let next = if examples { "Change the values in it that are marked with <--, then:" } else { "Now:" };
    talk(format_args!("{} is written. {next}", path.display()))?;
    for (command, about) in draft.steps() {
        talk(format_args!("  {}", step_line(&command, about)))?;
    }
    Ok(())
}

/// Whether the other commands find it without being told.
fn is_found(path: &Path) -> bool {
    match std::env::var_os("ATTACHE_CONFIG") {
        Some(named) => path == Path::new(&named),
        None => path == Path::new("proxy.toml"),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => there_already(path),
        _ => cannot(error),
    })?;
    file.write_all(text.as_bytes()).map_err(cannot)
}

fn there_already(path: &Path) -> Failure {
    Failure::failed(format!("{} is there already and stays as it is; name another with --config FILE", path.display()))
}
