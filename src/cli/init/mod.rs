//! `attache init`: a commented configuration to begin with. At a terminal it asks; flags answer beforehand; without either
//! it writes the starter.

mod interview;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use interview::{interview, name};

use crate::cli::config_arg::ConfigArg;
use crate::cli::output::{Failure, talk};
use crate::config::{Draft, PROVIDERS, Provider, SecretPlace};

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

/// What flags answer.
#[derive(Debug, Args)]
struct Told {
    /// Where tokens are issued.
    #[arg(long, value_name = "URL", conflicts_with_all = ["preset", "issuer"])]
    token_endpoint: Option<String>,
    /// The authorization server, to have its token endpoint looked up.
    #[arg(long, value_name = "URL", conflicts_with = "preset")]
    issuer: Option<String>,
    /// A value that the preset needs, such as domain=your-org.okta.com; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", requires = "preset", value_parser = preset_key)]
    preset_key: Vec<(&'static str, String)>,
    /// Who asks for tokens.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The environment variable that holds the client's secret.
    #[arg(long, value_name = "VAR", conflicts_with = "client_secret_file")]
    client_secret_env: Option<String>,
    /// The file that holds the client's secret; with --preset google, the key file.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// A scope; may be given several times.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// The audience.
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// Where requests go: scheme, host and port.
    #[arg(long, value_name = "ORIGIN")]
    upstream: Option<String>,
    /// Where programs with HTTP_PROXY connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The name of credential and upstream. Default: by the upstream.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
}

fn provider(name: &str) -> Result<Provider, String> {
    let known = PROVIDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = PROVIDERS.iter().find(|(word, _)| *word == name).map(|(_, provider)| *provider);
    found.ok_or_else(|| format!("the presets are {known}"))
}

fn preset_key(text: &str) -> Result<(&'static str, String), String> {
    const KEYS: [&str; 5] = ["domain", "tenant", "realm", "authorization_server", "environment"];
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let key =
        KEYS.into_iter().find(|known| *known == key).ok_or_else(|| format!("the keys are {}", KEYS.join(", ")))?;
    Ok((key, value.to_owned()))
}

/// Nothing is overwritten: the file is made or the command fails.
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let path = &args.config.config;
    // Said before anybody has answered anything.
    if path.exists() {
        return Err(there_already(path));
    }
    let asks = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !args.told.says_something();
    let draft = if asks {
        interview(args.preset, &mut std::io::stdin().lock())?
    } else {
        let mut draft = Draft::new(args.preset);
        args.told.answer(&mut draft);
        draft.check().map_err(Failure::Config)?;
        draft
    };
    write(path, &draft.text())?;
    let next = if draft.questions().is_empty() { "Now" } else { "Change the values marked with <--, then" };
    talk(format_args!("{} is written. {next}: attache check", path.display()))
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

impl Told {
    fn says_something(&self) -> bool {
        let texts = [&self.token_endpoint, &self.issuer, &self.client_id, &self.client_secret_env, &self.audience];
        let more = [&self.upstream, &self.listen, &self.name];
        texts.iter().chain(&more).any(|text| text.is_some())
            || self.client_secret_file.is_some()
            || !self.scope.is_empty()
            || !self.preset_key.is_empty()
    }

    fn answer(&self, draft: &mut Draft) {
        let keys = [
            ("token_endpoint", &self.token_endpoint),
            ("issuer", &self.issuer),
            ("client_id", &self.client_id),
            ("audience", &self.audience),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                draft.answer("credentials", key, value);
            }
        }
        for (key, value) in &self.preset_key {
            draft.answer("credentials", key, value);
        }
        if !self.scope.is_empty() {
            draft.answer("credentials", "scope", &self.scope.join(" "));
        }
        if let Some(origin) = &self.upstream {
            draft.answer("upstreams", "origin", origin);
            draft.answer_name(&draft.name_by_origin());
        }
        if let Some(name) = &self.name {
            draft.answer_name(name);
        }
        if let Some(address) = &self.listen {
            draft.answer_address(address);
        }
        match (&self.client_secret_env, &self.client_secret_file) {
            (Some(name), _) => draft.answer_secret(&SecretPlace::Env(name.clone())),
            (None, Some(path)) => draft.answer_secret(&SecretPlace::File(path.clone())),
            (None, None) => {}
        }
    }
}
