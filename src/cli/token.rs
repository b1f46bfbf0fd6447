//! `attache token`: one token request, by the code that the proxy uses.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::config_arg::{ConfigArg, load_without_listeners};
use super::output::{self, Failure, talk};
use crate::app::token_source;
use crate::config::{AdHocRequest, Config, ConfigErrors, SecretPlace};
use crate::credential::{CredentialKind, CredentialSettings, FixedScheme, FixedSettings};
use crate::token::{Ask, Expires, FetchedToken, TokenError, TokenErrorKind, TokenSource as _};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache token orders                                       a credential of the configuration
  attache token                                              the only one
  attache token --token-endpoint https://login.example.com/token --client-id me \\
      --client-secret-env SECRET --scope orders.read         ad hoc

stdout holds the token and nothing else: curl -H \"Authorization: Bearer $(attache token orders)\" …")]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
pub(super) struct TokenArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The credential, by its name in the configuration; may be left out where there is one.
    #[arg(value_name = "NAME", conflicts_with_all = [
        "token_endpoint", "client_id", "client_secret_env", "client_secret_file", "scope", "audience", "resource", "parameter",
        "client_auth", "private_key", "key_id", "ca_file",
    ])]
    name: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Print {"access_token","token_type","expires_in","scope"}, or {"error","error_description","kind"}.
    #[arg(long)]
    json: bool,
}

/// The methods that need no more than a request on the command line can say.
const CLIENT_AUTH: [&str; 5] =
    ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];

/// A token request on the command line.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
pub(super) struct RequestArgs {
    /// Where tokens are issued.
    #[arg(long, value_name = "URL")]
    pub(super) token_endpoint: Option<String>,
    /// Who asks for them.
    #[arg(long, value_name = "ID", requires = "token_endpoint")]
    client_id: Option<String>,
    /// The environment variable that holds the client's secret.
    #[arg(long, value_name = "VAR", requires = "token_endpoint", conflicts_with = "client_secret_file")]
    client_secret_env: Option<String>,
    /// The file that holds the client's secret.
    #[arg(long, value_name = "FILE", requires = "token_endpoint")]
    client_secret_file: Option<PathBuf>,
    /// A scope; may be given several times.
    #[arg(long, value_name = "SCOPE", requires = "token_endpoint")]
    scope: Vec<String>,
    /// The audience.
    #[arg(long, value_name = "URI", requires = "token_endpoint")]
    audience: Option<String>,
    /// A resource (RFC 8707); may be given several times.
    #[arg(long, value_name = "URI", requires = "token_endpoint")]
    resource: Vec<String>,
    /// An extra form field; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", requires = "token_endpoint", value_parser = parameter)]
    parameter: Vec<(String, String)>,
    /// How the client proves itself; by default client_secret_basic.
    #[arg(long, value_name = "METHOD", requires = "token_endpoint", value_parser = CLIENT_AUTH)]
    client_auth: Option<String>,
    /// The file with the key of private_key_jwt: PEM or JWK.
    #[arg(long, value_name = "FILE", requires = "token_endpoint")]
    private_key: Option<PathBuf>,
    /// The key's id at the authorization server.
    #[arg(long, value_name = "ID", requires = "private_key")]
    key_id: Option<String>,
    /// Trusted certificates of the token endpoint, instead of the system's.
    #[arg(long, value_name = "FILE", requires = "token_endpoint")]
    ca_file: Option<PathBuf>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl RequestArgs {
    /// The settings, as `config` reads them.
    pub(super) fn into_settings(self) -> Result<AdHocRequest, Failure> {
        let missing = |flag: &str| Failure::usage(format!("{flag} is missing; see --help"));
        let secret = match (self.client_secret_env, self.client_secret_file) {
            (Some(name), _) => Some(SecretPlace::Env(name)),
            (None, Some(path)) => Some(SecretPlace::File(path)),
            (None, None) => None,
        };
        Ok(AdHocRequest {
            token_endpoint: self.token_endpoint.ok_or_else(|| missing("--token-endpoint"))?,
            client_id: self.client_id.ok_or_else(|| missing("--client-id"))?,
            client_secret: secret,
            client_auth: self.client_auth,
            private_key: self.private_key,
            key_id: self.key_id,
            scope: self.scope,
            audience: self.audience,
            resource: self.resource,
            parameters: self.parameter,
            ca_file: self.ca_file,
        })
    }
}

pub(super) async fn token(args: TokenArgs) -> Result<(), Failure> {
    let settings = if args.request.token_endpoint.is_some() {
        match Config::ad_hoc_credential(&args.request.into_settings()?) {
            Ok(settings) => settings,
            Err(errors) => return Err(refuse_ad_hoc(&errors, args.json)?),
        }
    } else {
        match from_file(&args.config, args.name.as_deref()) {
            Ok(settings) => settings,
            Err(failure) => return Err(refuse_settings(failure, args.json)?),
        }
    };
    let oauth = match &settings.kind {
        CredentialKind::OAuth(token) => &token.oauth,
        CredentialKind::Fixed(fixed) => return print_fixed(&settings.name, fixed, args.json),
    };
    let source = token_source(&settings.name, oauth).map_err(Failure::failed)?;
    match source.fetch(Ask::apart()).await {
        Ok(token) => print(&token, args.json),
        Err(error) => Err(refuse(&error, args.json)?),
    }
}

/// A credential that cannot even be asked for is a failure of kind `configuration`, with the exit code of what is wrong.
fn refuse_settings(failure: Failure, as_json: bool) -> Result<Failure, Failure> {
    if !as_json {
        return Ok(failure);
    }
    let (message, reported) = match &failure {
        Failure::Config(errors) => (errors.to_string(), Failure::ConfigTold),
        Failure::Failed(message) => (message.clone(), Failure::Told),
        Failure::Usage(_) | Failure::Command(..) | Failure::Ended(_) | Failure::Told | Failure::ConfigTold => {
            return Ok(failure);
        }
    };
    refuse(&TokenError::new(TokenErrorKind::Configuration, message), true)?;
    Ok(reported)
}

/// The credential of this name; without a name, the only one.
fn from_file(config: &ConfigArg, name: Option<&str>) -> Result<CredentialSettings, Failure> {
    const OR: &str = "or give --token-endpoint and --client-id; see --help";
    if name.is_none() && config.names_nothing() {
        return Err(Failure::usage(format!("name a credential of a configuration file, {OR}")));
    }
    let mut config = load_without_listeners(config)?;
    let source = config.source.clone();
    let known = config.credentials.iter().map(|credential| credential.name.clone()).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        return match (config.credentials.pop(), config.credentials.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Failure::usage(format!("{source} has no credential; add one, {OR}"))),
            (Some(_), false) => Err(Failure::usage(format!("name one of the credentials {known}, {OR}"))),
        };
    };
    config
        .credentials
        .into_iter()
        .find(|credential| credential.name == name)
        .ok_or_else(|| Failure::failed(format!("there is no credential {name:?} in {source}; there are: {known}")))
}

