//! A SOCKS 5 listener: the caller names a host and a port as in CONNECT, and gets the same tunnel, by the same decisions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use super::resolve::{ResolvedTunnel, resolve};
use super::serve::serve_tunnel;
use super::socks5::{self, Reply};
use crate::caller::Authentication;
use crate::dial::{Authority, Host};
use crate::listen::{CallerConnection, Handler};
use crate::proxy::context::RequestContext;
use crate::proxy::error::{ProxyError, ProxyErrorKind};
use crate::proxy::request_id::RequestId;
use crate::proxy::response::note_error;
use crate::proxy::routing::destination::{Destination, Tunnel};
use crate::proxy::routing::forward;
use crate::proxy::source::{InTunnel, TunnelSource};
use crate::proxy::state::Proxy;
use crate::runtime::{ModeRuntime, Stranger};
use crate::secret::Secret;
use crate::timer;
use crate::upstream::ExchangeErrorKind;

/// Serves one connection of a SOCKS 5 listener to its end; requests inside are answered by what `handler` makes.
pub(in crate::proxy) async fn serve<S, H>(
    proxy: &Rc<Proxy>,
    listener: usize,
    mut stream: S,
    connection: Arc<CallerConnection>,
    handler: impl FnOnce(InTunnel) -> Rc<H>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Some((request, source)) = greet(proxy, listener, &mut stream, connection).await else { return };
    match Box::pin(reach(proxy, &request, &source)).await {
        Ok(resolved) => {
            if socks5::reply(&mut stream, Reply::Succeeded).await.is_ok() {
                // Boxed: what is carried may be served as requests, which may hold tunnels again.
                let serving = Box::pin(serve_tunnel(proxy, &source, resolved, stream, handler));
                tokio::select! {
                    () = serving => {}
                    () = proxy.stop.cancelled() => {}
                }
            }
        }
        Err(reply) => {
            // A caller that does not read the answer learns by the end of the connection.
            let _unread = socks5::reply(&mut stream, reply).await;
        }
    }
}

/// What a caller wants, and who it is; `None` if it is not served.
async fn greet<S>(
    proxy: &Proxy,
    listener: usize,
    stream: &mut S,
    connection: Arc<CallerConnection>,
) -> Option<(socks5::Request, TunnelSource)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let runtime = proxy.runtime.current();
    let callers = runtime.listener(listener).and_then(|listener| listener.callers.clone());
    // A certificate will do; otherwise the protocol's own password exchange.
    let shown = callers.as_ref().and_then(|callers| callers.by_certificate(&connection));
    let given = RefCell::new(None);
    let check = |name: &str, password: &[u8]| match (&callers, std::str::from_utf8(password)) {
        (Some(callers), Ok(password)) => {
            let attempt = callers.authenticate_pair(name, &Secret::new(password.to_owned()), connection.as_caller());
            if attempt == Authentication::Refused {
                // Refused it is in any case; this one is counted like a request.
                let _counted = proxy.shared.admission.admit(None, connection.as_caller());
            }
            let proven = if let Authentication::Accepted(proven) = attempt { Some(proven) } else { None };
            given.replace(proven);
            given.borrow().is_some()
        }
        (callers, _) => callers.is_none(),
    };
    let required = callers.is_some() && shown.is_none();
    let limit = proxy.serving.limits.header_timeout;
    // A caller that is silent for too long is not answered.
    match timer::timeout(limit, socks5::greet(stream, required, check)).await.ok()? {
        Ok(request) => {
            let proven = shown.or_else(|| given.into_inner());
            let address = connection.address();
            Some((request, TunnelSource { listener, connection, address, proven }))
        }
        Err(error) => {
            match proxy.may_log(listener, Stranger::Greeting) {
                Some(suppressed) => {
                    tracing::info!(target: "attache::proxy", peer = %connection.address(), suppressed, "a SOCKS caller is not served: {error}");
                }
                None => {
                    tracing::debug!(target: "attache::proxy", peer = %connection.address(), "a SOCKS caller is not served: {error}");
                }
            }
            None
        }
    }
}

