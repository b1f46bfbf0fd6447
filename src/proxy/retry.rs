//! 401: discard that token, obtain another, send the request once more. The only place where a request is sent twice.

use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body as _;

use super::Proxy;
use super::body::RequestBody;
use super::challenge::{self, Verdict};
use super::destination::Reached;
use super::replay::Replay;
use crate::credential::{Authorization, Credential};
use crate::upstream::{ExchangeError, ResponseBody};

/// A refused answer's body is read to here, so that its connection can be used again; beyond, the connection is closed.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A request that was sent, as far as it could be sent again.
pub(super) struct Sent<'a> {
    pub(super) credential: &'a Credential,
    /// The head as it went out, but for the authorization.
    pub(super) head: &'a Parts,
    pub(super) body: SentBody,
    pub(super) authorization: Authorization,
}

pub(super) enum SentBody {
    /// None: nothing to keep.
    Empty,
    /// Kept as far as it has been read.
    Kept(Replay),
    /// Streamed past: too large from the beginning.
    Gone,
}

type UpstreamResponse = Response<ResponseBody<RequestBody>>;

/// The answer for the caller: the second one where a replay was possible, otherwise the first, body and all.
pub(super) async fn after_refusal(
    proxy: &Proxy,
    reached: &Reached,
    sent: Sent<'_>,
    refused: UpstreamResponse,
) -> Result<UpstreamResponse, ExchangeError> {
    let (route, credential) = (&reached.lane.route, sent.credential);
    let refused =
        if wants_nonce(credential, &refused) { with_nonce(proxy, reached, &sent, refused).await? } else { refused };
    let generation = sent.authorization.generation();
    if !route.settings.retry.on.contains(&refused.status()) {
        route.hold.accepted(generation);
        return Ok(refused);
    }
    if let Some(outcome) = no_renewal(reached, &sent, &refused) {
        return Ok(given_back(proxy, reached, generation, refused, outcome));
    }
    // The first answer is kept until there is a token: without one, it is what the caller gets.
    let authorization = match credential.renew(&sent.authorization).await {
        Ok(Some(authorization)) => authorization,
        // What was refused is all there is.
        Ok(None) => return Ok(given_back(proxy, reached, generation, refused, "disabled")),
        Err(error) => {
            let (upstream, kind) = (route.name(), error.kind.as_str());
            match reached.lane.unauthorized.take("not_replaced") {
                Some(suppressed) => {
                    tracing::warn!(target: "attache::proxy", upstream, kind, suppressed, "refused token not replaced: {error}");
                }
                None => {
                    tracing::debug!(target: "attache::proxy", upstream, kind, "refused token not replaced: {error}");
                }
            }
            return Ok(given_back(proxy, reached, generation, refused, "token_error"));
        }
    };
    let body = match sent.body {
        SentBody::Empty => RequestBody::Empty,
        SentBody::Kept(replay) => match replay.begin() {
            Some(body) => RequestBody::Replayable(body),
            None => return Ok(given_back(proxy, reached, generation, refused, "body_too_large")),
        },
        SentBody::Gone => return Ok(given_back(proxy, reached, generation, refused, "body_too_large")),
    };
    discard(proxy, refused.into_body());
    // The replay was begun above, so there is none left to begin.
    let again = Sent { authorization, body: SentBody::Gone, ..sent };
    send_again(proxy, reached, &again, body).await
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
    reached: &Reached,
    sent: &Sent<'_>,
    refused: UpstreamResponse,
) -> Result<UpstreamResponse, ExchangeError> {
    let body = match &sent.body {
        SentBody::Empty => Some(RequestBody::Empty),
        SentBody::Kept(replay) => replay.clone().begin().map(RequestBody::Replayable),
        SentBody::Gone => None,
    };
    // The nonce is known from here on, so that only this one request is lost where it cannot be sent again.
    let Some(body) = body else { return Ok(refused) };
    tracing::debug!(target: "attache::proxy", upstream = reached.lane.route.name(), "the upstream wants a nonce in the proof");
    discard(proxy, refused.into_body());
    proxy.send(reached, sent, body).await
}

