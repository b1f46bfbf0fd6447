//! A refused token: discard it, obtain another, send the request again. The only place where a request is sent again because
//! of its answer.

use std::time::Duration;

use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::challenge::{self, Verdict};
use super::exchange::send;
use super::sent_request::{ReplayHandle, Sent, UpstreamResponse, renewals, request_path, verdict};
use super::trailers::{Settled, settled};
use super::unauthorized::{count, warrant};
use crate::credential::{Authorization, Credential};
use crate::proxy::body::request::RequestBody;
use crate::proxy::context::{RequestContext, TraceIds};
use crate::proxy::outcome::UnauthorizedOutcome as Outcome;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::proxy::state::Proxy;
use crate::renewal::{Answer, Decision, RefusedToken};
use crate::token::TokenErrorKind;
use crate::upstream::{ExchangeError, ResponseBody};

/// The lines about tokens that were not replaced have a measure of their own, beside the line for each outcome.
const NOT_REPLACED: &str = "not_replaced";

/// A refused answer's body is read to here, so that its connection can be used again; beyond, the connection is closed.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The answer for the caller: the second one where the request could be sent again, otherwise the first, body and all.
pub(super) async fn after_refusal(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: Sent<'_>,
    refused: UpstreamResponse,
) -> Result<Settled, ExchangeError> {
    let refused = if wants_nonce(sent.credential, &refused) {
        with_nonce(proxy, ctx, route, &sent, refused).await?
    } else {
        refused
    };
    let answer = verdict(route, &refused);
    if answer != Answer::Refused {
        return Ok(settled(proxy, route, &sent, refused, answer));
    }
    // The first answer is kept until there is a token: without one, it is what the caller gets.
    let (authorization, decided, body) = match another_try(ctx, route, &sent, &refused).await {
        Ok(another) => another,
        Err(outcome) => {
            count(&proxy.shared, &route.at, sent.authorization.generation(), outcome, ctx.trace());
            ctx.note_unauthorized(outcome);
            return Ok((refused, None));
        }
    };
    discard(proxy, refused.into_body());
    send_again(proxy, ctx, route, &Sent { authorization, ..sent }, decided, body).await
}

/// True for the answer of an upstream that wants a nonce in the proofs of bound tokens (RFC 9449 section 9).
pub(super) fn wants_nonce(credential: &Credential, response: &UpstreamResponse) -> bool {
    credential.binding().is_some()
        && response.status() == StatusCode::UNAUTHORIZED
        && challenge::verdict(response.headers(), |scheme| credential.answers(scheme)) == Verdict::NonceWanted
}

/// Sends the request again with the same token and the nonce that the upstream wants. That is not the one retry that a
/// refused token has: neither was the token refused, nor is another one asked for.
async fn with_nonce(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
    refused: UpstreamResponse,
) -> Result<UpstreamResponse, ExchangeError> {
    // The nonce is known from here on, so that only this one request is lost where it cannot be sent again.
    let Some(body) = sent.request.body.replay() else { return Ok(refused) };
    tracing::debug!(target: "attache::proxy", upstream = route.at.route.name(), "the upstream wants a nonce in the proof");
    discard(proxy, refused.into_body());
    send(proxy, ctx, route, sent, body, false).await
}

/// What the request is sent again with, and what that was decided on (`None` if a newer token was there); or why it is not.
async fn another_try(
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
    refused: &UpstreamResponse,
) -> Result<(Authorization, Option<Decision>, RequestBody), Outcome> {
    may_renew(route, sent, refused)?;
    let (authorization, decided) = another_token(ctx, route, sent).await?;
    let body = sent.request.body.replay().ok_or(Outcome::BodyTooLarge)?;
    Ok((authorization, decided, body))
}

