//! The head made ready, the request out, and its answer made one for the caller.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::admit::policy::max_forwards;
use super::authorization::Authorized;
use super::body::response::{CallerBody, OnTrailers};
use super::context::RequestContext;
use super::error::ProxyError;
use super::head::credential;
use super::head::hop_by_hop::Nominated;
use super::head::rewrite::{rewrite_request, rewrite_response};
use super::head::via::ViaIdentity;
use super::outcome::Outcome;
use super::rewrite::{self, Terms};
use super::routing::destination::ResolvedRoute;
use super::send::{self, UpstreamResponse};
use super::source::Admitted;
use super::state::Proxy;
use super::tunnel::switch::{self, Switch};
use crate::credential::{Authorization, Credential};
use crate::dial::Origin;
use crate::listen::Incoming;
use crate::runtime::ListenerRuntime;
use crate::upstream::{ExchangeError, Upstream};

/// What is still needed of a head that has been made ready.
pub(super) struct Prepared {
    pub(super) switch: Option<Switch>,
    pub(super) nominated: Option<Nominated>,
}

pub(super) fn prepare(
    via: &ViaIdentity,
    route: &ResolvedRoute,
    terms: Option<&Terms>,
    authorized: &Authorized<'_>,
    head: &mut Parts,
    body: &mut Incoming,
) -> Prepared {
    let wishes = rewrite_request(via, head, route.path.clone(), route.at.route.credential.is_some());
    let switch = switch::ask(wishes.upgrade, head, body);
    rewrite::tell_upstream(terms, route, head);
    if let Some(credential) = authorized.credential() {
        credential::remove_callers(credential, head);
    }
    Prepared { switch, nominated: wishes.nominated }
}

/// With what is put on, if anything. Interim answers are told in the caller's terms, as the answer is.
pub(super) async fn send(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    terms: Option<&Terms>,
    with: Option<(&Arc<Credential>, Authorization)>,
    sending: (&Parts, Option<&Nominated>),
    body: Incoming,
) -> Result<(UpstreamResponse, Option<OnTrailers>), ExchangeError> {
    let interims = terms.and_then(|_| body.interim());
    let tell = |headers: &mut HeaderMap| rewrite::tell_caller(terms, route, sending.0, headers);
    match with {
        Some(with) => {
            let answer = pin!(send::send_authorized(proxy, ctx, route, with, sending, body));
            rewrite::changed_before(answer, interims, tell).await
        }
        None => {
            let upstream = &route.at.route.upstream;
            let mut answer = Box::pin(send::send_plain(proxy, ctx, upstream, route.origin(), sending, body));
            rewrite::changed_before(pin!(&mut answer), interims, tell).await.map(|response| (response, None))
        }
    }
}

/// Makes an upstream's answer one for the caller, or joins the two sides of a switch of protocols.
pub(super) fn answer(
    proxy: &Rc<Proxy>,
    response: UpstreamResponse,
    switch: Option<Switch>,
    upstream: &Upstream,
    caller: &Admitted<'_>,
) -> Result<Response<CallerBody>, ProxyError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch::join(proxy, switch, response, upstream, caller.tunnel_source());
    }
    if switch.is_some_and(|switch| switch.would_be_opened_by(response.status())) {
        return Err(ProxyError::bad_response(
            "the upstream answered without switching to the protocol that was asked for",
        ));
    }
    let (mut head, body) = response.into_parts();
    let nominated = rewrite_response(&proxy.shared.via, &mut head);
    Ok(Response::from_parts(head, CallerBody::upstream(body, nominated)))
}

/// To an origin that no upstream covers: untouched.
pub(super) async fn to_unmatched(
    proxy: &Rc<Proxy>,
    ctx: &mut RequestContext,
    listener: &ListenerRuntime,
    (upstream, origin): (&Arc<Upstream>, &Origin),
    caller: &Admitted<'_>,
    head: &mut Parts,
    mut body: Incoming,
) -> Result<Response<CallerBody>, ProxyError> {
    if let Some(answer) = max_forwards(head)? {
        return Ok(answer);
    }
    let wishes = rewrite_request(&proxy.shared.via, head, None, false);
    let switch = switch::ask(wishes.upgrade, head, &mut body);
    let sending = (&*head, wishes.nominated.as_ref());
    let response = send::send_plain(proxy, ctx, upstream, origin, sending, body).await;
    let response = response.map_err(|error| ProxyError::unmatched_exchange(&origin.to_string(), &error))?;
    let response = answer(proxy, response, switch, upstream, caller)?;
    ctx.count_answer(&listener.metrics, Outcome::Passed, response.status());
    Ok(response)
}