/// Why no other token is asked for, if so.
fn no_renewal(reached: &Reached, sent: &Sent<'_>, refused: &UpstreamResponse) -> Option<&'static str> {
    let route = &reached.lane.route;
    match challenge::verdict(refused.headers(), |scheme| sent.credential.answers(scheme)) {
        Verdict::InsufficientScope => return Some("insufficient_scope"),
        Verdict::OtherScheme => return Some("other_scheme"),
        // It could not be sent again with the nonce, or that did not please either.
        Verdict::NonceWanted if matches!(sent.body, SentBody::Gone) => return Some("body_too_large"),
        Verdict::NonceWanted => return Some("retried_failed"),
        Verdict::TokenRefused => {}
    }
    if !route.settings.retry.enabled {
        return Some("disabled");
    }
    let (generation, after) = (sent.authorization.generation(), sent.authorization.after_unauthorized());
    // Callers whose tokens are exchanged must not be able to hold each other up, so each has a bound of its own: what was
    // obtained because of a 401 is not renewed because of another.
    let held = if is_exchanged(reached) { after } else { route.hold.forbids_renewal(generation, after) };
    held.then_some("fresh_token")
}

fn is_exchanged(reached: &Reached) -> bool {
    reached.lane.route.credential.as_ref().is_some_and(|credential| credential.exchanges().is_some())
}

/// The second answer is final, whatever it is. If the second request fails altogether, its failure is the answer: the first
/// one has been given up by then.
async fn send_again(
    proxy: &Proxy,
    reached: &Reached,
    sent: &Sent<'_>,
    body: RequestBody,
) -> Result<UpstreamResponse, ExchangeError> {
    let route = &reached.lane.route;
    let answer = proxy.send(reached, sent, body).await;
    let accepted = answer.as_ref().is_ok_and(|response| !route.settings.retry.on.contains(&response.status()));
    let generation = sent.authorization.generation();
    let outcome = if accepted {
        route.hold.accepted(generation);
        "retried_ok"
    } else {
        if answer.is_ok() && !is_exchanged(reached) {
            route.hold.refused_again(generation, sent.authorization.after_unauthorized());
        }
        "retried_failed"
    };
    count(proxy, reached, generation, outcome);
    answer.map(|mut response| {
        response.extensions_mut().insert(Unauthorized(outcome));
        response
    })
}

/// What was done about a refused token; goes along with the answer, for the access log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unauthorized(pub(super) &'static str);

fn given_back(
    proxy: &Proxy,
    reached: &Reached,
    generation: u64,
    mut refused: UpstreamResponse,
    outcome: &'static str,
) -> UpstreamResponse {
    count(proxy, reached, generation, outcome);
    refused.extensions_mut().insert(Unauthorized(outcome));
    refused
}

/// Reads an answer that nobody wants, within bounds, so that its connection can be used again.
fn discard(proxy: &Proxy, mut body: ResponseBody<RequestBody>) {
    if body.is_end_stream() {
        return;
    }
    proxy.spawn(async move {
        let drained = async {
            let mut left = DRAIN_BYTES;
            while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                let Some(rest) = left.checked_sub(length) else { break };
                left = rest;
            }
        };
        // Either way the body is dropped here: read to its end it frees the connection, otherwise it closes it.
        let _in_time = tokio::time::timeout(DRAIN_TIME, drained).await;
    });
}

/// Every refusal is counted by what was done about it, and logged once: of many with the same outcome, most at debug.
fn count(proxy: &Proxy, reached: &Reached, generation: u64, outcome: &'static str) {
    let upstream = reached.lane.route.name();
    proxy.shared.metrics.unauthorized(upstream, outcome);
    match reached.lane.unauthorized.take(outcome) {
        Some(suppressed) => {
            tracing::info!(target: "attache::proxy", upstream, generation, outcome, suppressed, "the upstream refused the token");
        }
        None => {
            tracing::debug!(target: "attache::proxy", upstream, generation, outcome, "the upstream refused the token");
        }
    }
}
