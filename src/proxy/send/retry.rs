//! 401: discard that token, obtain another, send the request once more. The only place where a request is sent again because
//! of its answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use http_body::Body as _;
use tokio::time::Instant;

use super::challenge::{self, Verdict};
use super::grpc;
use super::{Settled, UpstreamResponse};
use crate::credential::{Authorization, Credential};
use crate::interim::Interims;
use crate::proxy::body::RequestBody;
use crate::proxy::body::replay::Replay;
use crate::proxy::routing::destination::Reached;
use crate::proxy::{Proxy, ProxyShared};
use crate::renewal::{Answer, Decision, Evidence, RefusedToken, Renewals, RequestPath};
use crate::runtime::ListenerRoute;
use crate::upstream::{ExchangeError, ResponseBody};

/// A refused answer's body is read to here, so that its connection can be used again; beyond, the connection is closed.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A request that was sent, as far as it could be sent again.
pub(in crate::proxy) struct Sent<'a> {
    pub(in crate::proxy) credential: &'a Arc<Credential>,
    /// The head as it went out, but for the authorization.
    pub(in crate::proxy) head: &'a Parts,
    pub(in crate::proxy) body: SentBody,
    pub(in crate::proxy) authorization: Authorization,
    /// When it left: see [`Renewals::sent_at`].
    pub(in crate::proxy) left_at: Option<Instant>,
    /// Where interim answers go.
    pub(in crate::proxy) interim: Option<Rc<Interims>>,
}

pub(in crate::proxy) enum SentBody {
    /// None: nothing to keep.
    Empty,
    /// Kept as far as it has been read.
    Kept(Replay),
    /// Too large to be kept: it is whole until it is read.
    Passing(Replay),
    /// Streamed past.
    Gone,
}

impl SentBody {
    /// The same body once more, for another sending of a request that was not answered; `None` where it is not whole any
    /// more.
    pub(in crate::proxy) fn again(&self) -> Option<RequestBody> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Kept(replay) | Self::Passing(replay) => replay.begin().map(RequestBody::Replayable),
            Self::Gone => None,
        }
    }

    /// The same for a request that was answered, so that its body has been read; it is kept only up to its bound.
    fn replay(&self) -> Option<RequestBody> {
        if matches!(self, Self::Passing(_)) { None } else { self.again() }
    }
}

/// True if the upstream says that it does not take the token: by one of `retry.on`, or in gRPC's words.
fn is_refusal(reached: &Reached, response: &UpstreamResponse) -> bool {
    reached.listener_route.route.settings.retry.on.contains(&response.status()) || grpc::is_unauthenticated(response)
}

/// What an answer says about the token of its request. Errors and redirects come from servers that never looked at it, too.
pub(in crate::proxy) fn answer_of(reached: &Reached, response: &UpstreamResponse) -> Answer {
    match response.status() {
        _ if is_refusal(reached, response) => Answer::Refused,
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => Answer::Taken,
        StatusCode::SWITCHING_PROTOCOLS => Answer::Taken,
        _ => Answer::Neither,
    }
}

/// What is known of the upstream and this credential; of the caller's own, where tokens are exchanged.
pub(in crate::proxy) fn renewals<'a>(reached: &'a Reached, credential: &'a Credential) -> &'a Renewals {
    renewals_of(&reached.listener_route, credential)
}

/// The same.
pub(in crate::proxy) fn renewals_of<'a>(listener_route: &'a ListenerRoute, credential: &'a Credential) -> &'a Renewals {
    let exchanged = listener_route.route.credential.as_ref().is_some_and(|credential| credential.exchanges().is_some());
    if exchanged { credential.renewals() } else { &listener_route.route.renewals }
}

/// Where at the upstream the request went.
pub(in crate::proxy) fn place<'a>(reached: &'a Reached, head: &'a Parts) -> RequestPath<'a> {
    RequestPath { host: reached.host(), path: head.uri.path() }
}

