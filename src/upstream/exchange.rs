//! One request out, one response back.
//!
//! What can be done at once is done before the future is made: the usual request leaves on an idle connection while
//! [`Pool::exchange`] is still a plain call, and what is awaited holds no request any more.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::uri::{self, Uri};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;

use super::body::{BodyError, Outgoing, Progress, ResponseBody};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::lease::NotSent;
use super::pool::{OriginPool, Pool};
use super::{Offer, Origin, Timeouts, Upstream, path_and_query};
use crate::coarse::{Deadline, Limit};

/// The answer of an exchange.
pub(super) type Exchanged<B> = Result<Response<ResponseBody<B>>, ExchangeError>;

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Sends a request to the origin and waits for the response head. The URI's path and query are used; scheme,
    /// authority and `Host` are the origin's. A `TE: trailers` that is still there is passed in the protocol's own way.
    ///
    /// A request that provably never left (the pooled connection had just closed) goes out once more on a new connection,
    /// whatever its method: nothing was sent.
    ///
    /// # Errors
    /// [`ExchangeError`], by RFC 9209's kinds. The body may have been consumed in part.
    pub fn exchange<'a>(
        &self,
        upstream: &'a Upstream,
        origin: &'a Origin,
        request: Request<B>,
    ) -> impl Future<Output = Exchanged<B>> + use<'a, B> {
        // Only HTTP/1.1 can switch protocols, so such a request has connections of its own where TLS could agree on HTTP/2.
        let offer = if request.headers().contains_key(UPGRADE) { Offer::Http1 } else { Offer::Any };
        let pool = self.of(upstream, origin, offer);
        let request = request.map(Outgoing::new);
        match pool.take(upstream) {
            Some(lease) => {
                let sent = lease.send(upstream, origin, request);
                Either::Left(async move {
                    match sent.await {
                        Err(NotSent::Unbegun(request)) => {
                            Box::pin(on_other_connection(pool, upstream, origin, *request, true)).await
                        }
                        other => settle(other, origin),
                    }
                })
            }
            // Boxed: a handshake's state is large, and every request's future would have to have room for it.
            None => Either::Right(Box::pin(on_other_connection(pool, upstream, origin, request, false))),
        }
    }
}

/// Waits for a connection; `fresh` asks for a new one, after a used one has failed.
async fn on_other_connection<B>(
    pool: Rc<OriginPool<B>>,
    upstream: &Upstream,
    origin: &Origin,
    request: Request<Outgoing<B>>,
    mut fresh: bool,
) -> Exchanged<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let mut request = request;
    loop {
        let lease = pool.lease(upstream, origin, fresh).await?;
        let reused = lease.reused;
        match lease.send(upstream, origin, request).await {
            Err(NotSent::Unbegun(unsent)) if reused => {
                request = *unsent;
                fresh = true;
            }
            other => return settle(other, origin),
        }
    }
}

fn settle<B>(sent: Result<Response<ResponseBody<B>>, NotSent<B>>, origin: &Origin) -> Exchanged<B> {
    sent.map_err(|not_sent| match not_sent {
        NotSent::Unbegun(_) => {
            let detail = format!("{origin} closed the connection before the request was sent");
            ExchangeError::new(ExchangeErrorKind::ConnectionTerminated, detail)
        }
        NotSent::Failed(error) => error,
    })
}

/// Origin-form and `Host` (RFC 9112 section 3.2.1), always 1.1, whatever the caller spoke (RFC 9110 section 2.5).
pub(super) fn shape_http1<B>(request: &mut Request<B>, host: HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        *request.uri_mut() = Uri::from(path_and_query(request.uri()));
    }
    request.headers_mut().insert(HOST, host);
    if request.headers().contains_key(TE) {
        // `TE` is for this connection only and says so (RFC 9110 section 10.1.4), beside an upgrade if there is one.
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// `:scheme`, `:authority` and `:path` instead of `Host` (RFC 9113 section 8.3.1).
pub(super) fn shape_http2<B>(request: &mut Request<B>, origin: &Origin, authority: uri::Authority) {
    *request.version_mut() = Version::HTTP_2;
    let mut parts = uri::Parts::default();
    parts.scheme = Some(match origin.scheme {
        super::Scheme::Http => uri::Scheme::HTTP,
        super::Scheme::Https => uri::Scheme::HTTPS,
    });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path_and_query(request.uri()));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(HOST);
}

/// Waits for a response head. While the body is on its way, the clock runs from its last movement; afterwards the response
/// timeout counts.
pub(super) fn within_time<'a, T, P>(
    mut poll: P,
    progress: Option<Rc<Progress>>,
    timeouts: &'a Timeouts,
) -> impl Future<Output = Result<T, ExchangeError>> + use<'a, T, P>
where
    P: FnMut(&mut Context<'_>) -> Poll<T>,
{
    let mut waiting = match progress {
        Some(progress) => Waiting::Body(Deadline::at(progress.last.get()), progress),
        None => Waiting::Answer(Limit::after(timeouts.response)),
    };
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match &mut waiting {
            Waiting::Answer(limit) => limit.poll(cx).map(|()| Err(response_timeout(timeouts))),
            Waiting::Body(deadline, progress) => poll_progress(deadline, progress, timeouts, cx).map(Err),
        }
    })
}

/// What the clock runs for.
enum Waiting {
    Answer(Limit),
    Body(Deadline, Rc<Progress>),
}

/// Ready when it has taken too long.
fn poll_progress(
    deadline: &mut Deadline,
    progress: &Progress,
    timeouts: &Timeouts,
    cx: &mut Context<'_>,
) -> Poll<ExchangeError> {
    // On HTTP/2 the body moves in another task, so this one looks again at the earliest moment that could be the end.
    deadline.move_to(progress.last.get().after(timeouts.response.min(timeouts.body)));
    std::task::ready!(deadline.poll(cx));
    let finished = progress.finished.get();
    deadline.move_to(progress.last.get().after(if finished { timeouts.response } else { timeouts.body }));
    deadline.poll(cx).map(|()| {
        if finished {
            response_timeout(timeouts)
        } else {
            let detail = "the request body stood still for too long".to_owned();
            ExchangeError::new(ExchangeErrorKind::RequestBodyTimeout, detail)
        }
    })
}

fn response_timeout(timeouts: &Timeouts) -> ExchangeError {
    let limit = humantime::format_duration(timeouts.response);
    ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, format!("no response within {limit}"))
}
