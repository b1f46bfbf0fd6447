//! A request on its way to its upstream: once, and once more where its token was the trouble.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use http_body::Body as _;

use super::body::RequestBody;
use super::destination::Reached;
use super::grpc::{self, TrailerWatch};
use super::replay::ReplayBody;
use super::retry::{self, Sent, SentBody};
use super::{Proxy, access, body_limit, inject};
use crate::credential::{Authorization, Credential};
use crate::listen::Incoming;
use crate::renewal::Answer;
use crate::upstream::{ExchangeError, Origin, OutboundHead, ResponseBody, Upstream};

/// An upstream's answer.
pub(super) type UpstreamResponse = Response<ResponseBody<RequestBody>>;

/// The same, with what its trailers have to be watched for, if anything.
pub(super) type Settled = (UpstreamResponse, Option<Box<TrailerWatch>>);

impl Proxy {
    /// Sends the request with its token, and once more where that token was the trouble. `head` is only lent, so that it can
    /// be sent again.
    pub(super) async fn send_authorized(
        &self,
        reached: &Reached,
        credential: &Arc<Credential>,
        head: &Parts,
        body: Incoming,
        authorization: Authorization,
    ) -> Result<Settled, ExchangeError> {
        let interim = body.interim();
        let (body, sent_body) = self.keep_body(reached, body);
        let left_at = retry::renewals(reached, credential).sent_at();
        let sent = Sent { credential, head, body: sent_body, authorization, left_at, interim };
        let response = self.send(reached, &sent, body, false).await?;
        let told = retry::answer_of(reached, &response);
        if told == Answer::Refused || retry::wants_nonce(credential, &response) {
            return Box::pin(retry::after_refusal(self, reached, sent, response)).await;
        }
        Ok(grpc::settled(self, reached, &sent, response, told))
    }

    /// Sends it once, with everything that this one sending needs; `fresh`: over a new connection, which may lead to another
    /// server.
    pub(super) async fn send(
        &self,
        reached: &Reached,
        sent: &Sent<'_>,
        body: RequestBody,
        fresh: bool,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let origin = reached.origin();
        let finish = inject::Finish::of(sent.credential, &sent.authorization, origin, sent.head)?;
        let outbound =
            OutboundHead { fresh, interim: sent.interim.as_ref(), ..finish.head(sent.head, &sent.authorization) };
        let response = self.exchange(&reached.lane.route.upstream, origin, outbound, body).await?;
        if sent.credential.binding().is_some() {
            // An upstream may give the next nonce with any answer (RFC 9449 section 8.2).
            sent.credential.learn_nonce((origin.scheme.as_str(), &origin.authority()), response.headers());
        }
        Ok(response)
    }

    /// Sends a request that carries no token of ours.
    pub(super) async fn pass(
        &self,
        upstream: &Upstream,
        origin: &Origin,
        head: &Parts,
        body: Incoming,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let interim = body.interim();
        let outbound = OutboundHead { interim: interim.as_ref(), ..OutboundHead::plain(head) };
        self.exchange(upstream, origin, outbound, RequestBody::streaming(body)).await
    }

    /// One request out, one response back. A request whose used connection ended without a word goes out once more, if that
    /// changes nothing (RFC 9110 section 9.2.2).
    async fn exchange(
        &self,
        upstream: &Upstream,
        origin: &Origin,
        outbound: OutboundHead<'_>,
        body: RequestBody,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let repeatable = outbound.head.method.is_idempotent() && matches!(body, RequestBody::Empty);
        let most = self.shared.admission.body_bytes;
        let (body, bound) = body_limit::bound(body.trimmed(outbound.head), most)?;
        let attempt = access::attempt(outbound.head, upstream);
        let exchanged = match self.pool.exchange(upstream, origin, outbound, body).await {
            Err(error) if error.stale_connection && repeatable => {
                Box::pin(self.pool.exchange(upstream, origin, outbound, RequestBody::Empty)).await
            }
            other => other,
        };
        access::attempted(attempt, &exchanged);
        bound.told(exchanged, most)
    }

    /// Wraps the body for a replay, if it may be replayed at all.
    fn keep_body(&self, reached: &Reached, body: Incoming) -> (RequestBody, SentBody) {
        if body.is_end_stream() {
            return (RequestBody::Empty, SentBody::Empty);
        }
        let retry = &reached.lane.route.settings.retry;
        if !retry.enabled {
            return (RequestBody::Streaming(body), SentBody::Gone);
        }
        match ReplayBody::new(body, retry.max_body, &self.shared.replay_budget) {
            Ok(body) => {
                let replay = body.replay();
                (RequestBody::Replayable(body), SentBody::Kept(replay))
            }
            Err(body) => (RequestBody::Streaming(body), SentBody::Gone),
        }
    }
}