/// The same steps as for CONNECT. A failure is noted as every other; the caller gets what SOCKS has for it.
async fn reach(proxy: &Proxy, request: &socks5::Request, source: &TunnelSource) -> Result<ResolvedTunnel, Reply> {
    let began = Instant::now();
    let runtime = proxy.runtime.current();
    let listener = runtime.listener(source.listener).ok_or(Reply::NotAllowed)?;
    let ModeRuntime::Socks5(table) = &listener.mode else { return Err(Reply::NotAllowed) };
    let caller = source.proven.as_ref().map(|proven| &*proven.name);
    let destination = proxy.shared.admission.admit(caller, source.caller()).and_then(|()| {
        let host = canonical(&request.host)?;
        forward::tunnel(table, host.as_str(), request.port, caller)
    });
    let resolved = match destination {
        Ok(Destination::Tunnel(tunnel)) => {
            resolve(proxy, &runtime, listener, Tunnel { only_way: true, ..tunnel }).await
        }
        // `forward::tunnel` finds tunnels and nothing else.
        Ok(_) => return Err(Reply::GeneralFailure),
        Err(error) => Err(error),
    };
    resolved.map_err(|error| {
        error.tell(proxy.shared.refusals.as_ref());
        note_error(&mut RequestContext::without_head(began), listener, &error, &RequestId::random());
        reply_to(error.kind())
    })
}

/// What SOCKS has for a failure.
const fn reply_to(kind: ProxyErrorKind) -> Reply {
    use ExchangeErrorKind as Exchange;
    use ProxyErrorKind as Kind;
    match kind {
        Kind::Denied
        | Kind::MethodNotAllowed
        | Kind::ProxyAuthentication
        | Kind::Authentication
        | Kind::TooManyRequests
        | Kind::TooManyGuesses
        | Kind::Loop
        | Kind::Upstream(Exchange::DestinationIpProhibited | Exchange::ProxyLoopDetected) => Reply::NotAllowed,
        Kind::Upstream(Exchange::DestinationUnavailable | Exchange::Unprocessed) => Reply::NetworkUnreachable,
        Kind::BadRequest
        | Kind::NotImplemented
        | Kind::Upstream(
            Exchange::DnsError
            | Exchange::DnsTimeout
            | Exchange::ConnectionTimeout
            | Exchange::RequestBody
            | Exchange::RequestBodyTimeout
            | Exchange::RequestBodyTooLarge
            | Exchange::TargetTooLong,
        ) => Reply::HostUnreachable,
        Kind::Upstream(Exchange::ConnectionRefused) => Reply::ConnectionRefused,
        Kind::NoRoute
        | Kind::TooManyConnections
        | Kind::BadResponse
        | Kind::CredentialUnusable
        | Kind::TokenRefused
        | Kind::TokenUnusable
        | Kind::TokenUnavailable
        | Kind::Upstream(_) => Reply::GeneralFailure,
    }
}

/// Read as strictly as the host of a URL: a name that one program takes for an address is refused.
fn canonical(host: &str) -> Result<Host, ProxyError> {
    let invalid = |error: &dyn std::fmt::Display| ProxyError::bad_request(format!("the host is no host: {error}"));
    let authority = Authority::parse(host).map_err(|error| invalid(&error))?;
    if authority.port.is_some() {
        // Which of the two ports is meant cannot be told.
        return Err(ProxyError::bad_request("the host has a port in it, beside that of the request"));
    }
    Host::parse(&authority.host).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_what_kind_of_failure_it_is() {
        for (kind, reply) in [
            (ProxyErrorKind::TokenUnavailable, Reply::GeneralFailure),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::TlsCertificateError), Reply::GeneralFailure),
            (ProxyErrorKind::Denied, Reply::NotAllowed),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::DestinationIpProhibited), Reply::NotAllowed),
            (ProxyErrorKind::Loop, Reply::NotAllowed),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::DestinationUnavailable), Reply::NetworkUnreachable),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::DnsError), Reply::HostUnreachable),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::ConnectionTimeout), Reply::HostUnreachable),
            (ProxyErrorKind::Upstream(ExchangeErrorKind::ConnectionRefused), Reply::ConnectionRefused),
        ] {
            assert_eq!(reply_to(kind), reply, "{kind:?}");
        }
    }
}
