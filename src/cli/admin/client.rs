//! Asks the admin listener of an attache that runs: one request over TCP or a unix socket, within a time and a bound.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::admin::{Problem, ProblemType};
use crate::cli::config_arg::ConfigArg;
use crate::cli::output::Failure;
use crate::config::{Config, ConfigErrors};
use crate::listen::ListenAddress;
use crate::secret::Secret;

/// The variable that holds the admin token, where the configuration does not name one that can be read here.
const TOKEN_VARIABLE: &str = "ATTACHE_ADMIN_TOKEN";

/// From dialling to the last byte. The listener has a thread without heavy work, so a machine that is busy has time enough.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A status report of thousands of credentials is smaller.
const MAX_BYTES: usize = 8 * 1024 * 1024;

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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// `host:port`, resolved when it is dialled.
    Tcp(String),
    Unix(PathBuf),
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
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
        let path = &self.config.config;
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

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "write --admin http://127.0.0.1:8079 or --admin unix:/run/attache/admin.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(format!("--admin has no path; {REMEDY}"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if text.starts_with("https://") {
            return Err(format!("the admin listener speaks plain http; {REMEDY}"));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed = authority.parse::<http::uri::Authority>().ok().filter(|parsed| !parsed.host().is_empty());
        match parsed.filter(|parsed| !authority.contains('@') && parsed.port().is_some()) {
            Some(_) => Ok(Self::Tcp(authority.to_owned())),
            None => Err(format!("--admin is neither a host with a port nor a socket; {REMEDY}")),
        }
    }

    /// Where a listener of this machine can be reached: one on every address, on loopback.
    fn of(address: &ListenAddress) -> Result<Self, Failure> {
        match address {
            ListenAddress::Unix(path) => Ok(Self::Unix(path.clone())),
            ListenAddress::Tcp(address) if address.port() == 0 => Err(Failure::failed(
                "[admin] has port 0, so only its start line says where it is; name that with --admin http://HOST:PORT",
            )),
            ListenAddress::Tcp(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                    ip => ip,
                };
                Ok(Self::Tcp(SocketAddr::new(ip, address.port()).to_string()))
            }
        }
    }
}

impl AdminClient {
    /// As a person writes it: `http://127.0.0.1:8079` or `unix:/run/attache/admin.sock`.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Tcp(authority) => format!("http://{authority}"),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// `GET path`. The error is a sentence with the next step.
    pub(super) async fn get(&self, path: &str) -> Result<Answered, String> {
        let asked = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(path)).await;
        asked.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))).map_err(
            |error| {
                format!(
                    "{} does not answer: {error}; is attache running there, with this [admin] address?",
                    self.shown()
                )
            },
        )
    }

    async fn exchange(&self, path: &str) -> Result<Answered, String> {
        match &self.place {
            Place::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
                self.converse(stream, authority, path).await
            }
            #[cfg(unix)]
            Place::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                self.converse(stream, "localhost", path).await
            }
            #[cfg(not(unix))]
            Place::Unix(_) => Err("this system has no unix sockets".to_owned()),
        }
    }

    async fn converse<S>(&self, stream: S, host: &str, path: &str) -> Result<Answered, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let told = |error: hyper::Error| format!("it breaks off: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
        let mut request = Request::get(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            let value = http::HeaderValue::try_from(format!("Bearer {}", token.expose().trim()));
            let mut value =
                value.map_err(|_invalid| "the admin token has a character that no header can carry".to_owned())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(told)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok(Answered { status: head.status, body: body.to_bytes() })
        };
        // The connection moves nothing by itself; it is dropped with this future, at the deadline too.
        tokio::pin!(exchange);
        tokio::pin!(connection);
        tokio::select! {
            biased;
            answered = &mut exchange => answered,
            ended = &mut connection => match ended {
                // What has been read before the end can still be taken.
                Ok(()) => exchange.await,
                Err(error) => Err(told(error)),
            },
        }
    }
}

impl Answered {
    /// The document of a 200, else a sentence.
    pub(super) fn document(&self, asked: &str) -> Result<serde_json::Value, String> {
        if self.status == StatusCode::OK {
            return self.json().ok_or_else(|| format!("{asked} answers something that is no JSON; is that attache?"));
        }
        Err(self.refusal(asked))
    }

    /// Why the admin API refused.
    pub(super) fn refusal(&self, asked: &str) -> String {
        let status = self.status.as_u16();
        let Some(Problem { kind, detail, .. }) = self.json() else {
            return format!("{asked} answers {status}: it gives no reason");
        };
        match kind {
            ProblemType::TokenRequired => format!("{asked} answers {status}: {detail}; set {TOKEN_VARIABLE}"),
            ProblemType::Blank => format!("{asked} answers {status}: {detail}"),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_listener_is_named_as_its_address_or_its_socket() {
        let tcp = |text: &str| Ok(Place::Tcp(text.to_owned()));
        assert_eq!(Place::parse("http://127.0.0.1:8079/"), tcp("127.0.0.1:8079"));
        assert_eq!(Place::parse("[::1]:8079"), tcp("[::1]:8079"));
        assert_eq!(Place::parse("unix:/run/a.sock"), Ok(Place::Unix("/run/a.sock".into())));
        for wrong in ["https://127.0.0.1:1", "127.0.0.1", "unix:", "", "http://me:x@h:1", "http://h:1/status"] {
            assert!(Place::parse(wrong).unwrap_err().contains("; write --admin http://"), "{wrong}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        let of = |text: &str| Place::of(&ListenAddress::Tcp(text.parse().unwrap()));
        assert_eq!(of("0.0.0.0:8079").unwrap(), Place::Tcp("127.0.0.1:8079".into()));
        assert_eq!(of("[::]:8079").unwrap(), Place::Tcp("[::1]:8079".into()));
        assert_eq!(of("10.0.0.1:8079").unwrap(), Place::Tcp("10.0.0.1:8079".into()));
        assert!(matches!(of("127.0.0.1:0"), Err(Failure::Failed(message)) if message.contains("--admin")));
    }
}
