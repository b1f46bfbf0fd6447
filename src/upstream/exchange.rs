//! One request out, one response back.
//!
//! What can be done at once is done before the future is made: the usual request leaves on an idle connection while
//! [`Pool::exchange`] is still a plain call, and what is awaited holds no request any more.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use http::header::UPGRADE;
use http::{Response, StatusCode};
use http_body::Body;

use super::error::{ExchangeError, ExchangeErrorKind, Resend};
use super::head::OutboundHead;
use super::live::{Offer, Upstream};
use super::outgoing::{BodyError, Outgoing};
use super::pool::{OriginPool, Pool};
use super::response_body::ResponseBody;
use super::send::{Answered, NotAnswered, send};
use crate::dial::Origin;

/// On how many connections a request tries to leave that none of them has let out.
const MAX_TURNS: usize = 4;

/// A response, and how it came about.
#[derive(Debug)]
pub(crate) struct Exchanged<B> {
    pub(crate) response: Response<ResponseBody<B>>,
    /// How long the request waited for a connection, where it had to.
    pub(crate) connecting: Option<Duration>,
    /// Where the connection leads.
    pub(crate) peer: Option<SocketAddr>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Sends a request to the origin and waits for the response head. A `TE: trailers` that is still there is passed in the
    /// protocol's own way.
    ///
    /// A request that provably never left (the pooled connection had just closed) goes out again on a new connection,
    /// whatever its method: nothing was sent.
    ///
    /// # Errors
    /// [`ExchangeError`], by RFC 9209's kinds. The body may have been consumed in part.
    pub(crate) fn exchange<'a>(
        &self,
        upstream: &'a Upstream,
        origin: &'a Origin,
        head: OutboundHead<'a>,
        body: B,
    ) -> impl Future<Output = Result<Exchanged<B>, ExchangeError>> + use<'a, B> {
        // Only HTTP/1.1 can switch protocols, so such a request has connections of its own where TLS could agree on HTTP/2.
        let offer = if head.head.headers.contains_key(UPGRADE) { Offer::Http1 } else { Offer::Any };
        let pool = self.of(upstream, origin, offer);
        let body = Outgoing::new(body);
        let kept = if head.fresh { None } else { pool.take(!body.is_end_stream()) };
        match kept {
            Some(lease) => {
                // A shared one that has ended is not found again, and others may stand.
                let fresh = !lease.is_shared();
                let sent = send(lease, upstream, origin, head, body);
                Either::Left(async move {
                    match sent.await {
                        Ok(answered) => Ok(exchanged(answered, upstream, None)),
                        Err(NotAnswered::NotStarted(body)) => {
                            Box::pin(on_other_connection(pool, upstream, origin, head, body, fresh)).await
                        }
                        Err(NotAnswered::Failed(error)) => Err(error),
                    }
                })
            }
            // Boxed: a handshake's state is large, and every request's future would have to have room for it.
            None => Either::Right(Box::pin(on_other_connection(pool, upstream, origin, head, body, head.fresh))),
        }
    }
}

/// Waits for a connection; `fresh` asks for a new one, after a used one has failed.
async fn on_other_connection<B>(
    pool: Rc<OriginPool<B>>,
    upstream: &Upstream,
    origin: &Origin,
    head: OutboundHead<'_>,
    mut body: Outgoing<B>,
    mut fresh: bool,
) -> Result<Exchanged<B>, ExchangeError>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let began = Instant::now();
    let mut turns = 0;
    loop {
        let lease = pool.lease(upstream, origin, fresh, !body.is_end_stream()).await?;
        let connecting = began.elapsed();
        let (reused, is_shared) = (lease.reused, lease.is_shared());
        turns += 1;
        match send(lease, upstream, origin, head, body).await {
            Ok(answered) => return Ok(exchanged(answered, upstream, Some(connecting))),
            Err(NotAnswered::Failed(error)) => return Err(error),
            Err(NotAnswered::NotStarted(unsent)) => {
                // Over HTTP/1.1 it can leave, on a connection of another pool.
                let is_other_pools = is_shared && pool.wants_http1();
                // A server of HTTP/2 may end a connection before anything was sent on it, in good order.
                if (!reused && !is_shared) || turns == MAX_TURNS || is_other_pools {
                    let detail = format!("{origin} closed the connection before the request was sent");
                    let error = ExchangeError::new(ExchangeErrorKind::ConnectionTerminated, detail);
                    let resend = if is_other_pools { Resend::Always } else { Resend::Never };
                    return Err(ExchangeError { resend, ..error });
                }
                body = unsent;
                fresh = !is_shared;
            }
        }
    }
}

fn exchanged<B>(answered: Answered<B>, upstream: &Upstream, connecting: Option<Duration>) -> Exchanged<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let Answered { lease, response, upload } = answered;
    let silence = upstream.settings.timeouts.body;
    let peer = lease.peer();
    let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let response = response.map(|answer| {
        if is_switched {
            ResponseBody::switched(lease, silence)
        } else {
            ResponseBody::new(lease, answer, silence, upload)
        }
    });
    Exchanged { response, connecting, peer }
}
