//! `attache explain`: what would happen to a request, without sending it.

use clap::Args;
use tokio::runtime::Handle;

use super::config_arg::{ConfigArg, load};
use super::output::{self, BOLD, Failure, data};
use crate::app::dry_runtime;
use crate::config::Config;
use crate::proxy::explain;

#[derive(Debug, Args)]
#[command(
    override_usage = "attache explain [OPTIONS] [METHOD] URL",
    after_help = "\
Examples:
  attache explain http://orders.example.com/v1/orders        through a proxy (HTTP_PROXY)
  attache explain CONNECT orders.example.com:443             how https:// arrives with HTTPS_PROXY
  attache explain GET /v1/orders --listener orders           through a base URL
  attache explain GET /v1/orders --caller billing            as one of the listener's callers"
)]
pub(super) struct ExplainArgs {
    /// The method, GET if it is left out; then a URL, a path on a base URL, or HOST:PORT for CONNECT.
    #[arg(num_args = 0..=2, value_name = "[METHOD] URL")]
    request: Vec<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// The listener that is asked; by default the one that does something with the request.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The caller that asks, one of `[callers.NAME]`.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let (method, url) = match args.request.as_slice() {
        [word] if is_method(word) => {
            return Err(Failure::usage(format!("a URL is missing after {word}; see --help")));
        }
        [url] => ("GET", url),
        [method, url, ..] => (method.as_str(), url),
        [] => return Err(Failure::usage("name a URL, as in attache explain http://orders.example.com/v1; see --help")),
    };
    let method = http::Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_invalid| Failure::usage(format!("{method:?} is no method")))?;
    let config = load(&args.config)?;
    let runtime = dry_runtime(&config, Handle::current()).map_err(Failure::failed)?;
    let (listener, caller) = (args.listener.as_deref(), args.caller.as_deref());
    let question = explain::Question { listener, caller, method: &method, target: url };
    let answer = explain::answer(&runtime, &question).map_err(Failure::failed)?;
    if args.json {
        return output::json(&answer);
    }
    let none = || "none".to_owned();
    data(format_args!("{BOLD}{:<11}{BOLD:#}{}", "outcome", answer.outcome))?;
    data(format_args!("{:<11}{}", "listener", answer.listener))?;
    data(format_args!("{:<11}{}", "upstream", answer.upstream.unwrap_or_else(none)))?;
    data(format_args!("{:<11}{}", "credential", answer.credential.as_deref().unwrap_or("none")))?;
    if let Some(cache) = answer.credential.and_then(|credential| shared_cache(&config, &credential)) {
        data(format_args!("{:<11}from the shared cache ({cache}), else asked for", "token"))?;
    }
    data(format_args!("{:<11}{}", "sends to", answer.sends_to.unwrap_or_else(|| "nowhere".into())))?;
    data(format_args!("{:<11}{}", "because", answer.reason))
}

/// A word in capitals: no host is asked about in this way.
fn is_method(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Where tokens of this credential are looked for first, without a user and a password.
fn shared_cache(config: &Config, credential: &str) -> Option<String> {
    let settings = config.credentials.iter().find(|settings| settings.name == credential)?;
    let cache = config.cache.as_ref().filter(|_| settings.unshared().is_none())?;
    Some(cache.store.places())
}