fn print(token: &FetchedToken, as_json: bool) -> Result<(), Failure> {
    let access_token = token.access_token.expose();
    if !as_json {
        return output::data(format_args!("{access_token}"));
    }
    output::json(&json!({
        "access_token": access_token,
        "token_type": token.token_type.as_str(),
        "expires_in": expires_in(token.expires),
        "scope": token.scope,
    }))
}

/// A token that is there already is printed as one that was asked for would be; a password and an API key are no tokens.
fn print_fixed(name: &str, fixed: &FixedSettings, as_json: bool) -> Result<(), Failure> {
    let FixedScheme::Bearer(_) = &fixed.scheme else {
        let kind = fixed.scheme.kind();
        let message =
            format!("credential {name:?} has no token request: it is kind = {kind:?}, put on requests as it is");
        return Err(refuse(&TokenError::new(TokenErrorKind::Configuration, message), as_json)?);
    };
    let secret = match fixed.secret.read() {
        Ok(secret) => secret,
        Err(error) => return Err(refuse(&TokenError::new(TokenErrorKind::Configuration, error.to_string()), as_json)?),
    };
    let access_token = secret.expose();
    if as_json {
        return output::json(&json!({
            "access_token": access_token, "token_type": "Bearer", "expires_in": null, "scope": null,
        }));
    }
    talk(format_args!("credential {name:?} has no token request; this is the token that the configuration names"))?;
    output::data(format_args!("{access_token}"))
}

/// Whole seconds from now; nothing where the server did not say.
pub(super) fn expires_in(expires: Expires) -> Option<u64> {
    match expires {
        Expires::In(lifetime) => Some(lifetime.as_secs()),
        Expires::At(at) => Some(at.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs())),
        Expires::Unsaid => None,
    }
}

fn refuse(error: &TokenError, as_json: bool) -> Result<Failure, Failure> {
    if as_json {
        let code = error.code.as_deref().unwrap_or(error.kind.as_str());
        output::json(&json!({ "error": code, "error_description": error.message, "kind": error.kind.as_str() }))?;
        return Ok(Failure::Told);
    }
    Ok(Failure::failed(format!("no token: {}", error.message)))
}

/// Arguments that make no token request are a failure of kind `configuration`, with every problem named.
fn refuse_ad_hoc(errors: &ConfigErrors, as_json: bool) -> Result<Failure, Failure> {
    let problems: Vec<String> = errors.problems.iter().map(ToString::to_string).collect();
    if !as_json {
        for problem in &problems {
            talk(format_args!("error: {problem}"))?;
        }
        return Ok(Failure::Told);
    }
    refuse(&TokenError::new(TokenErrorKind::Configuration, problems.join(". ")), true)
}
