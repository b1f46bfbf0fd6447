//! An upstream, tried without a request: dialled, and shaken hands with where it has TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::live::{Offer, Upstream};
use crate::dial::{DialError, Origin, Transport};
use crate::tls::{Keys, refused_identity};

/// How long a server may take to say that it wants another client certificate. One that speaks HTTP/2 says something at once.
const LAST_WORD: Duration = Duration::from_millis(300);

/// What a connection showed on which no request was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// `1.2` or `1.3`; `None` in clear.
    pub(crate) tls: Option<&'static str>,
    pub(crate) http2: bool,
}

impl Upstream {
    /// Dials the origin, and shakes hands if it has TLS, as for a request. The address is that of the other end, the origin's or the
    /// parent proxy's; where nothing is connected, the only one that there was to dial.
    pub(crate) async fn try_out(&self, origin: &Origin) -> (Option<SocketAddr>, Result<Reached, ExchangeError>) {
        match self.dial(origin).await {
            Ok(transport) => (transport.peer_addr(), self.shake_hands(origin, transport).await),
            Err(error) => (self.only_address(origin), Err(error)),
        }
    }

    fn only_address(&self, origin: &Origin) -> Option<SocketAddr> {
        let (host, port) = match &self.settings.connect {
            Some(connect) => (&connect.host, connect.port),
            None => (&origin.host, origin.port),
        };
        let ip = host.ip().filter(|_| self.parent_proxy_for(origin).is_none())?;
        Some(SocketAddr::new(ip, port))
    }

    async fn shake_hands(&self, origin: &Origin, transport: Transport) -> Result<Reached, ExchangeError> {
        let Some(tls) = self.tls(Offer::Any) else {
            // What is spoken there only a request would show: a handshake is nothing that an origin in clear expects.
            return Ok(Reached { tls: None, http2: false });
        };
        // Apart from the dial: one that is accepted and then not answered mostly reached a server without TLS.
        let handshake = TlsConnector::from(Arc::clone(tls)).connect(self.server_name(origin)?, transport);
        let limit = self.settings.timeouts.connect;
        let mut secured = match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(secured)) => secured,
            Ok(Err(error)) => return Err(DialError::of_handshake(&error, &Keys::UPSTREAM).into()),
            Err(_elapsed) => {
                let within = humantime::format_duration(limit);
                let detail = format!(
                    "what answers there takes the connection and no TLS handshake within {within}; check the scheme and the port in origin"
                );
                return Err(ExchangeError::new(ExchangeErrorKind::TlsProtocolError, detail));
            }
        };
        let session = secured.get_ref().1;
        let version = session.protocol_version();
        let http2 = session.alpn_protocol() == Some(b"h2");
        // In TLS 1.3 the client's handshake is over before its certificate has been looked at.
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORD, secured.read_u8()).await
            && let Some(detail) = refused_identity(&error, &Keys::UPSTREAM)
        {
            return Err(ExchangeError::new(ExchangeErrorKind::TlsAlertReceived, detail));
        }
        let tls = if version == Some(ProtocolVersion::TLSv1_2) { "1.2" } else { "1.3" };
        Ok(Reached { tls: Some(tls), http2 })
    }
}
