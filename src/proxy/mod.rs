//! A request's way through, top to bottom. Knows HTTP, not TOML.
//!
//! Who asks, where it goes, whether it may, with what, and then out and back: each step is a line here and a file or a folder
//! of its own. [`RequestContext`] is lent from step to step and leaves with the answer. A failure on the way is a
//! [`ProxyError`], and one place makes an answer of it.

mod admit;
mod authorization;
mod body;
mod context;
mod error;
pub(crate) mod explain;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod head;
mod outbound;
mod outcome;
mod refusals;
mod request_id;
mod response;
mod rewrite;
mod routing;
mod send;
mod settings;
mod source;
mod state;
mod token_endpoint;
mod tunnel;
mod unreadable;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use admit::rate::Admission;
pub(crate) use body::replay_memory::ReplayBudget;
pub(crate) use body::response::CallerBody;
pub use head::hop_by_hop::{HopWishes, Nominated};
pub use head::rewrite::{rewrite_request, rewrite_response};
pub use head::via::ViaIdentity;
pub(crate) use refusals::{Refusal, Refusals, Refused};
pub(crate) use settings::{
    AcceptedHosts, ForwardSaid, ForwardSettings, ListenerMode, PrivateAddresses, TokenClient, Unmatched,
};
pub(crate) use state::{Proxy, ProxyShared};
pub(crate) use unreadable::malformed;

use self::admit::{callers, forwarded, policy, unmatched};
use self::context::RequestContext;
use self::error::ProxyError;
use self::request_id::RequestId;
use self::rewrite::Terms;
use self::routing::destination::{Destination, ResolvedRoute};
use self::source::{Admitted, InTunnel, RequestSource};
use crate::listen::{CallerConnection, Handler, Incoming, Unreadable};
use crate::runtime::{ListenerRuntime, ModeRuntime, Runtime};

impl Proxy {
    /// Answers one request of a listener's. Cannot fail: every failure is a response.
    pub(crate) async fn handle(
        self: &Rc<Self>,
        listener: usize,
        request: Request<Incoming>,
        connection: &Arc<CallerConnection>,
    ) -> Response<CallerBody> {
        let address = connection.address();
        self.answer(RequestSource { listener, inside: None, connection, address }, request).await
    }

    /// Serves one connection of a SOCKS 5 listener to its end.
    pub(crate) async fn serve_socks<S>(self: &Rc<Self>, listener: usize, stream: S, connection: Arc<CallerConnection>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        tunnel::socks::serve(self, listener, stream, connection, self.in_tunnel(listener)).await;
    }

    async fn answer(
        self: &Rc<Self>,
        mut source: RequestSource<'_>,
        request: Request<Incoming>,
    ) -> Response<CallerBody> {
        let began = Instant::now();
        // One request uses one snapshot, whatever is reloaded meanwhile.
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(source.listener) else {
            let error = ProxyError::denied("this listener is no longer part of the configuration");
            return response::error_response(&error, &RequestId::random(), true);
        };
        let (mut head, mut body) = request.into_parts();
        let mut ctx = RequestContext::new(began, head.version, &body);
        let mut readable = tunnel::switch::read_extended_connect(&mut head, &body);
        if let Some(proxies) = listener.trusted_proxies.as_ref().filter(|_| source.inside.is_none()) {
            match forwarded::caller_address(proxies, source.address, &head.headers) {
                Ok(address) => source.address = address,
                Err(error) => readable = Err(error),
            }
        }
        let request_id = if self.shared.request_id { Some(request_id::identify(&mut head)) } else { None };
        ctx.note_head(&self.shared, listener, source, (&mut head, &mut body));
        match self.steps(&mut ctx, (&runtime, listener), source, readable, &mut head, body).await {
            Ok(response) => response::respond(ctx, request_id, response),
            Err(error) => {
                error.tell(self.shared.refusals.as_ref());
                response::respond_with_error(ctx, listener, &error, &RequestId::from_head(&head))
            }
        }
    }

