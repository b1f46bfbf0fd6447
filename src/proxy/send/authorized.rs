//! A request with its token, and once again where that was the trouble.

use std::sync::Arc;

use http::request::Parts;

use super::exchange::{record_body, send};
use super::retry;
use super::sent_request::{Sent, SentRequest, renewals, verdict};
use super::trailers::{Settled, settled};
use crate::credential::{Authorization, Credential};
use crate::listen::Incoming;
use crate::proxy::context::RequestContext;
use crate::proxy::head::hop_by_hop::Nominated;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::proxy::state::Proxy;
use crate::renewal::Answer;
use crate::upstream::ExchangeError;

/// The head is only lent, so that it can be sent again.
pub(in crate::proxy) async fn send_authorized(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    (credential, authorization): (&Arc<Credential>, Authorization),
    (head, nominated): (&Parts, Option<&Nominated>),
    body: Incoming,
) -> Result<Settled, ExchangeError> {
    let interim = body.interim();
    let settings = &route.at.route.settings;
    let max = if settings.retry.enabled { Some(settings.retry.max_body) } else { None };
    let (body, handle) = record_body(proxy, &route.at.route.upstream, max, body);
    let left_at = renewals(&route.at, credential).sent_at();
    let request = SentRequest { head, nominated, body: handle, interim };
    let sent = Sent { credential, authorization, left_at, request };
    let response = send(proxy, ctx, route, &sent, body, false).await?;
    let answer = verdict(route, &response);
    if answer == Answer::Refused || retry::wants_nonce(credential, &response) {
        return Box::pin(retry::after_refusal(proxy, ctx, route, sent, response)).await;
    }
    Ok(settled(proxy, route, &sent, response, answer))
}
