//! `--config`, and reading the file that it names.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{self, Failure, Level};
use crate::config::{Config, ConfigErrors};

#[derive(Debug, Args)]
pub(super) struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, global = true, env = "ATTACHE_CONFIG", default_value = "proxy.toml", value_name = "FILE")]
    pub(super) config: PathBuf,
}

/// Loads a file, says what is unwise about it, and fails with everything that is wrong with it.
pub(super) fn load(path: &Path) -> Result<Config, Failure> {
    checked(Config::load(path))
}

/// The same for commands that serve nothing, or bring a listener of their own.
pub(super) fn load_without_listeners(path: &Path) -> Result<Config, Failure> {
    checked(Config::load_without_listeners(path))
}

/// Says what is unwise about a configuration.
pub(super) fn warn(config: &Config) -> Result<(), Failure> {
    output::problems(Level::Warning, &config.source, &config.warnings)
}

fn checked(loaded: Result<Config, ConfigErrors>) -> Result<Config, Failure> {
    let config = loaded.map_err(Failure::Config)?;
    warn(&config)?;
    Ok(config)
}
