//! Parent proxies: the way out of a network that has one.
//!
//! Whatever is spoken at the far end, the proxy is asked for a tunnel (CONNECT, RFC 9110 section 9.3.6) and sees nothing of
//! what goes through it: no token in clear to it, and the certificate that is verified is the origin's own. The proxy looks
//! names up, so that what is known here of an address that the configuration does not name is what its text says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header::PROXY_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::address::{AddressPolicy, OwnAddresses};
use super::error::{DialError, DialErrorKind as Kind};
use super::host::Host;
use super::maybe_tls::Transport;
use super::names::Names;
use super::scheme::Scheme;
use super::tcp::{dial, own_listener, prohibited};
use crate::http_auth::basic_credentials;
use crate::response_head::{self, ResponseHead};
use crate::tls::{Keys, MinVersion, TlsError, broken_reason, client_config, refused_identity};

mod no_proxy;
mod settings;

pub(crate) use no_proxy::NoProxyRule;
pub(crate) use settings::{ParentProxyLogin, ParentProxySettings};

/// The largest answer to CONNECT that is read.
const MAX_HEAD: usize = 16 * 1024;

/// Threads that read the password of one proxy at a time.
const READING: usize = 2;

/// A configured parent proxy, live.
#[derive(Debug)]
pub(crate) struct ParentProxy {
    settings: ParentProxySettings,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Threads that read its password: one that hangs must not take those of others.
    reading: Arc<Semaphore>,
}

/// Where a tunnel is wanted to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The host, which the proxy looks up.
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    /// A caller chose the host, and not the configuration.
    pub(crate) by_caller: bool,
}

