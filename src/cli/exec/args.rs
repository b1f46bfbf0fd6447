//! What `attache exec` is told.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use crate::cli::config_arg::ConfigArg;
use crate::cli::single::SingleArgs;
use crate::proxy::Unmatched;
use crate::secret::is_variable_name;

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

Other hosts are reached as without, unless [forward] of the configuration or --unmatched deny says
otherwise; the first refusal of each is told on stderr.

A program that reads no proxy variables mostly takes a base URL, which needs no CA either:
  attache exec --base ORDERS_URL=orders -- ./job
  attache exec --node-preload -- node job.mjs        # Node.js, unmodified

https:// gets its tokens too: unless [intercept] names a CA, one is made that lives as long as the
command and that only the command trusts (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS and so on).

A program that knows no proxy, or that must not go anywhere else, runs in a network of its own, where
names of upstreams lead to attache and nothing else leads anywhere:
  attache exec --isolate -- ./vendor-binary

The command runs as it would without: terminal, stdin and stdout are its own, signals reach
it, and attache exits with its code. On Linux the proxy is for programs of this user alone.

The command gets no secret: its environment has neither the variables that secrets are read from
nor ATTACHE_..., save ATTACHE_EXEC, the configuration's name. NO_PROXY is kept, save what names an
upstream.

Exit codes: the command's, 128 + N if signal N ended it; 127 there is no such command, 126 it
cannot be run; 78 configuration, 2 usage, 1 the proxy did not start, or --require-token has none."
)]
pub(in crate::cli) struct ExecArgs {
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) single: SingleArgs,
    #[command(flatten)]
    pub(super) beside: BesideArgs,
    /// Obtain every token first; if one is unavailable, say why, and do not start the command.
    #[arg(long)]
    pub(super) require_token: bool,
    /// Bring every HTTP request of Node.js programs through the proxy, by a script that is loaded before them: for Node.js before
    /// 22.21, and for libraries with an Agent of their own.
    #[arg(long)]
    pub(super) node_preload: bool,
    /// Say on stderr where the proxy is and what it knows.
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// What to run, with its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// What runs beside the command.
#[derive(Debug, Args)]
pub(super) struct BesideArgs {
    /// Only the upstreams that this listener of the configuration knows.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    pub(super) listener: Option<String>,
    /// Hosts that no upstream covers: 403, or untouched. By default what [forward] says, else pass.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) unmatched: Option<Others>,
    /// Give the command an upstream's base URL in this variable; may be given several times.
    #[arg(long, value_name = "VAR=UPSTREAM", value_parser = Base::parse)]
    pub(super) base: Vec<Base>,
    /// Run the command in a network of its own, in which only attache is (Linux). Hosts that no upstream covers are refused
    /// then, unless --unmatched pass or [forward] lets them.
    #[arg(long)]
    pub(super) isolate: bool,
    /// Let programs of other users use the proxy too, for a command that becomes another user.
    #[arg(long)]
    pub(super) any_user: bool,
}

/// What happens to hosts that no upstream covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Others {
    Deny,
    Pass,
}

impl From<Others> for Unmatched {
    fn from(others: Others) -> Self {
        match others {
            Others::Deny => Self::Deny,
            Others::Pass => Self::Pass,
        }
    }
}

/// A variable that gets an upstream's base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Base {
    pub(super) variable: String,
    pub(super) upstream: String,
}

impl Base {
    fn parse(text: &str) -> Result<Self, String> {
        let (variable, upstream) = text.split_once('=').ok_or("write VAR=UPSTREAM")?;
        if !is_variable_name(variable) {
            return Err(format!("{variable:?} is no name of a variable: write letters, digits and _"));
        }
        if upstream.is_empty() {
            return Err("write the name of an upstream behind the =".to_owned());
        }
        Ok(Self { variable: variable.to_owned(), upstream: upstream.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_variable_and_an_upstream() {
        let base = |variable: &str, upstream: &str| Base { variable: variable.into(), upstream: upstream.into() };
        assert_eq!(Base::parse("ORDERS_URL=orders"), Ok(base("ORDERS_URL", "orders")));
        assert_eq!(Base::parse("_x1=a=b"), Ok(base("_x1", "a=b")), "an upstream may be called anything");
        for wrong in ["orders", "=orders", "1X=orders", "A-B=orders", "A B=x", "URL="] {
            assert!(Base::parse(wrong).is_err(), "{wrong}");
        }
    }
}
