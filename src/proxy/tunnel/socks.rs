//! A SOCKS 5 listener: the caller names a host and a port as in CONNECT, and gets the same tunnel, by the same decisions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use super::socks5::{self, Reply};
use crate::caller::Authentication;
use crate::coarse;
use crate::dial::{Authority, Host};
use crate::listen::CallerConnection;
use crate::proxy::error::{Refusal, RequestId};
use crate::proxy::record;
use crate::proxy::routing::destination::Destination;
use crate::proxy::routing::forward;
use crate::proxy::tunnel;
use crate::proxy::{Entrance, Proxy};
use crate::runtime::{ListenerRoute, ModeRuntime, Stranger};
use crate::secret::Secret;

impl Proxy {
    /// True if the callers of this listener speak SOCKS 5 now.
    #[must_use]
    pub(crate) fn speaks_socks(&self, listener: usize) -> bool {
        let runtime = self.runtime.current();
        runtime.listener(listener).is_some_and(|listener| matches!(listener.mode, ModeRuntime::Socks5(_)))
    }

    /// Serves one connection of a SOCKS 5 listener to its end.
    pub(crate) async fn serve_socks<S>(self: &Rc<Self>, listener: usize, mut stream: S, caller: Arc<CallerConnection>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let patience = self.serving.limits.header_timeout;
        let runtime = self.runtime.current();
        let callers = runtime.listener(listener).and_then(|listener| listener.callers.clone());
        // A certificate will do; otherwise the protocol's own password exchange.
        let shown = callers.as_ref().and_then(|callers| callers.by_certificate(&caller));
        let given = RefCell::new(None);
        let check = |name: &str, password: &[u8]| match (&callers, std::str::from_utf8(password)) {
            (Some(callers), Ok(password)) => {
                let attempt = callers.authenticate_pair(name, &Secret::new(password.to_owned()), &caller);
                if attempt == Authentication::Refused {
                    // Refused it is in any case; this one is counted like a request.
                    let _counted = self.shared.admission.admit(None, &caller);
                }
                let proven = if let Authentication::Accepted(proven) = attempt { Some(proven) } else { None };
                given.replace(proven);
                given.borrow().is_some()
            }
            (callers, _) => callers.is_none(),
        };
        let required = callers.is_some() && shown.is_none();
        let greeted = coarse::timeout(patience, socks5::greet(&mut stream, required, check)).await;
        let request = match greeted {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                match self.may_say(listener, Stranger::Greeting) {
                    Some(suppressed) => {
                        tracing::info!(target: "attache::proxy", peer = %caller.peer, suppressed, "a SOCKS caller is not served: {error}");
                    }
                    None => {
                        tracing::debug!(target: "attache::proxy", peer = %caller.peer, "a SOCKS caller is not served: {error}");
                    }
                }
                return;
            }
            // Silent for too long: nobody to answer.
            Err(_elapsed) => return,
        };
        let entrance = Entrance { listener, caller, proven: shown.or_else(|| given.into_inner()) };
        match Box::pin(self.reach_for_socks(&request, &entrance)).await {
            Ok(reached) => {
                if socks5::reply(&mut stream, Reply::Succeeded).await.is_ok() {
                    // Boxed: what is carried may be served as requests, which may hold tunnels in their turn.
                    let carried = Box::pin(tunnel::carry(self, &entrance, reached, stream));
                    tokio::select! {
                        () = carried => {}
                        () = self.stop.cancelled() => {}
                    }
                }
            }
            Err(reply) => {
                // Whoever does not read the answer learns by the end of the connection.
                let _unread = socks5::reply(&mut stream, reply).await;
            }
        }
    }

    /// The same steps as for CONNECT. A refusal is noted as every other; the caller gets what SOCKS has for it.
    async fn reach_for_socks(
        &self,
        request: &socks5::Request,
        entrance: &Entrance,
    ) -> Result<tunnel::ReachedTunnel, Reply> {
        let began = Instant::now();
        let runtime = self.runtime.current();
        let caller = entrance.proven.as_ref().map(|proven| &*proven.name);
        let Some(listener) = runtime.listener(entrance.listener) else { return Err(Reply::NotAllowed) };
        let refused = |refusal: &Refusal, listener_route: Option<&ListenerRoute>| {
            record::refusal(listener, refusal, &RequestId::random(), began, listener_route);
            Reply::of_failure(refusal.error())
        };
        let ModeRuntime::Socks5(table) = &listener.mode else { return Err(Reply::NotAllowed) };
        let destination = self.shared.admission.admit(caller, &entrance.caller).and_then(|()| {
            let host = canonical(&request.host)?;
            forward::tunnel(table, host.as_str(), request.port, caller)
        });
        match destination {
            Ok(Destination::Tunnel(tunnel)) => {
                let listener_route = tunnel.listener_route.clone();
                let reached = tunnel::reach(self, &runtime, listener, tunnel).await;
                reached.map_err(|refusal| refused(&refusal, listener_route.as_deref()))
            }
            Ok(Destination::Refused(listener_route, refusal)) => Err(refused(&refusal, Some(&listener_route))),
            // `forward::tunnel` finds tunnels and nothing else.
            Ok(_) => Err(Reply::GeneralFailure),
            Err(refusal) => Err(refused(&refusal, None)),
        }
    }
}

/// Read as strictly as the host of a URL: a name that one program takes for an address is refused.
fn canonical(host: &str) -> Result<Host, Refusal> {
    let invalid = |error: &dyn std::fmt::Display| Refusal::bad_request(format!("the host is no host: {error}"));
    let authority = Authority::parse(host).map_err(|error| invalid(&error))?;
    if authority.port.is_some() {
        // Which of the two ports is meant nobody can tell.
        return Err(Refusal::bad_request("the host has a port in it, beside that of the request"));
    }
    Host::parse(&authority.host).map_err(|error| invalid(&error))
}
