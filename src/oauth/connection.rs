//! Connections to an authorization server: made as those to upstreams are, directly or through an onward proxy, and kept for a
//! moment. What goes over them is `endpoint`'s.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use super::settings::shown;
use crate::dial::{AddressPolicy, DialError, Host, Onward, OwnAddresses, Target, Transport, dial, without_brackets};

/// Token requests are minutes apart: a connection kept for long is one that the other side has closed.
const IDLE: Duration = Duration::from_secs(20);

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The ways to one authorization server, and the connection that was used last.
pub(super) struct Connections {
    tls: TlsConnector,
    onward: Option<Onward>,
    own: OwnAddresses,
    kept: Arc<Mutex<Option<Connection>>>,
}

/// A request, which may have to be said twice: a kept connection may turn out to have ended.
pub(super) struct Outgoing<'r> {
    pub(super) method: Method,
    pub(super) url: &'r Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer, read up to a bound.
pub(super) struct Received {
    pub(super) head: response::Parts,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// There was no more of it.
    pub(super) whole: bool,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The server itself could not be reached.
    Dial(DialError),
    /// The onward proxy could not be reached, or did not let us through.
    Onward(DialError),
    /// No handshake.
    Tls(io::Error),
    /// The connection broke, or what came over it is no HTTP.
    Http(hyper::Error),
    /// The request cannot be said.
    Request,
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

/// One open connection.
struct Connection {
    to: String,
    sender: Sender,
    /// The connection ends with the last who has it.
    driver: Arc<Driver>,
    used_at: Instant,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// The task that moves a connection's bytes.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of a request on a connection.
enum Said {
    Answered(Response<Incoming>),
    /// Not a byte of it was sent: the connection had ended.
    Unsent,
    Failed(Failure),
}

impl Connections {
    pub(super) fn new(tls: rustls::ClientConfig, onward: Option<Onward>) -> Self {
        let (own, kept) = (OwnAddresses::default(), Arc::default());
        Self { tls: TlsConnector::from(Arc::new(tls)), onward, own, kept }
    }

    /// The onward proxy that is gone through, as `host:port`, for people.
    pub(super) fn onward(&self) -> Option<String> {
        self.onward.as_ref().map(Onward::name)
    }

    /// Sends a request and reads its answer, up to `most` bytes of its body.
    ///
    /// # Errors
    /// When there is no whole head, or a body that breaks off.
    pub(super) async fn exchange(&self, request: &Outgoing<'_>, most: usize) -> Result<Received, Failure> {
        let to = format!("{}://{}", request.url.scheme(), shown(request.url));
        if let Some(mut kept) = self.take(&to) {
            match kept.say(request).await {
                Said::Answered(answer) => return self.read(kept, answer, most).await,
                Said::Failed(failure) => return Err(failure),
                Said::Unsent => {}
            }
        }
        let mut connection = self.open(to, request.url).await?;
        match connection.say(request).await {
            Said::Answered(answer) => self.read(connection, answer, most).await,
            Said::Failed(failure) => Err(failure),
            Said::Unsent => Err(Failure::Tls(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn read(&self, connection: Connection, answer: Response<Incoming>, most: usize) -> Result<Received, Failure> {
        let (head, mut incoming) = answer.into_parts();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if body.len() + data.len() > most {
                // The rest is not waited for, so the connection is of no more use.
                return Ok(Received { head, body, whole: false });
            }
            body.extend_from_slice(&data);
        }
        self.keep(connection);
        Ok(Received { head, body, whole: true })
    }

    async fn open(&self, to: String, url: &Url) -> Result<Connection, Failure> {
        let host = url.host_str().and_then(|host| Host::parse(host).ok()).ok_or(Failure::Request)?;
        let port = url.port_or_known_default().ok_or(Failure::Request)?;
        let transport = match self.onward.as_ref().filter(|onward| onward.covers(&host, port)) {
            Some(onward) => {
                let target = Target { host: &host, port, by_caller: false };
                onward.reach(&target, &AddressPolicy::Any, &self.own).await.map_err(Failure::Onward)?
            }
            None => {
                let dialled = dial(without_brackets(host.as_str()), port, &AddressPolicy::Any, &self.own).await;
                Transport::Tcp(dialled.map_err(Failure::Dial)?)
            }
        };
        if url.scheme() != "https" {
            return Connection::http1(to, transport).await;
        }
        let name = ServerName::try_from(without_brackets(host.as_str()).to_owned());
        let name = name.map_err(|_no_name| Failure::Request)?;
        let stream = self.tls.connect(name, transport).await.map_err(Failure::Tls)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Connection::http2(to, stream).await
        } else {
            Connection::http1(to, stream).await
        }
    }

    /// The kept connection, if it leads there and can be used. One of HTTP/2 stays, for others too.
    fn take(&self, to: &str) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = kept.take().filter(|kept| kept.to == to && kept.used_at.elapsed() < IDLE)?;
        *kept = taken.shared();
        Some(taken)
    }

    /// Keeps it for whoever comes next; not for longer than it is of use.
    fn keep(&self, mut connection: Connection) {
        let used_at = Instant::now();
        connection.used_at = used_at;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        let kept = Arc::downgrade(&self.kept);
        // It ends by itself, and at the latest with the runtime.
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            let Some(kept) = kept.upgrade() else { return };
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.as_ref().is_some_and(|kept| kept.used_at == used_at) {
                *kept = None;
            }
        });
    }
}

impl Connection {
    async fn http1(to: String, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let mut builder = http1::Builder::new();
        // `X-XSS-Protection : 1`: RFC 9112 section 5.1 has who passes that on take the space away.
        builder.allow_spaces_after_header_name_in_responses(true).max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self::driven(to, Sender::Http1(sender), connection))
    }

