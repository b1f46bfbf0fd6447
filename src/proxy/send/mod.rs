//! A request on its way to its upstream: once; again where its upstream has not processed it; and once more where its token
//! was the trouble.

pub(super) mod challenge;
pub(super) mod grpc;
pub(super) mod retry;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use http_body::Body as _;

use crate::credential::{Authorization, Credential};
use crate::dial::Origin;
use crate::listen::Incoming;
use crate::proxy::Proxy;
use crate::proxy::access;
use crate::proxy::body::RequestBody;
use crate::proxy::body::limit;
use crate::proxy::body::replay::ReplayBody;
use crate::proxy::head::credential;
use crate::proxy::routing::destination::Reached;
use crate::renewal::Answer;
use crate::upstream::{ExchangeError, OutboundHead, Resend, ResponseBody, Upstream};
use grpc::TrailerWatch;
use retry::{Sent, SentBody};

/// How often a request goes out that its upstream refuses: it may have too many.
const MOST_REFUSALS: usize = 4;

/// How many connections of its upstream a request may find at their end. A server that ends each after so many requests takes
/// as many connections for all that come at once; each takes some of them, and all the others share the next.
const MOST_CONNECTIONS: usize = 16;

/// What is kept of a body that no 401 can have sent again. A server that does not process a request has been sent a window of
/// it at the most, which is this large unless the server says otherwise (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u64 = 64 * 1024;

/// An upstream's answer.
pub(in crate::proxy) type UpstreamResponse = Response<ResponseBody<RequestBody>>;

/// The same, with what its trailers have to be watched for, if anything.
pub(in crate::proxy) type Settled = (UpstreamResponse, Option<Box<TrailerWatch>>);

/// The sendings of one request that have come to nothing.
#[derive(Default)]
struct Sendings {
    refused: usize,
    at_end: usize,
    stale: bool,
}

impl Sendings {
    /// The body for the next one.
    ///
    /// # Errors
    /// The failure of the last one, where there is no next.
    fn next(&mut self, error: ExchangeError, method: &Method, body: &SentBody) -> Result<RequestBody, ExchangeError> {
        let again = match error.resend {
            Resend::Never => None,
            Resend::IfIdempotent => {
                let repeatable = method.is_idempotent() && matches!(body, SentBody::Empty);
                (repeatable && !std::mem::replace(&mut self.stale, true)).then_some(RequestBody::Empty)
            }
            Resend::Always => {
                self.refused += 1;
                if self.refused < MOST_REFUSALS { body.again() } else { None }
            }
            Resend::OnNextConnection => {
                self.at_end += 1;
                if self.at_end < MOST_CONNECTIONS { body.again() } else { None }
            }
        };
        again.ok_or(error)
    }
}

impl Proxy {
    /// Sends the request with its token, and once more where that token was the trouble. `head` is only lent, so that it can
    /// be sent again.
    pub(in crate::proxy) async fn send_authorized(
        &self,
        reached: &Reached,
        credential: &Arc<Credential>,
        head: &Parts,
        body: Incoming,
        authorization: Authorization,
    ) -> Result<Settled, ExchangeError> {
        let interim = body.interim();
        let route = &reached.listener_route.route;
        let most = if route.settings.retry.enabled { Some(route.settings.retry.max_body) } else { None };
        let (body, sent_body) = self.keep_body(&route.upstream, most, body);
        let left_at = retry::renewals(reached, credential).sent_at();
        let sent = Sent { credential, head, body: sent_body, authorization, left_at, interim };
        let response = self.send(reached, &sent, body, false).await?;
        let told = retry::answer_of(reached, &response);
        if told == Answer::Refused || retry::wants_nonce(credential, &response) {
            return Box::pin(retry::after_refusal(self, reached, sent, response)).await;
        }
        Ok(grpc::settled(self, reached, &sent, response, told))
    }

    /// Sends it, with everything that each sending needs anew; `fresh`: over a new connection, which may lead to another
    /// server. Only a request that was not processed is sent again here.
    pub(in crate::proxy) async fn send(
        &self,
        reached: &Reached,
        sent: &Sent<'_>,
        mut body: RequestBody,
        fresh: bool,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let origin = reached.origin();
        let mut sendings = Sendings::default();
        let response = loop {
            let finish = credential::Finish::of(sent.credential, &sent.authorization, origin, sent.head)?;
            let outbound =
                OutboundHead { fresh, interim: sent.interim.as_ref(), ..finish.head(sent.head, &sent.authorization) };
            match self.exchange(&reached.listener_route.route.upstream, origin, outbound, body).await {
                Ok(response) => break response,
                Err(error) => body = sendings.next(error, &sent.head.method, &sent.body)?,
            }
        };
        if sent.credential.binding().is_some() {
            // An upstream may give the next nonce with any answer (RFC 9449 section 8.2).
            sent.credential.learn_nonce((origin.scheme.as_str(), &origin.authority()), response.headers());
        }
        Ok(response)
    }

    /// Sends a request that carries no token of ours.
    pub(in crate::proxy) async fn pass(
        &self,
        upstream: &Upstream,
        origin: &Origin,
        head: &Parts,
        body: Incoming,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let interim = body.interim();
        let (mut body, sent_body) = self.keep_body(upstream, None, body);
        let mut sendings = Sendings::default();
        loop {
            let outbound = OutboundHead { interim: interim.as_ref(), ..OutboundHead::plain(head) };
            match self.exchange(upstream, origin, outbound, body).await {
                Ok(response) => return Ok(response),
                Err(error) => body = sendings.next(error, &head.method, &sent_body)?,
            }
        }
    }

    /// One request out, one response back.
    async fn exchange(
        &self,
        upstream: &Upstream,
        origin: &Origin,
        outbound: OutboundHead<'_>,
        body: RequestBody,
    ) -> Result<UpstreamResponse, ExchangeError> {
        let most = self.shared.admission.body_bytes;
        let (body, bound) = limit::bound(body.trimmed(outbound.head), most)?;
        let attempt = access::attempt(outbound.head, upstream);
        let exchanged = self.pool.exchange(upstream, origin, outbound, body).await;
        access::attempted(attempt, &exchanged);
        bound.told(exchanged, most)
    }

    /// Keeps a body on its way: `most` bytes of it for the replay that follows a 401, where there may be one, and otherwise
    /// enough for an upstream that may say that it has not processed a request.
    fn keep_body(&self, upstream: &Upstream, most: Option<u64>, body: Incoming) -> (RequestBody, SentBody) {
        if body.is_end_stream() {
            return (RequestBody::Empty, SentBody::Empty);
        }
        let declared = body.size_hint().lower();
        let may_be_unprocessed = upstream.may_speak_http2();
        let (limit, sent_body): (u64, fn(_) -> SentBody) = match most {
            Some(most) if declared <= most => (most, SentBody::Kept),
            _ if !may_be_unprocessed => return (RequestBody::Streaming(body), SentBody::Gone),
            _ if declared <= FIRST_WINDOW => (FIRST_WINDOW, SentBody::Passing),
            // Whole as long as nothing of it has been read.
            _ => (0, SentBody::Passing),
        };
        let body = ReplayBody::new(body, limit, &self.replays);
        let replay = body.replay();
        (RequestBody::Replayable(body), sent_body(replay))
    }
}
