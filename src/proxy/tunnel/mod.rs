//! CONNECT: what a tunnel becomes. Reach the upstream first, then say 200, then let the first bytes decide.
//!
//! Opened are tunnels to upstreams that have a credential, and what is inside goes the way of every request: plain HTTP
//! always, TLS where there is a local CA. Everything else passes unread. A snapshot of the configuration is not kept for the
//! life of a tunnel: each request inside takes its own.

pub(super) mod copy;
pub(super) mod detect;
pub(super) mod intercept;
pub(super) mod passthrough;
pub(super) mod socks;
pub(super) mod socks5;
pub(super) mod socks5_fuzzing;
pub(super) mod switch;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::coarse;
use crate::dial::{Origin, Scheme, Transport};
use crate::listen::{self, Incoming};
use crate::proxy::body::CallerBody;
use crate::proxy::error::Refusal;
use crate::proxy::routing::destination::Tunnel;
use crate::proxy::{Entrance, Proxy};
use crate::runtime::{ListenerRoute, ListenerRuntime, Runtime, Stranger};
use crate::tls::CertificateAuthority;
use crate::upstream::Upstream;
use copy::splice;
use detect::{First, Prefixed, Spoken, first};
use intercept::Inside;

/// How long the caller's first word is waited for before the upstream is asked whether the first word is its own.
const SILENCE: Duration = Duration::from_secs(1);

/// Answers a CONNECT request, and carries what follows.
pub(in crate::proxy) async fn open(
    proxy: &Rc<Proxy>,
    runtime: &Runtime,
    listener: &ListenerRuntime,
    entrance: Entrance,
    tunnel: Tunnel,
    mut body: Incoming,
) -> Result<Response<CallerBody>, Refusal> {
    let reached = reach(proxy, runtime, listener, tunnel).await?;
    let Some(upgrade) = body.take_upgrade() else {
        return Err(Refusal::bad_request("a connection of this kind cannot become a tunnel; use HTTP/1.1 or HTTP/2"));
    };
    let inside = Rc::clone(proxy);
    proxy.spawn(async move {
        if let Ok(caller) = upgrade.upgraded().await {
            carry(&inside, &entrance, reached, caller).await;
        }
    });
    Ok(Response::new(CallerBody::empty()))
}

/// A tunnel whose upstream has been reached: nothing is promised to a caller that cannot be kept.
pub(in crate::proxy) struct ReachedTunnel {
    tunnel: Tunnel,
    upstream: Arc<Upstream>,
    opening: Opening,
}

/// What of a tunnel is opened.
enum Opening {
    /// Nothing: bytes pass through this connection.
    Nothing(Transport),
    /// What the first bytes say.
    Some(Openable),
}

/// What the first bytes of a tunnel may have opened.
enum Openable {
    /// Plain HTTP; anything else passes through this connection.
    PlainHttp(Transport),
    /// Plain HTTP, and nothing else may pass: it is an `http` name of an https upstream.
    PlainHttpAlone,
    /// Plain HTTP and TLS.
    All(Arc<CertificateAuthority>),
}

/// Decides about a tunnel, and reaches its upstream.
pub(in crate::proxy) async fn reach(
    proxy: &Proxy,
    runtime: &Runtime,
    listener: &ListenerRuntime,
    tunnel: Tunnel,
) -> Result<ReachedTunnel, Refusal> {
    let Some(listener_route) = &tunnel.listener_route else {
        let asked = passthrough::target(&tunnel.origin);
        let upstream = Arc::clone(passthrough::unmatched(runtime, listener, &tunnel.origin, &asked)?);
        let dialled = upstream.dial(&tunnel.origin).await;
        let dialled = dialled.map_err(|error| Refusal::unmatched_exchange(&asked, &error))?;
        listener.metrics.tunneled.inc();
        listener.metrics.tunnels.inc();
        return Ok(ReachedTunnel { tunnel, upstream, opening: Opening::Nothing(dialled) });
    };
    let route = &listener_route.route;
    let upstream = Arc::clone(&route.upstream);
    let failed = |error| Refusal::exchange(route.name(), &error);
    let opening = if tunnel.alias {
        verify(proxy, listener_route, &tunnel.origin).await.map_err(failed)?;
        Opening::Some(Openable::PlainHttpAlone)
    } else if let Some(authority) = authority(runtime, listener_route) {
        verify(proxy, listener_route, &tunnel.origin).await.map_err(failed)?;
        Opening::Some(Openable::All(authority))
    } else {
        passthrough::check_rules(listener_route, tunnel.shared)?;
        let dialled = upstream.dial(&tunnel.origin).await.map_err(failed)?;
        match route.credential {
            Some(_) => Opening::Some(Openable::PlainHttp(dialled)),
            None => Opening::Nothing(dialled),
        }
    };
    if matches!(opening, Opening::Nothing(_)) {
        passes_unread(listener_route, &tunnel.origin);
    }
    Ok(ReachedTunnel { tunnel, upstream, opening })
}