impl ParentProxy {
    /// Makes it ready. An `https` proxy is offered HTTP/1.1 alone.
    ///
    /// # Errors
    /// Trust that cannot be loaded.
    pub(crate) fn new(settings: ParentProxySettings) -> Result<Self, TlsError> {
        let tls = match settings.proxy.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let made = client_config(settings.ca_file.as_deref(), &[b"http/1.1"], None, MinVersion::default())?;
                Some(Arc::new(made))
            }
        };
        Ok(Self { settings, tls, reading: Arc::new(Semaphore::new(READING)) })
    }

    /// True if this host and port are reached through the proxy.
    #[must_use]
    pub(crate) fn covers(&self, host: &Host, port: u16) -> bool {
        !self.settings.except.iter().any(|rule| rule.covers(host, port))
    }

    /// `proxy.corp:3128`, for people.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.settings.proxy.host, self.settings.proxy.port)
    }

    /// A tunnel through the proxy. Its time is bounded by the task that waits.
    ///
    /// # Errors
    /// The proxy is unavailable, or what it answered.
    pub(crate) async fn reach(
        &self,
        target: &Target<'_>,
        policy: &AddressPolicy,
        own: &OwnAddresses,
    ) -> Result<Transport, DialError> {
        check_text(target, policy, own)?;
        let stream = self.dial(policy, own).await?;
        if target.by_caller && target.host.ip().is_none() && own.has_port(target.port) && is_local_address(&stream) {
            let (host, port) = (target.host, target.port);
            return Err(self.failed(Kind::ProxyLoopDetected, |proxy| {
                format!("{host}:{port} through {proxy} on this machine could be one of attache's own listeners")
            }));
        }
        let mut transport = self.handshake(stream).await?;
        let request = self.request(target).await?;
        transport.write_all(&request).await.map_err(|error| self.broken(&error))?;
        transport.flush().await.map_err(|error| self.broken(&error))?;
        loop {
            let head = self.read_head(&mut transport).await?;
            match self.judge(&head, target)? {
                // An interim answer (RFC 9110 section 15.2).
                status if status.is_informational() => {}
                _ => return Ok(transport),
            }
        }
    }

    async fn dial(&self, policy: &AddressPolicy, own: &OwnAddresses) -> Result<TcpStream, DialError> {
        let proxy = &self.settings.proxy;
        // What has to stay on this machine may go through a proxy on it, and through no other.
        let policy = match policy {
            AddressPolicy::Loopback => &AddressPolicy::Loopback,
            AddressPolicy::Any | AddressPolicy::PublicAnd(_) => &AddressPolicy::Any,
        };
        dial(&proxy.host, proxy.port, policy, own, Names::configured()).await.map_err(|error| {
            let kind = match error.kind {
                // The name is the proxy's, and none of the origin's.
                Kind::DnsError | Kind::DnsTimeout => Kind::ProxyConfiguration,
                kind => kind,
            };
            let message = format!("the parent proxy: {}", error.caller_message());
            DialError::new(kind, format!("the parent proxy {}: {error}", self.name())).with_caller_message(message)
        })
    }

    async fn handshake(&self, stream: TcpStream) -> Result<Transport, DialError> {
        let Some(tls) = &self.tls else { return Ok(Transport::Plain(stream)) };
        let host = self.settings.proxy.host.bare().to_owned();
        let name = ServerName::try_from(host).map_err(|_invalid| {
            self.failed(Kind::ProxyConfiguration, |proxy| {
                format!("{proxy} has no name that a certificate could be for")
            })
        })?;
        match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
            Err(error) => {
                let error = DialError::of_handshake(&error, &Keys::PARENT_PROXY);
                Err(self.failed(error.kind, |proxy| format!("{proxy}: {error}")))
            }
        }
    }

    async fn request(&self, target: &Target<'_>) -> Result<Zeroizing<Vec<u8>>, DialError> {
        let authority = format!("{}:{}", target.host, target.port);
        let mut request = Zeroizing::new(Vec::with_capacity(512));
        request.extend_from_slice(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").as_bytes());
        if let Some(login) = &self.settings.login {
            let sources = login.password.clone();
            // Files may be on a network that hangs, and a program may take its time.
            let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(|closed| self.no_password(&closed))?;
            let read = tokio::task::spawn_blocking(move || {
                let read = sources.first_readable();
                drop(turn);
                read
            });
            let read = read.await;
            let password = match read {
                Ok(Ok(password)) => password,
                Ok(Err(error)) => return Err(self.no_password(&error)),
                Err(broken) => return Err(self.no_password(&broken)),
            };
            let basic = basic_credentials(&login.username, password.expose());
            request.reserve_exact(basic.len() + 64);
            request.extend_from_slice(b"Proxy-Authorization: Basic ");
            request.extend_from_slice(basic.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Ok(request)
    }

    /// Reads one head and not a byte behind it: a server that speaks first may have spoken already.
    async fn read_head(&self, transport: &mut Transport) -> Result<Vec<u8>, DialError> {
        let mut head = Vec::new();
        let mut arrived = [0; 1024];
        loop {
            let length = transport.peek(&mut arrived).await.map_err(|error| self.broken(&error))?;
            if length == 0 {
                return Err(self.broken(&std::io::ErrorKind::UnexpectedEof.into()));
            }
            let before = head.len();
            head.extend_from_slice(&arrived[..length]);
            // The end may have begun in what came before.
            let from = before.saturating_sub(3);
            let end = head[from..].windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4);
            head.truncate(end.unwrap_or(head.len()));
            let belongs = head.len() - before;
            transport.read_exact(&mut arrived[..belongs]).await.map_err(|error| self.broken(&error))?;
            if end.is_some() {
                return Ok(head);
            }
            if head.len() > MAX_HEAD {
                return Err(self.no_proxy("its answer to CONNECT has more than 16 KiB"));
            }
        }
    }

    /// The status of a tunnel, or of what comes before it; everything else is why there is none.
    fn judge(&self, head: &[u8], target: &Target<'_>) -> Result<StatusCode, DialError> {
        let Ok(Some(ResponseHead { status, headers, .. })) = response_head::parse(head) else {
            return Err(self.no_proxy("its answer to CONNECT is no HTTP; is it an http or an https proxy?"));
        };
        // A switch of protocols is no interim answer, and nobody asked for one.
        if status.is_success() || (status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(status);
        }
        let (kind, advice) = match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => (Kind::ProxyConfiguration, self.advice_on_login(&headers)),
            StatusCode::GATEWAY_TIMEOUT => (Kind::ConnectionTimeout, "it did not reach the host in time".into()),
            _ if status.is_server_error() => (Kind::DestinationUnavailable, "it could not reach the host".into()),
            _ if target.port != 443 => (Kind::ConnectionRefused, "many proxies allow CONNECT to port 443 alone".into()),
            _ => (Kind::ConnectionRefused, "ask who runs it whether it allows that host".into()),
        };
        let (proxy, host, port) = (self.name(), target.host, target.port);
        let detail = format!("the parent proxy {proxy} answered CONNECT {host}:{port} with {status}: {advice}");
        Err(DialError::new(kind, detail)
            .with_caller_message(format!("the parent proxy answered CONNECT with {status}: {advice}")))
    }

    fn advice_on_login(&self, headers: &HeaderMap) -> String {
        let key = self.settings.key;
        let mut challenges = headers.get_all(PROXY_AUTHENTICATE).iter();
        let basic = challenges.any(|line| line.as_bytes().to_ascii_lowercase().windows(5).any(|word| word == b"basic"));
        match (&self.settings.login, basic) {
            (_, false) => {
                "it does not take Basic, which is all that is spoken here; put a helper that speaks its scheme in between".into()
            }
            (None, true) => {
                format!("it wants to know who asks; write {key} = {{ url = …, username = …, password = … }}")
            }
            (Some(_), true) => format!("it did not accept the username and password of {key}"),
        }
    }

    fn broken(&self, error: &std::io::Error) -> DialError {
        let why = refused_identity(error, &Keys::PARENT_PROXY).unwrap_or_else(|| broken_reason(error));
        self.failed(Kind::ConnectionTerminated, |proxy| {
            format!("{proxy} ended the connection before it answered CONNECT: {why}")
        })
    }

    fn no_proxy(&self, what: &str) -> DialError {
        self.failed(Kind::HttpProtocolError, |proxy| format!("{proxy}: {what}"))
    }

    /// An error that names the proxy by its address in the log alone.
    fn failed(&self, kind: Kind, sentence: impl Fn(&str) -> String) -> DialError {
        let named = sentence(&format!("the parent proxy {}", self.name()));
        DialError::new(kind, named).with_caller_message(sentence("the parent proxy"))
    }

    fn no_password(&self, error: &dyn std::error::Error) -> DialError {
        let detail = format!("the password for the parent proxy {} is not available: {error}", self.name());
        DialError::new(Kind::ProxyConfiguration, detail)
            .with_caller_message("the password for the parent proxy is not available")
    }
}

/// What can be told of a target by its text: the proxy is who looks names up.
fn check_text(target: &Target<'_>, policy: &AddressPolicy, own: &OwnAddresses) -> Result<(), DialError> {
    let (host, port) = (target.host, target.port);
    let meant: &[IpAddr] = match host.ip() {
        Some(ip) => &[ip],
        None if host.is_loopback() => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        None => &[],
    };
    if meant.iter().any(|ip| own.contains(SocketAddr::new(*ip, port))) {
        return Err(own_listener(host.as_str(), port));
    }
    if meant.iter().all(|ip| policy.permits(*ip)) { Ok(()) } else { Err(prohibited(host.as_str(), policy)) }
}

/// True if the other end is on this machine too.
fn is_local_address(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => {
            let (local, peer) = (local.ip().to_canonical(), peer.ip().to_canonical());
            peer.is_loopback() || local == peer
        }
        // The connection has ended; writing on it says so.
        _ => false,
    }
}