    /// What is rare is boxed: its state would be carried by every request.
    async fn steps(
        self: &Rc<Self>,
        ctx: &mut RequestContext,
        (runtime, listener): (&Runtime, &ListenerRuntime),
        source: RequestSource<'_>,
        readable: Result<(), ProxyError>,
        head: &mut Parts,
        body: Incoming,
    ) -> Result<Response<CallerBody>, ProxyError> {
        let proven = callers::admit(&self.shared.admission, listener, source, &mut head.headers)?;
        let caller = Admitted { source, proven };
        ctx.note_caller(caller.name());
        readable?;
        if let ModeRuntime::Token(clients) = &listener.mode {
            let answering = token_endpoint::answer(ctx, listener, clients, head, body, source.caller());
            return Ok(Box::pin(answering).await);
        }
        if self.shared.via.is_loop(&head.headers) {
            return Err(ProxyError::proxy_loop("the request has passed this proxy before (Via)"));
        }
        match routing::resolve(listener, source.inside, head, caller.name())? {
            Destination::Route(route) => {
                let terms = Terms::of(listener, source.inside, &route, head);
                let answer = self.to_upstream(ctx, &route, terms.as_ref(), &caller, head, body).await;
                answer.map_err(|error| error.on(&route.at))
            }
            Destination::Tunnel(tunnel) => {
                if let Some(at) = &tunnel.at {
                    ctx.note_tunnel(at.route.name());
                }
                let (source, handler) = (caller.tunnel_source(), self.in_tunnel(source.listener));
                Box::pin(tunnel::open::open(self, (runtime, listener), source, tunnel, body, handler)).await
            }
            Destination::Unmatched(origin) => {
                let upstream = unmatched::admit(runtime, listener, &origin, &origin)?;
                Box::pin(outbound::to_unmatched(self, ctx, listener, (upstream, &origin), &caller, head, body)).await
            }
            Destination::Itself => Ok(policy::options_of_proxy()),
        }
    }

    /// May it, with what, the head, out, and the answer.
    async fn to_upstream(
        self: &Rc<Self>,
        ctx: &mut RequestContext,
        route: &ResolvedRoute,
        terms: Option<&Terms>,
        caller: &Admitted<'_>,
        head: &mut Parts,
        mut body: Incoming,
    ) -> Result<Response<CallerBody>, ProxyError> {
        policy::check(route, head)?;
        if let Some(answer) = policy::max_forwards(head)? {
            return Ok(answer);
        }
        let mut authorized = authorization::obtain(ctx, &route.at, head).await?;
        let told = routing::token_origin::resolve(route, authorized.with_token())?;
        let route = told.as_ref().unwrap_or(route);
        let (settings, metrics, outcome) = (&*route.at.route, &route.at.metrics, authorized.outcome());

        let outbound::Prepared { switch, nominated } =
            outbound::prepare(&self.shared.via, route, terms, &authorized, head, &mut body);
        let sending = (&*head, nominated.as_ref());
        let sent = outbound::send(self, ctx, route, terms, authorized.take(), sending, body).await;
        let (response, on_trailers) = sent.map_err(|error| ProxyError::exchange(settings.name(), &error))?;

        let mut response = outbound::answer(self, response, switch, &settings.upstream, caller)?;
        ctx.count_answer(metrics, outcome, response.status());
        rewrite::tell_caller(terms, route, head, response.headers_mut());
        response::note_upstream(ctx, settings, outcome, response.headers_mut());
        if let Some(on_trailers) = on_trailers {
            response.body_mut().watch_trailers(on_trailers);
        }
        Ok(response)
    }

    /// A request inside of a tunnel is a request: tunnels are given what answers them.
    fn in_tunnel(self: &Rc<Self>, listener: usize) -> impl FnOnce(InTunnel) -> Rc<TunnelHandler> + use<> {
        let proxy = Rc::clone(self);
        move |inside| Rc::new(TunnelHandler { proxy, listener, inside })
    }
}

/// Answers the requests of one opened tunnel.
struct TunnelHandler {
    proxy: Rc<Proxy>,
    listener: usize,
    inside: InTunnel,
}

impl Handler for TunnelHandler {
    type Body = CallerBody;

    async fn handle(&self, request: Request<Incoming>, connection: &Arc<CallerConnection>) -> Response<CallerBody> {
        let source = RequestSource {
            listener: self.listener,
            inside: Some(&self.inside),
            connection,
            address: self.inside.opened_from,
        };
        self.proxy.answer(source, request).await
    }

    fn title_case(&self) -> bool {
        self.proxy.title_case(self.listener)
    }

    fn refused_head(&self, why: Unreadable, caller: &CallerConnection) {
        self.proxy.note_unreadable(self.listener, why, caller);
    }

    fn malformed(why: Unreadable) -> Bytes {
        malformed(why)
    }
}
