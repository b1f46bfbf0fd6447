//! Inside of an opened tunnel: TLS ends here under a leaf of the local CA, and the requests go the way of all requests,
//! bound to the authority that the tunnel was opened for.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::lifetime::serve_while_admitted;
use crate::listen::{self, Handler};
use crate::proxy::source::{InTunnel, TunnelSource};
use crate::proxy::state::Proxy;
use crate::runtime::Stranger;
use crate::timer;
use crate::tls::CertificateAuthority;

/// Ends the caller's TLS and serves what is inside. A caller that asks for another name (SNI) than it opened the tunnel to
/// gets an alert.
pub(super) async fn serve<S, H>(
    proxy: &Proxy,
    source: &TunnelSource,
    authority: &CertificateAuthority,
    inside: InTunnel,
    caller: S,
    handler: impl FnOnce(InTunnel) -> Rc<H>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let host = inside.host.clone();
    let config = match authority.server_config(&host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(target: "attache::proxy", %host, %error, "no certificate can be made for an intercepted tunnel");
            return;
        }
    };
    let limit = proxy.serving.limits.header_timeout;
    let stream = match timer::timeout(limit, TlsAcceptor::from(config).accept(caller)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return log_failed_handshake(proxy, source, &host, &error),
        Err(_elapsed) => {
            tracing::debug!(target: "attache::proxy", %host, "a TLS handshake in a tunnel took too long");
            return;
        }
    };
    let handler = handler(inside);
    let connection = Arc::clone(&source.connection);
    let serve = |serving| listen::serve_http(stream, BytesMut::new(), handler, connection, serving);
    serve_while_admitted(proxy, source, serve).await;
}

/// Mostly a caller that does not trust the local CA: it has to be told in the log, since nothing else tells.
fn log_failed_handshake(proxy: &Proxy, source: &TunnelSource, host: &str, error: &io::Error) {
    let Some(suppressed) = proxy.may_log(source.listener, Stranger::Handshake) else {
        tracing::debug!(target: "attache::proxy", %host, %error, "a TLS handshake in a tunnel failed");
        return;
    };
    tracing::info!(
        target: "attache::proxy", %host, suppressed,
        "a caller ended the TLS handshake in its tunnel ({error}); if it does not trust the local CA, `attache ca export` and \
         `attache env` show how it can"
    );
}
