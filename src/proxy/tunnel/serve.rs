//! What comes through a tunnel: requests, where the first bytes say so and something of it is opened, or bytes to pass on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::copy::copy_bidirectional;
use super::detect::{DetectedProtocol, FirstSpeaker, first_speaker};
use super::intercept;
use super::lifetime::{serve_while_admitted, while_admitted};
use super::passthrough::{passes_unread, target};
use super::plan::check_rules;
use super::prefixed_io::PrefixedIo;
use super::resolve::{Opening, ResolvedTunnel};
use crate::dial::{Scheme, Transport};
use crate::listen::{self, Handler};
use crate::proxy::routing::destination::Tunnel;
use crate::proxy::source::{InTunnel, TunnelSource};
use crate::proxy::state::Proxy;
use crate::runtime::Stranger;
use crate::timer::timeout;
use crate::tls::CertificateAuthority;
use crate::upstream::Upstream;

/// How long the caller's first word is waited for before the upstream is asked whether the first word is its own.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a tunnel to its end.
pub(super) async fn serve_tunnel<S, H>(
    proxy: &Rc<Proxy>,
    source: &TunnelSource,
    resolved: ResolvedTunnel,
    caller: S,
    handler: impl FnOnce(InTunnel) -> Rc<H>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let ResolvedTunnel { tunnel, upstream, opening } = resolved;
    let end = End { proxy, source, tunnel: &tunnel, upstream: &upstream, caller, prefix: BytesMut::new() };
    match opening {
        Opening::Nothing(dialled) => end.unread(dialled).await,
        Opening::PlainHttp(dialled) => end.plain_http(dialled, handler).await,
        Opening::PlainHttpAlone => end.plain_http_alone(handler).await,
        Opening::All(authority) => end.all(authority, handler).await,
    }
}

/// The caller's end of a tunnel.
struct End<'a, S> {
    proxy: &'a Rc<Proxy>,
    source: &'a TunnelSource,
    tunnel: &'a Tunnel,
    upstream: &'a Upstream,
    caller: S,
    /// What has been read of it.
    prefix: BytesMut,
}