/// The answer for the caller: the second one where the request could be sent again, otherwise the first, body and all.
pub(in crate::proxy) async fn after_refusal(
    proxy: &Proxy,
    reached: &Reached,
    sent: Sent<'_>,
    refused: UpstreamResponse,
) -> Result<Settled, ExchangeError> {
    let refused = if wants_nonce(sent.credential, &refused) {
        with_nonce(proxy, reached, &sent, refused).await?
    } else {
        refused
    };
    let told = answer_of(reached, &refused);
    if told != Answer::Refused {
        return Ok(grpc::settled(proxy, reached, &sent, refused, told));
    }
    let generation = sent.authorization.generation();
    if let Some(outcome) = no_renewal(reached, &sent, &refused) {
        return Ok(given_back(proxy, reached, generation, refused, outcome));
    }
    // The first answer is kept until there is a token: without one, it is what the caller gets.
    let (authorization, decided) = match another_token(reached, &sent).await {
        Another::Token(authorization, decided) => (authorization, decided),
        Another::None(outcome) => return Ok(given_back(proxy, reached, generation, refused, outcome)),
    };
    let Some(body) = sent.body.replay() else {
        return Ok(given_back(proxy, reached, generation, refused, "body_too_large"));
    };
    discard(proxy, refused.into_body());
    let again = Sent { authorization, ..sent };
    send_again(proxy, reached, &again, decided, body).await
}

