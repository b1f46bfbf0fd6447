//! One request out, one response back.
//!
//! What can be done at once is done before the future is made: the usual request leaves on an idle connection while
//! [`Pool::exchange`] is still a plain call, and what is awaited holds no request any more.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{self, Uri};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::{BodyError, Outgoing, Progress, ResponseBody};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::pool::{Lease, OriginPool, Pool, Sender};
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
        match pool.take_ready(upstream) {
            Some(lease) => {
                let sent = lease.send(upstream, origin, request);
                Either::Left(async move {
                    match sent.await {
                        Err(NotSent::Unbegun(request)) => {
                            Box::pin(on_other_connection(pool, upstream, origin, *request, true)).await
                        }
                        other => settle(other, upstream, origin),
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
            other => return settle(other, upstream, origin),
        }
    }
}

fn settle<B>(
    sent: Result<(Response<Incoming>, Lease<B>), NotSent<B>>,
    upstream: &Upstream,
    origin: &Origin,
) -> Exchanged<B> {
    match sent {
        Ok((response, lease)) => {
            let silence = upstream.settings.timeouts.body;
            Ok(response.map(|body| ResponseBody::new(body, lease, silence)))
        }
        Err(NotSent::Unbegun(_)) => {
            let detail = format!("{origin} closed the connection before the request was sent");
            Err(ExchangeError::new(ExchangeErrorKind::ConnectionTerminated, detail))
        }
        Err(NotSent::Failed(error)) => Err(error),
    }
}

enum NotSent<B> {
    /// Nothing of it went out.
    Unbegun(Box<Request<Outgoing<B>>>),
    Failed(ExchangeError),
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Hands the request to the connection, then waits for the response head.
    fn send<'a>(
        mut self,
        upstream: &'a Upstream,
        origin: &Origin,
        mut request: Request<Outgoing<B>>,
    ) -> impl Future<Output = Result<(Response<Incoming>, Self), NotSent<B>>> + use<'a, B> {
        self.progress = request.body().progress();
        let progress = self.progress.clone();
        let sending = upstream.authority(origin).map(|(host, authority)| match &mut self.sender {
            Sender::Http1(sender) => {
                shape_http1(&mut request, host);
                Either::Left(sender.try_send_request(request))
            }
            Sender::Http2(sender, _) => {
                shape_http2(&mut request, origin, authority);
                Either::Right(sender.try_send_request(request))
            }
        });
        async move {
            let Some(sending) = sending else {
                let detail = "the origin cannot be written as a Host";
                return Err(NotSent::Failed(ExchangeError::new(ExchangeErrorKind::HttpProtocolError, detail)));
            };
            match response_head(pin!(sending), progress, &upstream.settings.timeouts).await {
                Ok(Ok(response)) => Ok((response, self)),
                Ok(Err(mut error)) => Err(match error.take_message() {
                    Some(request) => NotSent::Unbegun(Box::new(request.map(|body| Outgoing::new(body.into_inner())))),
                    None => NotSent::Failed(ExchangeError::from_hyper(error.error(), self.reused)),
                }),
                Err(error) => Err(NotSent::Failed(error)),
            }
        }
    }
}

/// Origin-form and `Host` (RFC 9112 section 3.2.1), always 1.1, whatever the caller spoke (RFC 9110 section 2.5).
fn shape_http1<B: Body>(request: &mut Request<B>, host: HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        *request.uri_mut() = Uri::from(path_and_query(request.uri()));
    }
    request.headers_mut().insert(HOST, host);
    if request.headers().contains_key(TE) {
        // `TE` is for this connection only and says so (RFC 9110 section 10.1.4), beside an upgrade if there is one.
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("te"));
    }
    if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
        // Said in so many words: hyper would take a GET without a length for one without a body, and drop it.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// `:scheme`, `:authority` and `:path` instead of `Host` (RFC 9113 section 8.3.1).
fn shape_http2<B>(request: &mut Request<B>, origin: &Origin, authority: uri::Authority) {
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

/// Waits for the response head. While the body is on its way, the clock runs from its last movement; afterwards the
/// response timeout counts.
fn response_head<'a, B, F>(
    mut sending: Pin<&'a mut F>,
    progress: Option<Rc<Progress>>,
    timeouts: &'a Timeouts,
) -> impl Future<Output = Result<F::Output, ExchangeError>> + use<'a, B, F>
where
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>>,
{
    let mut deadline = match &progress {
        Some(progress) => Limit::Coarse(Deadline::at(progress.last.get())),
        None => Limit::after(timeouts.response),
    };
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some(progress) = &progress else {
            return deadline.poll(cx).map(|()| Err(response_timeout(timeouts)));
        };
        let Limit::Coarse(deadline) = &mut deadline else { return Poll::Pending };
        // The body moves in another task, so this one looks again at the earliest moment that could be the end.
        deadline.move_to(progress.last.get().after(timeouts.response.min(timeouts.body)));
        std::task::ready!(deadline.poll(cx));
        let finished = progress.finished.get();
        deadline.move_to(progress.last.get().after(if finished { timeouts.response } else { timeouts.body }));
        deadline.poll(cx).map(|()| {
            Err(if finished {
                response_timeout(timeouts)
            } else {
                let detail = "the request body stood still for too long".to_owned();
                ExchangeError::new(ExchangeErrorKind::RequestBodyTimeout, detail)
            })
        })
    })
}

fn response_timeout(timeouts: &Timeouts) -> ExchangeError {
    let limit = humantime::format_duration(timeouts.response);
    ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, format!("no response within {limit}"))
}
