//! `attache names`: what a configuration calls its parts, one on a line. Completions ask for them; it is not listed in `--help`.

use clap::{Args, ValueEnum};

use super::config_arg::ConfigArg;
use super::output::{Failure, text};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct NamesArgs {
    /// Whose names.
    kind: NamesKind,
    #[command(flatten)]
    config: ConfigArg,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NamesKind {
    /// `[credentials.NAME]`
    Credentials,
    /// `[upstreams.NAME]`
    Upstreams,
    /// `[listeners.NAME]`
    Listeners,
    /// `[callers.NAME]`
    Callers,
}

impl NamesKind {
    /// As it stands on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Upstreams => "upstreams",
            Self::Listeners => "listeners",
            Self::Callers => "callers",
        }
    }
}

/// Sorted. A file with problems has no names, as for every other command.
pub(super) fn names(args: &NamesArgs) -> Result<(), Failure> {
    let config = Config::load_without_secrets(&args.config.path()?).map_err(Failure::Config)?;
    let mut names: Vec<&str> = match args.kind {
        NamesKind::Credentials => config.credentials.iter().map(|credential| credential.name.as_str()).collect(),
        NamesKind::Upstreams => config.upstreams.iter().map(|upstream| upstream.connection.name.as_str()).collect(),
        NamesKind::Listeners => config.listeners.iter().map(|listener| listener.name.as_str()).collect(),
        NamesKind::Callers => {
            let callers = config.listeners.iter().filter_map(|listener| listener.callers.as_ref()).flatten();
            callers.map(|caller| caller.name.as_str()).collect()
        }
    };
    names.sort_unstable();
    names.dedup();
    text(names.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes())
}
