//! Inside of an opened tunnel: TLS ends here under a leaf of the local CA, and the requests go the way of all requests,
//! bound to the authority that the tunnel was opened for.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::caller::Proven;
use crate::coarse;
use crate::dial::Scheme;
use crate::listen::{self, CallerConnection, Handler, Incoming, Unreadable};
use crate::proxy::response::malformed;
use crate::proxy::{CallerBody, Entrance, Proxy};
use crate::runtime::Stranger;
use crate::tls::CertificateAuthority;

/// What a tunnel was opened for: where every request inside of it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Inside {
    /// `https` under TLS.
    pub(in crate::proxy) scheme: Scheme,
    /// Canonical.
    pub(in crate::proxy) host: Box<str>,
    pub(in crate::proxy) port: u16,
    /// Who opened it: as long as that is good, nobody is asked again.
    pub(in crate::proxy) opener: Option<Proven>,
}

/// Ends the caller's TLS and serves what is inside. A caller that asks for another name (SNI) than it opened the tunnel to
/// gets an alert.
pub(in crate::proxy) async fn serve<S>(
    proxy: Rc<Proxy>,
    entrance: Entrance,
    authority: Arc<CertificateAuthority>,
    inside: Inside,
    caller: S,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
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
    let stream = match coarse::timeout(limit, TlsAcceptor::from(config).accept(caller)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return handshake_failed(&proxy, &entrance, &host, &error),
        Err(_elapsed) => {
            tracing::debug!(target: "attache::proxy", %host, "a TLS handshake in a tunnel took too long");
            return;
        }
    };
    let handler = handler(&proxy, &entrance, inside);
    let caller = Arc::clone(&entrance.caller);
    let serve = |serving| listen::serve_http(stream, BytesMut::new(), handler, caller, serving);
    proxy.serve_while_admitted(&entrance, serve).await;
}

/// Mostly a caller that does not trust the local CA: it has to be told in the log, since nothing else tells.
fn handshake_failed(proxy: &Proxy, entrance: &Entrance, host: &str, error: &std::io::Error) {
    let Some(suppressed) = proxy.may_say(entrance.listener, Stranger::Handshake) else {
        tracing::debug!(target: "attache::proxy", %host, %error, "a TLS handshake in a tunnel failed");
        return;
    };
    tracing::info!(
        target: "attache::proxy", %host, suppressed,
        "a caller ended the TLS handshake in its tunnel ({error}); if it does not trust the local CA, `attache ca export` and \
         `attache env` show how it can"
    );
}

/// Answers the requests of one opened tunnel.
pub(in crate::proxy) fn handler(proxy: &Rc<Proxy>, entrance: &Entrance, inside: Inside) -> Rc<InsideHandler> {
    Rc::new(InsideHandler { proxy: Rc::clone(proxy), listener: entrance.listener, inside })
}

pub(in crate::proxy) struct InsideHandler {
    proxy: Rc<Proxy>,
    listener: usize,
    inside: Inside,
}

impl Handler for InsideHandler {
    type Body = CallerBody;

    async fn handle(&self, request: Request<Incoming>, caller: &Arc<CallerConnection>) -> Response<CallerBody> {
        self.proxy.handle_inside(self.listener, &self.inside, request, caller).await
    }

    fn title_case(&self) -> bool {
        self.proxy.title_case(self.listener)
    }

    fn malformed(why: Unreadable) -> Bytes {
        malformed(why)
    }
}
