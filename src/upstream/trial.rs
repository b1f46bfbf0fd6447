//! An upstream, tried without a request: dialled, and shaken hands with where it has TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::live::{Offer, Upstream};
use crate::dial::{DialError, Origin};
use crate::tls::{Keys, refused_identity};

/// How long a server may take to say that it wants another client certificate. One that speaks HTTP/2 says something at once.
const LAST_WORD: Duration = Duration::from_millis(300);

/// What a connection showed on which no request was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// The address at the other end: the origin's, or the parent proxy's.
    pub(crate) address: Option<SocketAddr>,
    /// `1.2` or `1.3`; `None` in clear.
    pub(crate) tls: Option<&'static str>,
    pub(crate) http2: bool,
}

impl Upstream {
    /// Dials the origin, and shakes hands if it has TLS, as for a request.
    ///
    /// # Errors
    /// As for any exchange, up to the handshake.
    pub(crate) async fn try_out(&self, origin: &Origin) -> Result<Reached, ExchangeError> {
        let transport = self.dial(origin).await?;
        let address = transport.peer_addr();
        let Some(tls) = self.tls(Offer::Any) else {
            // What is spoken there only a request would show: a handshake is nothing that an origin in clear expects.
            return Ok(Reached { address, tls: None, http2: false });
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
        Ok(Reached { address, tls: Some(tls), http2 })
    }
}
