//! A request that was sent, as far as it could be sent again, and what its answer says about its token.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::grpc;
use crate::credential::{Authorization, Credential};
use crate::interim::Interims;
use crate::proxy::body::replay::Replay;
use crate::proxy::body::request::RequestBody;
use crate::proxy::head::hop_by_hop::Nominated;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::renewal::{Answer, Renewals, RequestPath};
use crate::runtime::ListenerRoute;
use crate::upstream::ResponseBody;

/// An upstream's answer.
pub(in crate::proxy) type UpstreamResponse = Response<ResponseBody<RequestBody>>;

pub(super) struct Sent<'a> {
    pub(super) credential: &'a Arc<Credential>,
    pub(super) authorization: Authorization,
    /// When it left: see [`Renewals::sent_at`].
    pub(super) left_at: Option<Instant>,
    pub(super) request: SentRequest<'a>,
}

/// What each sending of a request has in common.
pub(super) struct SentRequest<'a> {
    /// The head as it went out, but for the authorization.
    pub(super) head: &'a Parts,
    /// What its trailers must not have.
    pub(super) nominated: Option<&'a Nominated>,
    pub(super) body: ReplayHandle,
    /// Where interim answers go.
    pub(super) interim: Option<Rc<Interims>>,
}

pub(super) enum ReplayHandle {
    /// There is no body.
    Empty,
    /// Kept as far as it has been read.
    Kept(Replay),
    /// Too large to be kept: it is whole until it is read.
    Passing(Replay),
    /// Streamed past.
    Gone,
}

impl ReplayHandle {
    /// The same body, for another sending of a request that was not answered; `None` where it is not whole any more.
    pub(super) fn again(&self) -> Option<RequestBody> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Kept(replay) | Self::Passing(replay) => replay.begin().map(RequestBody::Replayable),
            Self::Gone => None,
        }
    }

    /// The same for a request that was answered, so that its body has been read; it is kept only up to its bound.
    pub(super) fn replay(&self) -> Option<RequestBody> {
        if matches!(self, Self::Passing(_)) { None } else { self.again() }
    }
}

/// What an answer says about the token of its request. Errors and redirects come from servers that never looked at it, too.
pub(super) fn verdict(route: &ResolvedRoute, response: &UpstreamResponse) -> Answer {
    let is_refusal = route.at.route.settings.retry.on.contains(&response.status())
        || grpc::is_unauthenticated(response.status(), response.headers());
    match response.status() {
        _ if is_refusal => Answer::Refused,
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => Answer::Taken,
        StatusCode::SWITCHING_PROTOCOLS => Answer::Taken,
        _ => Answer::Neither,
    }
}

/// What is known of the upstream and this credential; of the caller's own, where tokens are exchanged.
pub(super) fn renewals<'a>(at: &'a ListenerRoute, credential: &'a Credential) -> &'a Renewals {
    let exchanged = at.route.credential.as_ref().is_some_and(|credential| credential.exchanges().is_some());
    if exchanged { credential.renewals() } else { &at.route.renewals }
}

/// Where at the upstream the request went.
pub(super) fn request_path<'a>(route: &'a ResolvedRoute, head: &'a Parts) -> RequestPath<'a> {
    RequestPath { host: route.host(), path: head.uri.path() }
}
