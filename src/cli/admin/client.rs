//! Asks the admin listener of an attache that runs, within a time and a bound: where it is, and with which token.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;

use super::answered::{Answered, TOKEN_VARIABLE};
use super::place::Place;
use super::session::Session;
use crate::cli::config_arg::ConfigArg;
use crate::cli::output::Failure;
use crate::config::{Config, ConfigErrors};
use crate::secret::Secret;

/// From dialling to the last byte. The listener has a thread without heavy work, so a machine that is busy has time enough.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
pub(super) struct AdminArg {
    #[command(flatten)]
    config: ConfigArg,
    /// The admin listener of the running attache, http://HOST:PORT or unix:PATH. Default: [admin] of the configuration.
    /// Its token is read from $ATTACHE_ADMIN_TOKEN, or from where the configuration says.
    #[arg(long, value_name = "URL", env = "ATTACHE_ADMIN")]
    admin: Option<String>,
}

/// Where to ask, and with which token.
pub(super) struct AdminClient {
    place: Place,
    token: Option<Secret>,
}

impl AdminArg {
    /// The client that these arguments mean. The configuration is read for its `[admin]` alone: a person who asks for a status
    /// need not have the secrets of the credentials.
    pub(super) fn client(&self) -> Result<AdminClient, Failure> {
        let given = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.trim().is_empty()).map(Secret::new);
        if let Some(url) = &self.admin {
            // The configuration's token is meant for the configuration's listener, and goes nowhere else.
            return Ok(AdminClient { place: Place::parse(url).map_err(Failure::usage)?, token: given });
        }
        let path = &self.config.find().map_err(|errors| Failure::Config(or_named(errors)))?;
        let admin =
            Config::load_admin(path, given.is_none()).map_err(|errors| Failure::Config(with_variable(errors)))?;
        let Some(admin) = admin else { return Err(no_admin(path)) };
        let token = match (given, &admin.token) {
            (None, Some(source)) => Some(source.read().map_err(Failure::failed)?),
            (given, _) => given,
        };
        Ok(AdminClient { place: Place::of(&admin.address)?, token })
    }
}

/// Without a configuration there is another way to say where to ask.
fn or_named(mut errors: ConfigErrors) -> ConfigErrors {
    for problem in &mut errors.problems {
        problem.remedy = format!("{}; or name an admin listener with --admin", problem.remedy);
    }
    errors
}

/// The service has its token; the person who asks may have it only as a text.
fn with_variable(mut errors: ConfigErrors) -> ConfigErrors {
    for problem in errors.problems.iter_mut().filter(|problem| problem.is_about("admin.token")) {
        problem.remedy = format!("{}; or set {TOKEN_VARIABLE} for this command", problem.remedy);
    }
    errors
}

fn no_admin(path: &Path) -> Failure {
    let path = path.display();
    Failure::failed(format!(
        "{path} has no [admin] listener to ask; add [admin] with address = \"127.0.0.1:8079\", or name one with --admin"
    ))
}

impl AdminClient {
    /// As a person writes it: `http://127.0.0.1:8079` or `unix:/run/attache/admin.sock`.
    pub(super) fn shown(&self) -> String {
        self.place.to_string()
    }

    /// `GET path`. The error is a sentence with the next step.
    pub(super) async fn get(&self, path: &str) -> Result<Answered, String> {
        self.ask(Method::GET, path, REQUEST_TIMEOUT).await
    }

    /// `POST path`, which may take this long.
    pub(super) async fn post(&self, path: &str, limit: Duration) -> Result<Answered, String> {
        self.ask(Method::POST, path, limit).await
    }

    /// The same with a document.
    pub(super) async fn post_json(
        &self,
        path: &str,
        document: &serde_json::Value,
        limit: Duration,
    ) -> Result<Answered, String> {
        let body = Bytes::from(document.to_string());
        let asked =
            async { Session::open(&self.place, self.token.as_ref()).await?.send(Method::POST, path, body).await };
        self.in_time(limit, asked).await
    }

    async fn ask(&self, method: Method, path: &str, limit: Duration) -> Result<Answered, String> {
        let asked = async { Session::open(&self.place, self.token.as_ref()).await?.ask(method, path).await };
        self.in_time(limit, asked).await
    }

    /// A connection for several questions, all to the same process.
    pub(super) async fn open(&self) -> Result<Session, String> {
        self.in_time(REQUEST_TIMEOUT, Session::open(&self.place, self.token.as_ref())).await
    }

    async fn in_time<T>(&self, limit: Duration, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let asked = tokio::time::timeout(limit, asked).await;
        asked.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", limit.as_secs()))).map_err(|error| {
            format!("{} does not answer: {error}; is attache running there, with this [admin] address?", self.shown())
        })
    }
}
