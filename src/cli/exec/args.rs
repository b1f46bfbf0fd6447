//! What `attache exec` is told.

use std::ffi::OsString;

use clap::Args;

use crate::cli::config_arg::ConfigArg;
use crate::cli::single::SingleArgs;

#[derive(Debug, Args)]
#[command(
    override_usage = "attache exec [OPTIONS] -- CMD [ARG]...",
    after_help = "\
The command finds a proxy in HTTP_PROXY, HTTPS_PROXY and the like, on a free port of
127.0.0.1. It knows every upstream of the configuration, or those of one listener; it listens
nowhere else, and ends with the command:
  attache exec -- curl http://orders.example.com/v1/orders
  attache exec --upstream https://api.example.com --token-endpoint https://login.example.com/token \\
      --client-id me --client-secret-env SECRET -- ./job.sh

https:// gets its tokens too: unless [intercept] names a CA, one is made that lives as long as the
command and that only the command trusts (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS and so on).

The command runs as it would without: terminal, stdin and stdout are its own, signals reach
it, and attache exits with its code. On Linux the proxy is for programs of this user alone. The
command gets no secret: variables that the configuration reads secrets from, and ATTACHE_...,
are not in its environment. NO_PROXY is kept, save what names an upstream.

Exit codes: the command's, 128 + N if signal N ended it; 127 there is no such command, 126 it
cannot be run; 78 configuration, 2 usage, 1 the proxy did not start."
)]
pub(in crate::cli) struct ExecArgs {
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) single: SingleArgs,
    /// Only the upstreams that this listener of the configuration knows.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    pub(super) listener: Option<String>,
    /// Let programs of other users use the proxy too, for a command that becomes another user.
    #[arg(long)]
    pub(super) any_user: bool,
    /// Say on stderr where the proxy is and what it knows.
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// What to run, with its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}
