//! Which upstreams a command gets to know.

use std::collections::{BTreeSet, HashMap};

use crate::cli::output::Failure;
use crate::config::{Config, ConfigErrors, Problem, UpstreamConfig};
use crate::proxy::ListenerMode;

/// The upstreams that the listeners of a configuration know.
pub(in crate::cli) fn known(config: &Config) -> impl Iterator<Item = &UpstreamConfig> {
    let names = config.listeners.iter().flat_map(|listener| match &listener.mode {
        ListenerMode::Forward { upstreams }
        | ListenerMode::Socks5 { upstreams }
        | ListenerMode::Reverse { upstreams, .. } => upstreams.as_slice(),
        ListenerMode::Token { .. } => &[],
    });
    let names: BTreeSet<&String> = names.collect();
    config.upstreams.iter().filter(move |upstream| names.contains(&upstream.connection.name))
}

/// Those of one listener, by its name.
pub(super) fn upstreams_of(config: &Config, name: &str) -> Result<Vec<String>, Failure> {
    let names = || config.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    let listener = config.listeners.iter().find(|listener| listener.name == name);
    match listener.map(|listener| &listener.mode) {
        Some(
            ListenerMode::Forward { upstreams }
            | ListenerMode::Socks5 { upstreams }
            | ListenerMode::Reverse { upstreams, .. },
        ) => Ok(upstreams.clone()),
        Some(ListenerMode::Token { .. }) => Err(Failure::usage(format!(
            "listener {name:?} is a token endpoint and knows no upstreams; there are: {}",
            names()
        ))),
        None => {
            Err(Failure::usage(format!("there is no listener {name:?} in {}; there are: {}", config.source, names())))
        }
    }
}

/// The command is one caller, so two upstreams of one origin are told apart by their `paths` alone.
pub(super) fn distinct(config: &Config) -> Result<(), Failure> {
    let mut seen: HashMap<(String, Option<String>), &str> = HashMap::new();
    for upstream in known(config) {
        let (origin, name) = (upstream.connection.origin.to_string(), upstream.connection.name.as_str());
        let mut paths: Vec<Option<String>> = upstream.route.paths.iter().map(|path| Some(path.to_string())).collect();
        if paths.is_empty() {
            paths.push(None);
        }
        for path in paths {
            let Some(earlier) = seen.insert((origin.clone(), path), name).filter(|earlier| *earlier != name) else {
                continue;
            };
            let what = format!(
                "the upstreams {earlier:?} and {name:?} have the same origin, {origin}, and no `paths` tell them apart"
            );
            let remedy =
                "name a listener that knows one of them: --listener NAME (`callers` do not count here: the command is \
                          not asked who it is)"
                    .to_owned();
            let problems = vec![Problem::new(what, remedy)];
            return Err(Failure::Config(ConfigErrors { source: config.source.clone(), problems }));
        }
    }
    Ok(())
}