/// The local CA, where this route's TLS is to be opened: a credential that goes into it, and nothing against it.
pub(in crate::proxy) fn authority(
    runtime: &Runtime,
    listener_route: &ListenerRoute,
) -> Option<Arc<CertificateAuthority>> {
    let wanted = listener_route.route.credential.is_some() && listener_route.route.settings.intercept;
    let https = listener_route.route.upstream.settings.origin.base().scheme == Scheme::Https;
    runtime.authority.as_ref().filter(|_| wanted && https).cloned()
}

/// The upstream's own certificate comes first: an invalid one must never be made into a valid one (by a leaf of ours). The
/// connection is kept for the first request.
async fn verify(
    proxy: &Proxy,
    listener_route: &ListenerRoute,
    asked: &Origin,
) -> Result<(), crate::upstream::ExchangeError> {
    let upstream = &listener_route.route.upstream;
    if listener_route.route.settings.origin_from.is_some() {
        // Which host it is comes with the token, so there is nothing to dial yet; each request verifies what it dials.
        return Ok(());
    }
    let origin = upstream.settings.origin.at_host(asked.host.as_str());
    proxy.pool.ready(upstream, origin.as_ref().unwrap_or(asked)).await
}

/// Carries a tunnel to its end.
pub(in crate::proxy) async fn carry<S>(proxy: &Rc<Proxy>, entrance: &Entrance, reached: ReachedTunnel, mut caller: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let ReachedTunnel { tunnel, upstream, opening } = reached;
    let idle = upstream.settings.timeouts.idle;
    let patience = proxy.serving.limits.header_timeout;
    let mut prefix = BytesMut::new();
    let opened = |scheme| Inside {
        scheme,
        host: tunnel.origin.host.as_str().into(),
        port: tunnel.origin.port,
        opener: entrance.proven.clone(),
    };
    let openable = match opening {
        Opening::Nothing(dialled) => {
            let _ended = proxy.while_admitted(entrance, splice(caller, dialled, idle)).await;
            return;
        }
        Opening::Some(openable) => openable,
    };
    let hearing = hear(&tunnel, &upstream, patience, openable, &mut caller, &mut prefix);
    let Some(heard) = proxy.while_admitted(entrance, hearing).await else { return };
    let Heard { spoke, dialled, authority } = heard;
    match (spoke, authority) {
        (First::Nobody, _) => {}
        (First::Caller(Spoken::Http), _) => {
            count_opened(&tunnel);
            drop(dialled);
            let handler = intercept::handler(proxy, entrance, opened(Scheme::Http));
            let connection = Arc::clone(&entrance.caller);
            let serve = |serving| listen::serve_http(caller, prefix, handler, connection, serving);
            proxy.serve_while_admitted(entrance, serve).await;
        }
        (First::Caller(Spoken::Tls), Some(authority)) => {
            count_opened(&tunnel);
            drop(dialled);
            let caller = Prefixed::new(prefix, caller);
            boxed(intercept::serve(Rc::clone(proxy), entrance.clone(), authority, opened(Scheme::Https), caller)).await;
        }
        (First::Caller(_), _) => match dialled {
            Some(mut dialled) => {
                if let Some(listener_route) = &tunnel.listener_route {
                    passes_unread(listener_route, &tunnel.origin);
                }
                let passing = async {
                    if dialled.write_all(&prefix).await.is_ok() {
                        splice(caller, dialled, idle).await;
                    }
                };
                let _ended = proxy.while_admitted(entrance, passing).await;
            }
            None => {
                let target = passthrough::target(&tunnel.origin);
                match proxy.may_say(entrance.listener, Stranger::NoHttp) {
                    Some(suppressed) => {
                        tracing::warn!(target: "attache::proxy", suppressed, "a tunnel to {target} was closed: what came through it is no HTTP, and may not pass unread");
                    }
                    None => tracing::debug!(target: "attache::proxy", "a tunnel to {target} was closed: no HTTP"),
                }
            }
        },
        (First::Server(bytes), _) => {
            let Some(dialled) = dialled else { return };
            if let Some(listener_route) = &tunnel.listener_route {
                passes_unread(listener_route, &tunnel.origin);
            }
            let passing = async {
                if caller.write_all(&bytes).await.is_ok() {
                    splice(Prefixed::new(prefix, caller), dialled, idle).await;
                }
            };
            let _ended = proxy.while_admitted(entrance, passing).await;
        }
    }
}