fn may_renew(route: &ResolvedRoute, sent: &Sent<'_>, refused: &UpstreamResponse) -> Result<(), Outcome> {
    match challenge::verdict(refused.headers(), |scheme| sent.credential.answers(scheme)) {
        Verdict::InsufficientScope => return Err(Outcome::InsufficientScope),
        // One that has taken this token says only what else it takes.
        Verdict::OtherScheme if !renewals(&route.at, sent.credential).has_accepted() => {
            return Err(Outcome::OtherScheme);
        }
        // It could not be sent again with the nonce, or was refused with it too.
        Verdict::NonceWanted if sent.credential.binding().is_some() => {
            let gone = matches!(sent.request.body, ReplayHandle::Gone | ReplayHandle::Passing(_));
            return Err(if gone { Outcome::BodyTooLarge } else { Outcome::RetriedFailed });
        }
        // A token that is bound to nothing has no proof.
        Verdict::NonceWanted | Verdict::OtherScheme | Verdict::TokenRefused => {}
    }
    if route.at.route.settings.retry.enabled { Ok(()) } else { Err(Outcome::Disabled) }
}

async fn another_token(
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
) -> Result<(Authorization, Option<Decision>), Outcome> {
    let (renewals, place) = (renewals(&route.at, sent.credential), request_path(route, sent.request.head));
    let mut decided = None;
    let warrant = |standing: RefusedToken| warrant(renewals, place, standing, &mut decided);
    let began = Instant::now();
    let renewed = sent.credential.renew(&sent.authorization, warrant).await;
    if matches!(decided, Some(Decision::Renew(_))) {
        ctx.note_waited(sent.credential.token_name(), began.elapsed());
    }
    let TraceIds { trace_id, span_id } = ctx.trace();
    match renewed {
        Ok(Some(newer)) if newer.says_the_same(&sent.authorization) => {
            // The server has no other token than the one that was refused.
            renewals.sent_again(decided, Answer::Refused, newer.generation(), place, Instant::now());
            Err(Outcome::FreshToken)
        }
        Ok(Some(newer)) => Ok((newer, decided)),
        Ok(None) => match decided {
            Some(Decision::SendAgain) => Ok((sent.authorization.clone(), decided)),
            Some(_) => Err(Outcome::FreshToken),
            // A fixed credential that is what it was.
            None => Err(Outcome::Disabled),
        },
        Err(error) => {
            if let Some(decided) = decided {
                renewals.failed(decided, place, Instant::now());
            }
            let (upstream, kind) = (route.at.route.name(), error.kind.as_str());
            match route.at.unauthorized.take(NOT_REPLACED) {
                Some(suppressed) => {
                    tracing::warn!(target: "attache::proxy", upstream, kind, trace_id, span_id, suppressed, "refused token not replaced: {error}");
                }
                None => {
                    tracing::debug!(target: "attache::proxy", upstream, kind, trace_id, span_id, "refused token not replaced: {error}");
                }
            }
            Err(if error.kind == TokenErrorKind::Held { Outcome::FreshToken } else { Outcome::TokenError })
        }
    }
}

/// The second answer is final, whatever it is. If the second request fails altogether, its failure is the answer: the first
/// one has been given up by then.
async fn send_again(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
    decided: Option<Decision>,
    body: RequestBody,
) -> Result<Settled, ExchangeError> {
    let fresh = decided == Some(Decision::SendAgain);
    let response = send(proxy, ctx, route, sent, body, fresh).await;
    // A request that fails says nothing about the token.
    let answer = response.as_ref().map_or(Answer::Neither, |response| verdict(route, response));
    let (renewals, place) = (renewals(&route.at, sent.credential), request_path(route, sent.request.head));
    renewals.sent_again(decided, answer, sent.authorization.generation(), place, Instant::now());
    if let (Some(Decision::Renew(evidence)), Answer::Taken) = (decided, answer) {
        sent.credential.renewal_helped(evidence);
    }
    let accepted = response.is_ok() && answer != Answer::Refused;
    let outcome = if accepted { Outcome::RetriedOk } else { Outcome::RetriedFailed };
    count(&proxy.shared, &route.at, sent.authorization.generation(), outcome, ctx.trace());
    ctx.note_unauthorized(outcome);
    Ok(settled(proxy, route, sent, response?, answer))
}

/// Reads an answer that the caller does not get, within bounds, so that its connection can be used again.
fn discard(proxy: &Proxy, mut body: ResponseBody<RequestBody>) {
    if body.is_end_stream() {
        return;
    }
    proxy.spawn(async move {
        let drained = async {
            let mut left = DRAIN_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                let Some(rest) = left.checked_sub(length) else { break };
                left = rest;
            }
        };
        // Either way the body is dropped here: read to its end it frees the connection, otherwise it closes it.
        let _in_time = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
    });
}
