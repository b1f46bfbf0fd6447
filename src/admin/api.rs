//! The admin API: its routes, on a listener of their own.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response, StatusCode};
use axum::routing::{get, post};
use axum::{Router, middleware};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

use super::guard::Guard;
use super::problem::problem;
use super::state::{AdminFacts, Shared};
use super::{endpoints, guard, page, probes};
use crate::listen::{self, CallerConnection, ConnectionHandler, Handler, Incoming, Opening, Serving, Unreadable};
use crate::proxy::malformed;
use crate::runtime::SharedRuntime;

/// The admin listener's handler.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    service: TowerToHyperService<Router>,
    /// Only this process's user, and root, may connect.
    for_own_user: bool,
}

/// What a request to the admin listener may bring along, and how long that may take.
const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl Admin {
    /// The API over what is running.
    #[must_use]
    pub(crate) fn new(facts: AdminFacts, runtime: SharedRuntime) -> Self {
        let guard = facts.guard.clone();
        Self::guarded(Arc::new(Shared::new(facts, runtime)), guard)
    }

    /// The same for this user alone, by a unix socket: without a token. The mode of the socket's file is set once it is bound, so
    /// the system is asked who connects, too.
    #[must_use]
    pub(crate) fn for_own_user(&self) -> Self {
        Self { for_own_user: true, ..Self::guarded(Arc::clone(&self.shared), Guard::of_own_user()) }
    }

    fn guarded(shared: Arc<Shared>, guard: Guard) -> Self {
        let router = Router::new()
            .route("/", get(page::page))
            .route("/page/{file}", get(page::file))
            .route("/api", get(endpoints::index))
            .route("/api/openapi.json", get(endpoints::description))
            .route("/api/events", get(page::events))
            .route("/livez", get(probes::alive))
            .route("/healthz", get(probes::alive))
            .route("/startupz", get(probes::started))
            .route("/readyz", get(probes::ready))
            .route("/quitquitquit", post(endpoints::quit))
            .route("/metrics", get(endpoints::metrics))
            .route("/api/status", get(endpoints::report))
            .route("/api/requests", get(endpoints::requests))
            .route("/api/history", get(endpoints::history))
            .route("/api/explain", get(endpoints::explain_request))
            .route("/api/credentials/{name}/refresh", post(endpoints::refresh))
            .route("/api/reload", post(endpoints::reload))
            .route("/api/log", get(endpoints::log_filter))
            .route("/api/log", post(endpoints::change_log))
            .fallback(endpoints::unknown)
            .method_not_allowed_fallback(endpoints::wrong_method)
            .with_state(Arc::clone(&shared))
            .layer(middleware::from_fn_with_state(guard, guard::check));
        Self { shared, service: TowerToHyperService::new(router), for_own_user: false }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl ConnectionHandler for Admin {
    async fn admits(&self, caller: &CallerConnection) -> bool {
        let admitted = !self.for_own_user || caller.peer.is_own_user();
        if !admitted {
            tracing::debug!(target: "attache::app", peer = %caller.peer, "another user was turned away from the control socket");
        }
        admitted
    }

    fn open<S>(self: Rc<Self>, stream: S, caller: Arc<CallerConnection>, serving: Serving) -> Opening
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        listen::open_http(stream, BytesMut::new(), self, caller, serving)
    }
}

impl Handler for Admin {
    type Body = axum::body::Body;

    async fn handle(&self, request: Request<Incoming>, _: &Arc<CallerConnection>) -> Response<axum::body::Body> {
        let (head, body) = request.into_parts();
        // No action takes more than a few words, so what comes is read here, within bounds.
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
        let body = match read {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large or broke off"),
            Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"),
        };
        match self.service.call(Request::from_parts(head, axum::body::Body::from(body))).await {
            Ok(response) => response,
        }
    }

    fn malformed(why: Unreadable) -> Bytes {
        malformed(why)
    }
}
