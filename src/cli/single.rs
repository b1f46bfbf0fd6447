//! One upstream by command-line arguments instead of a file, for `run` and `exec`.

use std::path::PathBuf;

use clap::Args;

use super::config_arg::warn;
use super::output::Failure;
use super::token::RequestArgs;
use crate::config::{Config, SingleUpstream};

/// Where it listens, as it would stand in the file.
pub(super) struct Addresses {
    pub(super) forward: String,
    pub(super) reverse: String,
    pub(super) admin: Option<String>,
}

/// `--upstream` and what goes with it.
#[derive(Debug, Args)]
pub(super) struct SingleArgs {
    /// Serve one upstream without a file: its origin.
    #[arg(long, value_name = "ORIGIN", requires_all = ["token_endpoint", "client_id"], conflicts_with_all = ["config", "profile"])]
    upstream: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Trusted certificates of the upstream, with --upstream.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca_file: Option<PathBuf>,
}

impl SingleArgs {
    /// As [`config_at`](Self::config_at), without an admin listener.
    pub(super) fn config_or(
        self,
        of_file: impl FnOnce() -> Result<Config, Failure>,
        forward: &str,
        reverse: &str,
    ) -> Result<Config, Failure> {
        self.config_at(of_file, Addresses { forward: forward.to_owned(), reverse: reverse.to_owned(), admin: None })
    }

    /// The configuration of these arguments with these listeners or, without any, the file's. Its warnings are said.
    pub(super) fn config_at(
        self,
        of_file: impl FnOnce() -> Result<Config, Failure>,
        addresses: Addresses,
    ) -> Result<Config, Failure> {
        let Some(upstream) = self.upstream else {
            // All other flags of a token request ask for this one.
            return if self.request.token_endpoint.is_none() {
                of_file()
            } else {
                Err(Failure::usage(
                    "--token-endpoint and the flags beside it go with --upstream ORIGIN, which is missing; \
                     without both, the configuration file says where tokens come from",
                ))
            };
        };
        let Addresses { forward, reverse, admin } = addresses;
        let single = SingleUpstream {
            upstream,
            upstream_ca_file: self.upstream_ca_file,
            forward,
            reverse,
            admin,
            request: self.request.into_settings()?,
        };
        let config = Config::for_one_upstream(&single).map_err(Failure::Config)?;
        warn(&config)?;
        Ok(config)
    }
}