/// What came first through a tunnel, and what there is to go on with.
struct Heard {
    spoke: First,
    dialled: Option<Transport>,
    authority: Option<Arc<CertificateAuthority>>,
}

/// Waits for the first word in a tunnel of which something may be opened.
async fn hear<S>(
    tunnel: &Tunnel,
    upstream: &Upstream,
    patience: Duration,
    openable: Openable,
    caller: &mut S,
    prefix: &mut BytesMut,
) -> Heard
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let idle = upstream.settings.timeouts.idle;
    let (spoke, dialled, authority) = match openable {
        Openable::PlainHttpAlone => {
            let spoke = coarse::timeout(patience, first(caller, prefix, None::<&mut Transport>)).await;
            (spoke.unwrap_or(First::Nobody), None, None)
        }
        Openable::PlainHttp(mut dialled) => {
            let spoke = coarse::timeout(idle, first(caller, prefix, Some(&mut dialled))).await;
            (spoke.unwrap_or(First::Nobody), Some(dialled), None)
        }
        Openable::All(authority) => {
            let early = coarse::timeout(SILENCE, first(caller, prefix, None::<&mut Transport>)).await;
            let (spoke, dialled) = match early {
                Ok(First::Caller(Spoken::Other)) => (First::Caller(Spoken::Other), dial(tunnel, upstream).await),
                Ok(spoke) => (spoke, None),
                // Silence: perhaps the server's word comes first.
                Err(_elapsed) => match dial(tunnel, upstream).await {
                    Some(mut dialled) => {
                        let spoke = first(caller, prefix, Some(&mut dialled));
                        (coarse::timeout(idle, spoke).await.unwrap_or(First::Nobody), Some(dialled))
                    }
                    None => {
                        let spoke = first(caller, prefix, None::<&mut Transport>);
                        (coarse::timeout(patience, spoke).await.unwrap_or(First::Nobody), None)
                    }
                },
            };
            (spoke, dialled, Some(authority))
        }
    };
    Heard { spoke, dialled, authority }
}

fn boxed<'a>(future: impl Future<Output = ()> + 'a) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(future)
}

/// A connection for what passes unread, if it may: rules about requests cannot be kept for bytes.
async fn dial(tunnel: &Tunnel, upstream: &Upstream) -> Option<Transport> {
    let listener_route = tunnel.listener_route.as_ref()?;
    passthrough::check_rules(listener_route, tunnel.shared).ok()?;
    upstream.dial(&tunnel.origin).await.ok()
}

fn count_opened(tunnel: &Tunnel) {
    if let Some(listener_route) = &tunnel.listener_route {
        listener_route.metrics.tunnels_opened.inc();
    }
}

/// Counts a tunnel to a configured upstream that is not opened, and says once what that means.
fn passes_unread(listener_route: &ListenerRoute, origin: &Origin) {
    listener_route.metrics.tunnels.inc();
    listener_route.metrics.tunneled.inc();
    if listener_route.route.credential.is_none() || listener_route.tunnel_warned.swap(true, Ordering::Relaxed) {
        return;
    }
    tracing::warn!(
        target: "attache::proxy", upstream = %listener_route.route.name(),
        "a CONNECT tunnel to {} carries no token, because what is inside is encrypted; \
         let the program request http://{} through this proxy, use a reverse listener as its base URL, \
         or have TLS opened by a local CA: `attache ca init` and [intercept]",
        passthrough::target(origin),
        passthrough::instead(origin),
    );
}
