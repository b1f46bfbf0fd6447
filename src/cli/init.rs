//! `attache init`: a commented configuration to begin with.

use std::io::Write as _;

use clap::Args;

use super::output::{Failure, talk};
use crate::config::{PROVIDERS, Provider, starter};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    config: super::ConfigArg,
    /// Begin with what a provider needs: entra, auth0, okta, keycloak, cognito, google, salesforce or paypal.
    #[arg(long, value_name = "NAME", value_parser = provider)]
    preset: Option<Provider>,
}

fn provider(name: &str) -> Result<Provider, String> {
    let known = PROVIDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = PROVIDERS.iter().find(|(word, _)| *word == name).map(|(_, provider)| *provider);
    found.ok_or_else(|| format!("the presets are {known}"))
}

/// Nothing is overwritten: the file is made or the command fails.
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let path = &args.config.config;
    let shown = path.display();
    let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::failed(format!("{shown} is there already and stays as it is; name another with --config FILE"))
        }
        _ => Failure::failed(format!("cannot write {shown}: {error}")),
    })?;
    file.write_all(starter(args.preset).as_bytes())
        .map_err(|error| Failure::failed(format!("cannot write {shown}: {error}")))?;
    talk(format_args!("{shown} is written. Change the values marked with <--, then: attache check"))
}