    async fn http2(to: String, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self::driven(to, Sender::Http2(sender), connection))
    }

    /// How the connection ends is told to whoever waits for an answer.
    fn driven(
        to: String,
        sender: Sender,
        connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
    ) -> Self {
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Self { to, sender, driver: Arc::new(driver), used_at: Instant::now() }
    }

    /// Another hold on the same connection, where it takes several requests at once.
    fn shared(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        let (sender, driver) = (Sender::Http2(sender.clone()), Arc::clone(&self.driver));
        Some(Self { to: self.to.clone(), sender, driver, used_at: self.used_at })
    }

    async fn say(&mut self, outgoing: &Outgoing<'_>) -> Said {
        let Some(request) = outgoing.request(matches!(self.sender, Sender::Http2(_))) else {
            return Said::Failed(Failure::Request);
        };
        let answered = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_ended) => return Said::Unsent,
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_ended) => return Said::Unsent,
            },
        };
        match answered {
            Ok(answer) => Said::Answered(answer),
            Err(error) if error.message().is_some() => Said::Unsent,
            Err(error) => Said::Failed(error.into_error().into()),
        }
    }
}

impl Outgoing<'_> {
    /// The request in the form of its version: the authority in `Host`, or in the target (RFC 9113 section 8.3.1).
    fn request(&self, http2: bool) -> Option<Request<Full<Bytes>>> {
        let authority = shown(self.url);
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let target = if http2 { format!("{}://{authority}{path}", self.url.scheme()) } else { path };
        let mut request =
            Request::builder().method(&self.method).uri(target).body(Full::new(self.body.clone())).ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if !http2 {
            headers.insert(header::HOST, HeaderValue::from_str(&authority).ok()?);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_server_as_its_version_has_it() {
        let url = "https://login.test:8443/a/token?x=1".parse().unwrap();
        let outgoing = Outgoing { method: Method::POST, url: &url, headers: HeaderMap::new(), body: Bytes::new() };
        let one = outgoing.request(false).unwrap();
        assert_eq!(one.uri().to_string(), "/a/token?x=1");
        assert_eq!(one.headers()["host"], "login.test:8443");
        let two = outgoing.request(true).unwrap();
        assert_eq!(two.uri().to_string(), "https://login.test:8443/a/token?x=1");
        assert!(two.headers().get("host").is_none());
    }
}
