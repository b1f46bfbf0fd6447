//! What flags of `attache init` answer.

use std::path::PathBuf;

use clap::Args;

use super::interview::name;
use super::secret_place::{is_credential, is_file, is_set, is_variable};
use crate::cli::output::Failure;
use crate::config::{ConfigErrors, Draft, SecretPlace};

/// What flags answer.
#[derive(Debug, Args)]
pub(super) struct Told {
    /// Where tokens are issued.
    #[arg(long, value_name = "URL", conflicts_with_all = ["preset", "issuer"])]
    token_endpoint: Option<String>,
    /// The authorization server, to have its token endpoint looked up.
    #[arg(long, value_name = "URL", conflicts_with = "preset")]
    issuer: Option<String>,
    /// A value that the preset needs, such as domain=your-org.okta.com; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", requires = "preset", value_parser = preset_key)]
    preset_key: Vec<(&'static str, String)>,
    /// The id under which the authorization server knows this client.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The environment variable that holds the client's secret.
    #[arg(long, value_name = "VAR", conflicts_with = "client_secret_file")]
    client_secret_env: Option<String>,
    /// The file that holds the client's secret; with --preset google, the key file.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// The name of the client's secret among the credentials that a systemd unit loads (its `LoadCredential=`).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["client_secret_env", "client_secret_file"])]
    client_secret_credential: Option<String>,
    /// A scope; may be given several times.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Which API the token is for, if the server has to be told.
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// The API: scheme, host and port.
    #[arg(long, value_name = "ORIGIN")]
    upstream: Option<String>,
    /// Where programs with HTTP_PROXY connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The name of credential and upstream. Default: by the upstream.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
}

/// The keys that belong to one preset or another.
const PRESET_KEYS: [&str; 5] = ["domain", "tenant", "realm", "authorization_server", "environment"];

fn preset_key(text: &str) -> Result<(&'static str, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let known = PRESET_KEYS.into_iter().find(|known| *known == key);
    let key = known.ok_or_else(|| format!("the keys are {}", PRESET_KEYS.join(", ")))?;
    Ok((key, value.to_owned()))
}

impl Told {
    pub(super) fn says_something(&self) -> bool {
        let texts = [&self.token_endpoint, &self.issuer, &self.client_id, &self.client_secret_env, &self.audience];
        let more = [&self.upstream, &self.listen, &self.name, &self.client_secret_credential];
        texts.iter().chain(&more).any(|text| text.is_some())
            || self.client_secret_file.is_some()
            || !self.scope.is_empty()
            || !self.preset_key.is_empty()
    }

    /// Answers what the flags say.
    ///
    /// # Errors
    /// When one of them holds what may be a secret, or `check` would refuse it.
    pub(super) fn answer(&self, draft: &mut Draft) -> Result<(), Failure> {
        let keys = [
            ("token_endpoint", &self.token_endpoint),
            ("issuer", &self.issuer),
            ("client_id", &self.client_id),
            ("audience", &self.audience),
        ];
        for (key, value) in &self.preset_key {
            draft.answer("credentials", key, value);
        }
        if !self.scope.is_empty() {
            draft.answer("credentials", "scope", &self.scope.join(" "));
        }
        for (key, value) in keys {
            if let Some(value) = value {
                draft.answer("credentials", key, value);
            }
        }
        if let Some(origin) = &self.upstream {
            draft.answer("upstreams", "origin", origin);
            draft.answer_name(&draft.name());
        }
        if let Some(name) = &self.name {
            draft.answer_name(name);
        }
        if let Some(address) = &self.listen {
            draft.answer_address(address);
        }
        if let Some(place) = self.secret()? {
            draft.answer_secret(&place);
        }
        draft.check().map_err(|errors| Failure::Config(in_flags(errors)))
    }

    /// What a person should look at once the file is written. The name is not repeated: a short secret looks like one.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        self.client_secret_env.as_ref().filter(|name| !is_set(name)).map(|_| {
            "no variable of the name that --client-secret-env was given is set here. If that was the secret itself, it stands in the \
             file now: delete the file, and give the name of a variable"
        })
    }

    /// The values are not repeated: they may be secrets.
    fn secret(&self) -> Result<Option<SecretPlace>, Failure> {
        if let Some(name) = &self.client_secret_credential {
            return if is_credential(name) {
                Ok(Some(SecretPlace::Credential(name.clone())))
            } else {
                Err(Failure::usage(
                    "--client-secret-credential takes the name that LoadCredential= of a unit gives the secret, of letters, digits, \
                     _ and -, such as orders; if that is the secret itself, it does not belong here",
                ))
            };
        }
        match (&self.client_secret_env, &self.client_secret_file) {
            (Some(name), _) if is_variable(name) => Ok(Some(SecretPlace::Env(name.clone()))),
            (Some(_), _) => Err(Failure::usage(
                "--client-secret-env takes the name of a variable, and what it was given is none; if that is the secret itself, \
                 it does not belong here: put it into a variable, and give its name",
            )),
            (None, Some(path)) if is_file(path) => Ok(Some(SecretPlace::File(path.clone()))),
            (None, Some(_)) => Err(Failure::usage(
                "--client-secret-file takes the name of a file, and there is none of that name; if that is the secret itself, it \
                 does not belong here: put it into a file, and give its path (./NAME for one that will be there later)",
            )),
            (None, None) => Ok(None),
        }
    }
}

/// Says problems in the words of the command line.
fn in_flags(mut errors: ConfigErrors) -> ConfigErrors {
    "the command line".clone_into(&mut errors.source);
    for key in errors.problems.iter_mut().filter_map(|problem| problem.key.as_mut()) {
        *key = match key.as_str() {
            "origin" => "--upstream".to_owned(),
            "address" => "--listen".to_owned(),
            key if PRESET_KEYS.contains(&key) => format!("--preset-key {key}"),
            key => format!("--{}", key.replace('_', "-")),
        };
    }
    errors
}
