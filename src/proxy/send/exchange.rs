//! One request out, one answer back; again where the upstream has not processed it.

use http::Method;
use http::request::Parts;
use http_body::Body as _;

use super::sent_request::{ReplayHandle, Sent, SentRequest, UpstreamResponse};
use crate::dial::Origin;
use crate::listen::Incoming;
use crate::proxy::body::replay::ReplayBody;
use crate::proxy::body::request::RequestBody;
use crate::proxy::context::RequestContext;
use crate::proxy::head::credential::CredentialHead;
use crate::proxy::head::hop_by_hop::Nominated;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::proxy::state::Proxy;
use crate::upstream::{ExchangeError, Exchanged, OutboundHead, Resend, Upstream};

/// How often a request goes out that its upstream refuses: it may have too many.
const MAX_REFUSALS: usize = 4;

/// How many connections of its upstream a request may find at their end. A server that ends each after so many requests takes
/// as many connections for all that come at once; each takes some of them, and all the others share the next.
const MAX_ENDED_CONNECTIONS: usize = 16;

/// What is kept of a body that no 401 can have sent again. A server that does not process a request has been sent a window of
/// it at the most, which is this large unless the server says otherwise (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u64 = 64 * 1024;

/// Sends a request that carries no token of attache's.
pub(in crate::proxy) async fn send_plain(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    upstream: &Upstream,
    origin: &Origin,
    (head, nominated): (&Parts, Option<&Nominated>),
    body: Incoming,
) -> Result<UpstreamResponse, ExchangeError> {
    let interim = body.interim();
    let (mut body, handle) = record_body(proxy, upstream, None, body);
    let request = SentRequest { head, nominated, body: handle, interim };
    let mut sendings = Sendings::default();
    loop {
        match exchange(proxy, ctx, upstream, origin, &request, OutboundHead::plain(head), body).await {
            Ok(response) => return Ok(response),
            Err(error) => body = sendings.next(error, &head.method, &request.body)?,
        }
    }
}

/// Sends a request with its token, and with everything that each sending needs anew; `fresh`: over a new connection, which may
/// lead to another server.
pub(super) async fn send(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
    mut body: RequestBody,
    fresh: bool,
) -> Result<UpstreamResponse, ExchangeError> {
    let (origin, head) = (route.origin(), sent.request.head);
    let upstream = &route.at.route.upstream;
    let mut sendings = Sendings::default();
    let response = loop {
        let with_credential = CredentialHead::new(sent.credential, &sent.authorization, origin, head)?;
        let outbound = OutboundHead { fresh, ..with_credential.head(head, &sent.authorization) };
        match exchange(proxy, ctx, upstream, origin, &sent.request, outbound, body).await {
            Ok(response) => break response,
            Err(error) => body = sendings.next(error, &head.method, &sent.request.body)?,
        }
    };
    if sent.credential.binding().is_some() {
        // An upstream may give the next nonce with any answer (RFC 9449 section 8.2).
        sent.credential.learn_nonce((origin.scheme.as_str(), &origin.authority()), response.headers());
    }
    Ok(response)
}

async fn exchange(
    proxy: &Proxy,
    ctx: &mut RequestContext,
    upstream: &Upstream,
    origin: &Origin,
    request: &SentRequest<'_>,
    outbound: OutboundHead<'_>,
    body: RequestBody,
) -> Result<UpstreamResponse, ExchangeError> {
    let outbound = OutboundHead { interim: request.interim.as_ref(), ..outbound };
    let (body, limit) = body.trimmed(request.nominated).limited(proxy.shared.admission.body_bytes)?;
    let attempt = ctx.begin_attempt(request.head, upstream, origin);
    let outbound = OutboundHead { trace: attempt.as_ref().and_then(|attempt| attempt.traceparent()), ..outbound };
    let exchanged = proxy.pool.exchange(upstream, origin, outbound, body).await;
    if let Some(attempt) = attempt {
        ctx.end_attempt(attempt, exchanged.as_ref());
    }
    let Exchanged { response, connecting, peer } = limit.judge(exchanged)?;
    ctx.note_connection(connecting, peer);
    Ok(response)
}

/// Keeps a body on its way: `max` bytes of it for the replay that follows a 401, where there may be one, and otherwise enough
/// for an upstream that may say that it has not processed a request.
pub(super) fn record_body(
    proxy: &Proxy,
    upstream: &Upstream,
    max: Option<u64>,
    body: Incoming,
) -> (RequestBody, ReplayHandle) {
    if body.is_end_stream() {
        return (RequestBody::Empty, ReplayHandle::Empty);
    }
    let declared = body.size_hint().lower();
    let may_be_unprocessed = upstream.may_speak_http2();
    let (limit, handle): (u64, fn(_) -> ReplayHandle) = match max {
        Some(max) if declared <= max => (max, ReplayHandle::Kept),
        _ if !may_be_unprocessed => return (RequestBody::Streaming(body), ReplayHandle::Gone),
        _ if declared <= FIRST_WINDOW => (FIRST_WINDOW, ReplayHandle::Passing),
        // Whole as long as nothing of it has been read.
        _ => (0, ReplayHandle::Passing),
    };
    let body = ReplayBody::new(body, limit, &proxy.replays);
    let replay = body.replay();
    (RequestBody::Replayable(body), handle(replay))
}

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
    fn next(
        &mut self,
        error: ExchangeError,
        method: &Method,
        body: &ReplayHandle,
    ) -> Result<RequestBody, ExchangeError> {
        let again = match error.resend {
            Resend::Never => None,
            Resend::IfIdempotent => {
                let repeatable = method.is_idempotent() && matches!(body, ReplayHandle::Empty);
                (repeatable && !std::mem::replace(&mut self.stale, true)).then_some(RequestBody::Empty)
            }
            Resend::Always => {
                self.refused += 1;
                if self.refused < MAX_REFUSALS { body.again() } else { None }
            }
            Resend::OnNextConnection => {
                self.at_end += 1;
                if self.at_end < MAX_ENDED_CONNECTIONS { body.again() } else { None }
            }
        };
        again.ok_or(error)
    }
}