impl<S> End<'_, S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn unread(self, dialled: Transport) {
        let idle = self.idle();
        while_admitted(self.proxy, self.source, copy_bidirectional(self.caller, dialled, idle)).await;
    }

    async fn plain_http<H: Handler>(mut self, mut dialled: Transport, handler: impl FnOnce(InTunnel) -> Rc<H>) {
        let idle = self.idle();
        let speaking = timeout(idle, first_speaker(&mut self.caller, &mut self.prefix, Some(&mut dialled)));
        let Some(Ok(first)) = while_admitted(self.proxy, self.source, speaking).await else { return };
        match first {
            FirstSpeaker::Caller(DetectedProtocol::Http) => {
                drop(dialled);
                self.serve_http(handler).await;
            }
            FirstSpeaker::Caller(_) => self.copy(dialled).await,
            FirstSpeaker::Server(bytes) => self.copy_after(bytes, dialled).await,
            FirstSpeaker::Neither => {}
        }
    }

    async fn plain_http_alone<H: Handler>(mut self, handler: impl FnOnce(InTunnel) -> Rc<H>) {
        let patience = self.patience();
        let speaking = timeout(patience, first_speaker(&mut self.caller, &mut self.prefix, None::<&mut Transport>));
        let Some(Ok(first)) = while_admitted(self.proxy, self.source, speaking).await else { return };
        match first {
            FirstSpeaker::Caller(DetectedProtocol::Http) => self.serve_http(handler).await,
            FirstSpeaker::Caller(_) => self.refuse(),
            FirstSpeaker::Server(_) | FirstSpeaker::Neither => {}
        }
    }

    async fn all<H: Handler>(mut self, authority: Arc<CertificateAuthority>, handler: impl FnOnce(InTunnel) -> Rc<H>) {
        let (proxy, source) = (self.proxy, self.source);
        let Some((first, dialled)) = while_admitted(proxy, source, self.first_of_all()).await else { return };
        match (first, dialled) {
            (FirstSpeaker::Caller(DetectedProtocol::Http), dialled) => {
                drop(dialled);
                self.serve_http(handler).await;
            }
            (FirstSpeaker::Caller(DetectedProtocol::Tls), dialled) => {
                drop(dialled);
                self.serve_tls(authority, handler).await;
            }
            (FirstSpeaker::Caller(DetectedProtocol::Other), Some(dialled)) => self.copy(dialled).await,
            (FirstSpeaker::Caller(DetectedProtocol::Other), None) => self.refuse(),
            (FirstSpeaker::Server(bytes), Some(dialled)) => self.copy_after(bytes, dialled).await,
            (FirstSpeaker::Server(_), None) | (FirstSpeaker::Neither, _) => {}
        }
    }

    /// Who speaks first, and a connection to the upstream if that was not clear without one.
    async fn first_of_all(&mut self) -> (FirstSpeaker, Option<Transport>) {
        let (idle, patience) = (self.idle(), self.patience());
        let early = first_speaker(&mut self.caller, &mut self.prefix, None::<&mut Transport>);
        match timeout(SILENCE_TIMEOUT, early).await {
            Ok(other @ FirstSpeaker::Caller(DetectedProtocol::Other)) => return (other, self.dial().await),
            Ok(first) => return (first, None),
            Err(_elapsed) => {}
        }
        // Silence: perhaps the server's word comes first.
        let mut dialled = self.dial().await;
        let limit = if dialled.is_some() { idle } else { patience };
        let speaking = first_speaker(&mut self.caller, &mut self.prefix, dialled.as_mut());
        let first = timeout(limit, speaking).await.unwrap_or(FirstSpeaker::Neither);
        (first, dialled)
    }

    /// A connection for what passes unread, if it may: rules about requests cannot be kept for bytes.
    async fn dial(&self) -> Option<Transport> {
        check_rules(self.tunnel.at.as_ref()?, self.tunnel.shared).ok()?;
        self.upstream.dial(&self.tunnel.origin).await.ok()
    }

    async fn serve_http<H: Handler>(self, handler: impl FnOnce(InTunnel) -> Rc<H>) {
        let handler = handler(self.opened(Scheme::Http));
        let connection = Arc::clone(&self.source.connection);
        let serve = |serving| listen::serve_http(self.caller, self.prefix, handler, connection, serving);
        serve_while_admitted(self.proxy, self.source, serve).await;
    }

    async fn serve_tls<H: Handler>(
        self,
        authority: Arc<CertificateAuthority>,
        handler: impl FnOnce(InTunnel) -> Rc<H>,
    ) {
        let inside = self.opened(Scheme::Https);
        let caller = PrefixedIo::new(self.prefix, self.caller);
        let serving = intercept::serve(self.proxy, self.source, &authority, inside, caller, handler);
        let serving: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(serving);
        serving.await;
    }

    /// The caller's first bytes, and then both ways.
    async fn copy(self, mut dialled: Transport) {
        self.count_unread();
        let idle = self.idle();
        let passing = async {
            if dialled.write_all(&self.prefix).await.is_ok() {
                copy_bidirectional(self.caller, dialled, idle).await;
            }
        };
        while_admitted(self.proxy, self.source, passing).await;
    }

    /// The server's first bytes, and then both ways.
    async fn copy_after(mut self, bytes: BytesMut, dialled: Transport) {
        self.count_unread();
        let idle = self.idle();
        let passing = async {
            if self.caller.write_all(&bytes).await.is_ok() {
                copy_bidirectional(PrefixedIo::new(self.prefix, self.caller), dialled, idle).await;
            }
        };
        while_admitted(self.proxy, self.source, passing).await;
    }

    fn refuse(self) {
        let target = target(&self.tunnel.origin);
        match self.proxy.may_log(self.source.listener, Stranger::NoHttp) {
            Some(suppressed) => {
                tracing::warn!(target: "attache::proxy", suppressed, "a tunnel to {target} was closed: what came through it is no HTTP, and may not pass unread");
            }
            None => tracing::debug!(target: "attache::proxy", "a tunnel to {target} was closed: no HTTP"),
        }
    }

    /// Counts the tunnel as one that is opened.
    fn opened(&self, scheme: Scheme) -> InTunnel {
        if let Some(at) = &self.tunnel.at {
            at.metrics.tunnels_opened.inc();
        }
        let origin = &self.tunnel.origin;
        let opener = self.source.proven.clone();
        InTunnel {
            scheme,
            host: origin.host.as_str().into(),
            port: origin.port,
            opener,
            opened_from: self.source.address,
        }
    }

    fn count_unread(&self) {
        if let Some(at) = &self.tunnel.at {
            passes_unread(at, &self.tunnel.origin);
        }
    }

    fn idle(&self) -> Duration {
        self.upstream.settings.timeouts.idle
    }

    fn patience(&self) -> Duration {
        self.proxy.serving.limits.header_timeout
    }
}
