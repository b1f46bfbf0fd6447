//! Connections to an authorization server: made as those to upstreams are, directly or through a parent proxy, and kept for a
//! moment. What goes over them is `endpoint`'s.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header, response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use super::endpoint_url::host_and_port;
use crate::dial::{AddressPolicy, DialError, Host, Names, OwnAddresses, ParentProxy, Target, Transport, dial};
use crate::http2::Http2Fault;
use crate::sync::lock;
use crate::tls::ClientTls;

/// Token requests are minutes apart: a connection kept for long is one that the other side has closed.
const IDLE: Duration = Duration::from_secs(20);

/// A kept connection that has ended, one that wants HTTP/1.1, and one more.
const TURNS: usize = 3;

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The ways to one authorization server, and the connection that was used last.
pub(super) struct Connections {
    tls: ClientTls,
    /// The server has said that it wants no HTTP/2.
    http1_alone: AtomicBool,
    parent_proxy: Option<ParentProxy>,
    own: OwnAddresses,
    /// The host that was dialled last.
    dialled: Mutex<String>,
    shelf: Arc<Mutex<Shelf>>,
}

/// The connection that was used last.
#[derive(Default)]
struct Shelf {
    kept: Option<Connection>,
    /// There is a task that lets go of it in time.
    watched: bool,
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
    /// The parent proxy could not be reached, or refused the tunnel.
    ParentProxy(DialError),
    /// No handshake.
    Tls(io::Error),
    /// The connection broke, or what came over it is no HTTP.
    Http(hyper::Error),
    /// The answer was broken off, though without an error.
    Cut,
    /// The request cannot be said.
    Request,
    /// It was said several times, and each time the server did not take it.
    Unsaid,
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
    /// What it ended of; for the one that opened it.
    fault: Option<oneshot::Receiver<hyper::Error>>,
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
    /// The server has not processed it, so that it may be said again.
    Unsaid(Unsaid),
    Failed(Failure),
}

/// Why the server has not processed a request.
enum Unsaid {
    /// The connection had ended, perhaps of this.
    Ended(Option<hyper::Error>),
    /// The server says so itself (RFC 9113 section 8.7).
    Unprocessed,
    /// It wants the request over HTTP/1.1 (RFC 9113 section 7, `HTTP_1_1_REQUIRED`): for some a client certificate does not
    /// go with HTTP/2.
    OverHttp2,
}

impl Unsaid {
    fn of(error: &hyper::Error) -> Option<Self> {
        match Http2Fault::of_hyper(error) {
            Http2Fault::Unprocessed | Http2Fault::GoingAway => Some(Self::Unprocessed),
            Http2Fault::Http11Required => Some(Self::OverHttp2),
            Http2Fault::Malformed | Http2Fault::Body | Http2Fault::Broken => None,
        }
    }
}

impl Connections {
    pub(super) fn new(tls: ClientTls, parent_proxy: Option<ParentProxy>) -> Self {
        let (own, shelf) = (OwnAddresses::default(), Arc::default());
        let http1_alone = AtomicBool::new(false);
        Self { tls, http1_alone, parent_proxy, own, dialled: Mutex::default(), shelf }
    }

    /// The parent proxy that is gone through, as `host:port`, for people.
    pub(super) fn parent_proxy(&self) -> Option<String> {
        self.parent_proxy.as_ref().map(ParentProxy::name)
    }

    /// The name of the server, if it is being looked up and nothing is known of it yet.
    pub(super) fn unresolved(&self) -> Option<String> {
        let dialled = lock(&self.dialled);
        Names::configured().is_silent(&dialled).then(|| dialled.clone())
    }

