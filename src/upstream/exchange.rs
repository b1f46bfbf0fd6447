//! One request out, one response back.

use std::future::Future;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{HOST, TE};
use http::uri::{self, Uri};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::{BodyError, Outgoing, Progress, ResponseBody};
use super::error::{ExchangeError, ExchangeErrorKind};
use super::pool::{Lease, Pool, Sender};
use super::{Origin, Timeouts, Upstream, path_and_query};
use crate::coarse::Deadline;

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
    pub async fn exchange(
        &self,
        upstream: &Upstream,
        origin: &Origin,
        request: Request<B>,
    ) -> Result<Response<ResponseBody<B>>, ExchangeError> {
        let origin_pool = self.of(upstream, origin);
        let mut request = request.map(Outgoing::new);
        let mut fresh = false;
        loop {
            let mut lease = origin_pool.lease(upstream, origin, fresh).await?;
            match lease.send(upstream, origin, request).await {
                Ok(response) => {
                    let silence = upstream.settings.timeouts.body;
                    return Ok(response.map(|body| ResponseBody::new(body, lease, silence)));
                }
                Err(NotSent::Unbegun(unsent)) if lease.reused => {
                    request = unsent.map(|body| Outgoing::new(body.into_inner()));
                    fresh = true;
                }
                Err(NotSent::Unbegun(_)) => {
                    let detail = format!("{origin} closed the connection before the request was sent");
                    return Err(ExchangeError::new(ExchangeErrorKind::ConnectionTerminated, detail));
                }
                Err(NotSent::Failed(error)) => return Err(error),
            }
        }
    }
}

enum NotSent<B> {
    /// Nothing of it went out.
    Unbegun(Request<Outgoing<B>>),
    Failed(ExchangeError),
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    async fn send(
        &mut self,
        upstream: &Upstream,
        origin: &Origin,
        mut request: Request<Outgoing<B>>,
    ) -> Result<Response<Incoming>, NotSent<B>> {
        let authority = upstream.authority(origin).ok_or_else(|| {
            let detail = format!("{origin} cannot be written as a Host");
            NotSent::Failed(ExchangeError::new(ExchangeErrorKind::HttpProtocolError, detail))
        })?;
        let progress = request.body().progress();
        let reused = self.reused;
        let waited = match &mut self.sender {
            Sender::Http1(sender) => {
                shape_http1(&mut request, authority.0);
                response_head(sender.try_send_request(request), progress, &upstream.settings.timeouts).await
            }
            Sender::Http2(sender, _) => {
                shape_http2(&mut request, origin, authority.1);
                response_head(sender.try_send_request(request), progress, &upstream.settings.timeouts).await
            }
        };
        match waited {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(mut error)) => Err(match error.take_message() {
                Some(request) => NotSent::Unbegun(request),
                None => NotSent::Failed(ExchangeError::from_hyper(error.error(), reused)),
            }),
            Err(error) => Err(NotSent::Failed(error)),
        }
    }
}

/// Origin-form and `Host` (RFC 9112 section 3.2.1), always 1.1, whatever the caller spoke (RFC 9110 section 2.5).
fn shape_http1<B>(request: &mut Request<B>, host: HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        *request.uri_mut() = Uri::from(path_and_query(request.uri()));
    }
    request.headers_mut().insert(HOST, host);
    if request.headers().contains_key(TE) {
        // `TE` is for this connection only and says so (RFC 9110 section 10.1.4).
        request.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("te"));
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
async fn response_head<B>(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>>,
    progress: Option<Rc<Progress>>,
    timeouts: &Timeouts,
) -> Result<Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>, ExchangeError> {
    let Some(progress) = progress else {
        return crate::coarse::timeout(timeouts.response, sending).await.map_err(|_elapsed| response_timeout(timeouts));
    };
    let mut sending = std::pin::pin!(sending);
    let mut deadline = Deadline::at(progress.last.get());
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
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
                ExchangeError::new(ExchangeErrorKind::RequestBody, detail)
            })
        })
    })
    .await
}

fn response_timeout(timeouts: &Timeouts) -> ExchangeError {
    let limit = humantime::format_duration(timeouts.response);
    ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, format!("no response within {limit}"))
}
