//! From an address to bytes: TCP or a Unix socket, TLS on it, and nothing of what is spoken.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::bounded::Duplex;
use super::failure::DialFailure;
use crate::dial::{AddressPolicy, DialError, Host, Names, OwnAddresses, dial};
use crate::store::settings::StoreAddress;
use crate::tls::Keys;

/// A silent connection is asked for a sign of life after this, then so often, and given up after three.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// What is sent and not acknowledged for so long breaks the connection (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A server, and the name that its certificate has to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Node {
    pub(in crate::store) address: StoreAddress,
    /// Where that is not the host of the address.
    pub(in crate::store) certificate_name: Option<String>,
}

/// How connections are made, to whichever server.
pub(in crate::store) struct Ways {
    pub(in crate::store) tls: Option<Arc<rustls::ClientConfig>>,
    /// None of attache's own listeners speaks this protocol; what is dialled by mistake says so itself.
    own: OwnAddresses,
}

impl Ways {
    /// Without TLS, until there is a configuration of it.
    pub(in crate::store) fn new() -> Self {
        Self { tls: None, own: OwnAddresses::default() }
    }

    /// Connects. How long that may take is the caller's business.
    pub(in crate::store) async fn connect(&self, node: &Node) -> Result<Box<dyn Duplex>, DialFailure> {
        match &node.address {
            StoreAddress::Tcp { host, port } => self.connect_tcp(host, *port, node.certificate_name.as_deref()).await,
            StoreAddress::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => {
                    Err(DialFailure::Socket { address: path.display().to_string(), reason: error.to_string() })
                }
            },
        }
    }

    async fn connect_tcp(
        &self,
        host: &str,
        port: u16,
        certificate_name: Option<&str>,
    ) -> Result<Box<dyn Duplex>, DialFailure> {
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let parsed = Host::parse(&bracketed).map_err(|_invalid| DialFailure::Host(host.to_owned()))?;
        let stream = dial(&parsed, port, &AddressPolicy::Any, &self.own, Names::configured()).await;
        let stream = stream.map_err(DialFailure::Dial)?;
        watch_over(&stream);
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = certificate_name.unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_invalid| DialFailure::Host(host.to_owned()))?;
        match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let mut error = DialError::of_handshake(&error, &Keys::CACHE);
                error.detail = format!("{host}:{port}: {}", error.detail);
                Err(DialFailure::Dial(error))
            }
        }
    }
}

/// Has the system notice a peer that has gone without a word. Best effort: the time limit of a question notices it too.
fn watch_over(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let _best_effort = socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    let _best_effort = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}