    /// Sends a request and reads its answer, up to `most` bytes of its body.
    ///
    /// # Errors
    /// When there is no whole head, or a body that breaks off.
    pub(super) async fn exchange(&self, request: &Outgoing<'_>, most: usize) -> Result<Received, Failure> {
        let to = format!("{}://{}", request.url.scheme(), host_and_port(request.url));
        let mut kept = self.take(&to);
        let mut turns = 0;
        loop {
            let (mut connection, is_new) = match kept.take() {
                Some(kept) => (kept, false),
                None => (self.open(to.clone(), request.url).await?, true),
            };
            turns += 1;
            let unsaid = match connection.say(request).await {
                Said::Answered(answer) => return self.read(connection, answer, most).await,
                Said::Failed(failure) => return Err(failure),
                Said::Unsaid(unsaid) => unsaid,
            };
            self.forget();
            match unsaid {
                Unsaid::OverHttp2 => self.http1_alone.store(true, Ordering::Relaxed),
                Unsaid::Unprocessed => {}
                // A kept one may have been closed for its age; a new one has something to say.
                Unsaid::Ended(Some(error)) if is_new => return Err(error.into()),
                Unsaid::Ended(_) => {}
            }
            if turns == TURNS {
                return Err(Failure::Unsaid);
            }
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
        // hyper takes a stream that was reset with NO_ERROR for one that has ended; over HTTP/1.1 it knows better.
        if head.version == Version::HTTP_2 && !incoming.is_end_stream() {
            return Err(Failure::Cut);
        }
        self.keep(connection);
        Ok(Received { head, body, whole: true })
    }

    async fn open(&self, to: String, url: &Url) -> Result<Connection, Failure> {
        let host = url.host_str().and_then(|host| Host::parse(host).ok()).ok_or(Failure::Request)?;
        let port = url.port_or_known_default().ok_or(Failure::Request)?;
        // Without TLS a secret must not leave this machine, whatever its names resolve to.
        let policy = if url.scheme() == "https" { AddressPolicy::Any } else { AddressPolicy::Loopback };
        let transport = match self.parent_proxy.as_ref().filter(|parent_proxy| parent_proxy.covers(&host, port)) {
            Some(parent_proxy) => {
                let target = Target { host: &host, port, by_caller: false };
                parent_proxy.reach(&target, &policy, &self.own).await.map_err(Failure::ParentProxy)?
            }
            None => {
                host.bare().clone_into(&mut lock(&self.dialled));
                let dialled = dial(&host, port, &policy, &self.own, Names::configured()).await;
                Transport::Plain(dialled.map_err(Failure::Dial)?)
            }
        };
        if url.scheme() != "https" {
            return Connection::http1(to, transport).await;
        }
        let name = ServerName::try_from(host.bare().to_owned());
        let name = name.map_err(|_no_name| Failure::Request)?;
        let tls = if self.http1_alone.load(Ordering::Relaxed) { &self.tls.http1 } else { &self.tls.any };
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, transport).await.map_err(Failure::Tls)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Connection::http2(to, stream).await
        } else {
            Connection::http1(to, stream).await
        }
    }

    /// The kept connection, if it leads there and can be used. One of HTTP/2 stays, for others too.
    fn take(&self, to: &str) -> Option<Connection> {
        let mut shelf = shelf(&self.shelf);
        let taken = shelf.kept.take().filter(|kept| kept.to == to && kept.used_at.elapsed() < IDLE)?;
        shelf.kept = taken.shared();
        Some(taken)
    }

    /// What is kept is of no more use.
    fn forget(&self) {
        shelf(&self.shelf).kept = None;
    }

    /// Keeps it for the next request; not for longer than it is of use.
    fn keep(&self, mut connection: Connection) {
        connection.used_at = Instant::now();
        let mut shelf = shelf(&self.shelf);
        shelf.kept = Some(connection);
        if !std::mem::replace(&mut shelf.watched, true) {
            // It ends with what it watches, and at the latest with the runtime.
            tokio::spawn(let_go(Arc::downgrade(&self.shelf)));
        }
    }
}

/// Lets go of what is kept once nobody has used it for long.
async fn let_go(of: Weak<Mutex<Shelf>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(kept) = of.upgrade() else { return };
        let mut shelf = shelf(&kept);
        let used = shelf.kept.as_ref().is_some_and(|kept| kept.used_at.elapsed() < IDLE);
        if !used {
            *shelf = Shelf::default();
            return;
        }
    }
}

fn shelf(of: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    lock(of)
}

impl Connection {
    async fn http1(to: String, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let mut builder = http1::Builder::new();
        // What an upstream may do too (RFC 9112 sections 5.1 and 5.2): `X-XSS-Protection : 1`, folded lines.
        builder.allow_spaces_after_header_name_in_responses(true);
        builder.allow_obsolete_multiline_headers_in_responses(true).max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self::driven(to, Sender::Http1(sender), connection))
    }

    async fn http2(to: String, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self::driven(to, Sender::Http2(sender), connection))
    }

    /// How the connection ends is told to the task that waits for an answer.
    fn driven(
        to: String,
        sender: Sender,
        connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
    ) -> Self {
        let (ended, fault) = oneshot::channel();
        let driver = Driver(tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Nobody may be asking any more.
                drop(ended.send(error));
            }
        }));
        Self { to, sender, driver: Arc::new(driver), fault: Some(fault), used_at: Instant::now() }
    }

    /// Another hold on the same connection, where it takes several requests at once.
    fn shared(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        let (sender, driver) = (Sender::Http2(sender.clone()), Arc::clone(&self.driver));
        Some(Self { to: self.to.clone(), sender, driver, fault: None, used_at: self.used_at })
    }

    /// Why it has ended, once it has.
    async fn fault(&mut self) -> Option<hyper::Error> {
        self.fault.take()?.await.ok()
    }

    async fn say(&mut self, outgoing: &Outgoing<'_>) -> Said {
        let Some(request) = outgoing.request(matches!(self.sender, Sender::Http2(_))) else {
            return Said::Failed(Failure::Request);
        };
        let answered = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_ended) => return Said::Unsaid(Unsaid::Ended(self.fault().await)),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_ended) => return Said::Unsaid(Unsaid::Ended(self.fault().await)),
            },
        };
        match answered {
            Ok(answer) => Said::Answered(answer),
            Err(error) => match Unsaid::of(error.error()) {
                Some(unsaid) => Said::Unsaid(unsaid),
                None if error.message().is_some() => {
                    // What the connection ended of is told to a request that waits on it, or else to its driver.
                    let error = error.into_error();
                    let cause =
                        if std::error::Error::source(&error).is_some() { Some(error) } else { self.fault().await };
                    Said::Unsaid(Unsaid::Ended(cause))
                }
                None => Said::Failed(error.into_error().into()),
            },
        }
    }
}

impl Outgoing<'_> {
    /// The request in the form of its version: the authority in `Host`, or in the target (RFC 9113 section 8.3.1).
    fn request(&self, http2: bool) -> Option<Request<Full<Bytes>>> {
        let authority = host_and_port(self.url);
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