/// What the request may be sent again with.
enum Another {
    /// A newer token, or the same one; and what that was decided on, `None` if a newer one was there.
    Token(Authorization, Option<Decision>),
    /// Nothing: the answer goes back with this outcome.
    None(&'static str),
}

async fn another_token(reached: &Reached, sent: &Sent<'_>) -> Another {
    let (renewals, place) = (renewals(reached, sent.credential), place(reached, sent.head));
    let mut decided = None;
    let warrant = |standing: RefusedToken| warrant(renewals, place, standing, &mut decided);
    match sent.credential.renew(&sent.authorization, warrant).await {
        Ok(Some(newer)) if newer.says_the_same(&sent.authorization) => {
            // The server has no other token than the one that was refused.
            renewals.sent_again(decided, Answer::Refused, newer.generation(), place, Instant::now());
            Another::None("fresh_token")
        }
        Ok(Some(newer)) => Another::Token(newer, decided),
        Ok(None) => match decided {
            Some(Decision::SendAgain) => Another::Token(sent.authorization.clone(), decided),
            Some(_) => Another::None("fresh_token"),
            // A fixed credential that is what it was.
            None => Another::None("disabled"),
        },
        Err(error) => {
            if let Some(decided) = decided {
                renewals.failed(decided, place, Instant::now());
            }
            let (upstream, kind) = (reached.listener_route.route.name(), error.kind.as_str());
            match reached.listener_route.unauthorized.take("not_replaced") {
                Some(suppressed) => {
                    tracing::warn!(target: "attache::proxy", upstream, kind, suppressed, "refused token not replaced: {error}");
                }
                None => {
                    tracing::debug!(target: "attache::proxy", upstream, kind, "refused token not replaced: {error}");
                }
            }
            Another::None("token_error")
        }
    }
}

/// Asks the rule, and says what it takes for a token request.
pub(in crate::proxy) fn warrant(
    renewals: &Renewals,
    place: RequestPath<'_>,
    standing: RefusedToken,
    decided: &mut Option<Decision>,
) -> Option<Evidence> {
    let decision = renewals.decide(place, standing, Instant::now());
    *decided = Some(decision);
    match decision {
        Decision::Renew(evidence) => Some(evidence),
        Decision::SendAgain | Decision::GiveBack => None,
    }
}

/// True for the answer of an upstream that wants a nonce in the proofs of bound tokens (RFC 9449 section 9).
pub(in crate::proxy) fn wants_nonce(credential: &Credential, response: &UpstreamResponse) -> bool {
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
    // The nonce is known from here on, so that only this one request is lost where it cannot be sent again.
    let Some(body) = sent.body.replay() else { return Ok(refused) };
    tracing::debug!(target: "attache::proxy", upstream = reached.listener_route.route.name(), "the upstream wants a nonce in the proof");
    discard(proxy, refused.into_body());
    proxy.send(reached, sent, body, false).await
}

/// Why no other token is asked for, if so.
fn no_renewal(reached: &Reached, sent: &Sent<'_>, refused: &UpstreamResponse) -> Option<&'static str> {
    match challenge::verdict(refused.headers(), |scheme| sent.credential.answers(scheme)) {
        Verdict::InsufficientScope => return Some("insufficient_scope"),
        // One that has taken our token says only what else it takes.
        Verdict::OtherScheme if !renewals(reached, sent.credential).has_accepted() => return Some("other_scheme"),
        // It could not be sent again with the nonce, or that did not please either.
        Verdict::NonceWanted if sent.credential.binding().is_some() => {
            let gone = matches!(sent.body, SentBody::Gone | SentBody::Passing(_));
            return Some(if gone { "body_too_large" } else { "retried_failed" });
        }
        // A token that is bound to nothing has no proof.
        Verdict::NonceWanted | Verdict::OtherScheme | Verdict::TokenRefused => {}
    }
    (!reached.listener_route.route.settings.retry.enabled).then_some("disabled")
}

/// The second answer is final, whatever it is. If the second request fails altogether, its failure is the answer: the first
/// one has been given up by then.
async fn send_again(
    proxy: &Proxy,
    reached: &Reached,
    sent: &Sent<'_>,
    decided: Option<Decision>,
    body: RequestBody,
) -> Result<Settled, ExchangeError> {
    let fresh = decided == Some(Decision::SendAgain);
    let answer = proxy.send(reached, sent, body, fresh).await;
    // A request that fails says nothing about the token.
    let told = answer.as_ref().map_or(Answer::Neither, |response| answer_of(reached, response));
    let (renewals, place) = (renewals(reached, sent.credential), place(reached, sent.head));
    renewals.sent_again(decided, told, sent.authorization.generation(), place, Instant::now());
    if let (Some(Decision::Renew(evidence)), Answer::Taken) = (decided, told) {
        sent.credential.renewal_helped(evidence);
    }
    let accepted = answer.is_ok() && told != Answer::Refused;
    let outcome = if accepted { "retried_ok" } else { "retried_failed" };
    count(&proxy.shared, &reached.listener_route, sent.authorization.generation(), outcome);
    answer.map(|mut response| {
        response.extensions_mut().insert(Unauthorized(outcome));
        grpc::settled(proxy, reached, sent, response, told)
    })
}

/// What was done about a refused token; goes along with the answer, for the access log.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Unauthorized(pub(in crate::proxy) &'static str);

fn given_back(
    proxy: &Proxy,
    reached: &Reached,
    generation: u64,
    mut refused: UpstreamResponse,
    outcome: &'static str,
) -> Settled {
    count(&proxy.shared, &reached.listener_route, generation, outcome);
    refused.extensions_mut().insert(Unauthorized(outcome));
    (refused, None)
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
pub(in crate::proxy) fn count(
    shared: &ProxyShared,
    listener_route: &ListenerRoute,
    generation: u64,
    outcome: &'static str,
) {
    let upstream = listener_route.route.name();
    shared.metrics.unauthorized(upstream, outcome);
    match listener_route.unauthorized.take(outcome) {
        Some(suppressed) => {
            tracing::info!(target: "attache::proxy", upstream, generation, outcome, suppressed, "the upstream refused the token");
        }
        None => {
            tracing::debug!(target: "attache::proxy", upstream, generation, outcome, "the upstream refused the token");
        }
    }
}
