//! One request out, one response back.
//!
//! What can be done at once is done before the future is made: the usual request leaves on an idle connection while
//! [`Pool::exchange`] is still a plain call, and what is awaited holds no request any more.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONTENT_LENGTH, HOST, UPGRADE};
use http::request::Parts;
use http::uri::{self, PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body::Body;

use super::body::{BodyError, Outgoing, Progress, ResponseBody};
use super::error::{ExchangeError, ExchangeErrorKind, Resend};
use super::lease::NotSent;
use super::pool::{OriginPool, Pool};
use super::{Offer, Timeouts, Upstream, path_and_query};
use crate::dial::{Origin, Scheme};
use crate::interim::Interims;
use crate::timer::{Deadline, Limit};

/// On how many connections a request tries to leave that none of them has let out.
const MOST_TURNS: usize = 4;

/// The answer of an exchange.
pub(super) type Exchanged<B> = Result<Response<ResponseBody<B>>, ExchangeError>;

/// The head of a request as it is to leave: the caller's, rewritten, with our authorization in place of any that is in it.
/// Borrowed, so that it can be sent again without having been copied the first time.
#[derive(Clone, Copy)]
pub(crate) struct OutboundHead<'a> {
    /// Method, path and fields. Scheme, authority and `Host` are not looked at: those are the origin's.
    pub(crate) head: &'a Parts,
    /// In place of the head's path and query: a token may be in it.
    pub(crate) path: Option<&'a PathAndQuery>,
    /// The fields that authorize the request: a token, and what may have to go along with it. Fields of these names that are
    /// in the head do not leave.
    pub(crate) authorization: [Option<OutboundField<'a>>; 2],
    /// It leaves over a new connection.
    pub(crate) fresh: bool,
    /// Where interim answers go.
    pub(crate) interim: Option<&'a Rc<Interims>>,
}

/// A field that is put on a request.
pub(crate) type OutboundField<'a> = (&'a HeaderName, &'a HeaderValue);

impl<'a> OutboundHead<'a> {
    /// A head that leaves as it is.
    #[must_use]
    pub(crate) const fn plain(head: &'a Parts) -> Self {
        Self { head, path: None, authorization: [None, None], fresh: false, interim: None }
    }

    /// True if a field of this name is put on.
    pub(super) fn replaces(&self, name: &HeaderName) -> bool {
        let [first, second] = &self.authorization;
        first.is_some_and(|(ours, _)| ours == name) || second.is_some_and(|(ours, _)| ours == name)
    }
}

impl fmt::Debug for OutboundHead<'_> {
    /// Neither the path nor a field: there may be secrets in both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundHead").field("method", &self.head.method).finish_non_exhaustive()
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Sends a request to the origin and waits for the response head. A `TE: trailers` that is still there is passed in the
    /// protocol's own way.
    ///
    /// A request that provably never left (the pooled connection had just closed) goes out once more on a new connection,
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
    ) -> impl Future<Output = Exchanged<B>> + use<'a, B> {
        // Only HTTP/1.1 can switch protocols, so such a request has connections of its own where TLS could agree on HTTP/2.
        let offer = if head.head.headers.contains_key(UPGRADE) { Offer::Http1 } else { Offer::Any };
        let pool = self.of(upstream, origin, offer);
        let body = Outgoing::new(body);
        let kept = if head.fresh { None } else { pool.take(!body.is_end_stream()) };
        match kept {
            Some(lease) => {
                // A shared one that has ended is not found again, and others may stand.
                let fresh = !lease.is_shared();
                let sent = lease.send(upstream, origin, head, body);
                Either::Left(async move {
                    match sent.await {
                        Err(NotSent::Unbegun(body)) => {
                            Box::pin(on_other_connection(pool, upstream, origin, head, body, fresh)).await
                        }
                        other => settle(other, origin, Resend::Never),
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
) -> Exchanged<B>
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
        match lease.send(upstream, origin, head, body).await {
            // A server of HTTP/2 may end a connection before anything was sent on it, in good order.
            Err(NotSent::Unbegun(unsent))
                if (reused || is_shared) && turns < MOST_TURNS && !(is_shared && pool.wants_http1()) =>
            {
                body = unsent;
                fresh = !is_shared;
            }
            other => {
                // Over HTTP/1.1 it can leave, on a connection of another pool.
                let unsent = if is_shared && pool.wants_http1() { Resend::Always } else { Resend::Never };
                let mut settled = settle(other, origin, unsent);
                if let Ok(response) = &mut settled {
                    response.extensions_mut().insert(Connecting(connecting));
                }
                return settled;
            }
        }
    }
}

/// How long a request waited for a connection; goes along with its answer, where it had to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connecting(pub(crate) Duration);

fn settle<B>(sent: Result<Response<ResponseBody<B>>, NotSent<B>>, origin: &Origin, unsent: Resend) -> Exchanged<B> {
    sent.map_err(|not_sent| match not_sent {
        NotSent::Unbegun(_) => {
            let detail = format!("{origin} closed the connection before the request was sent");
            let error = ExchangeError::new(ExchangeErrorKind::ConnectionTerminated, detail);
            ExchangeError { resend: unsent, ..error }
        }
        NotSent::Failed(error) => error,
    })
}

/// `:scheme`, `:authority` and `:path` instead of `Host` (RFC 9113 section 8.3.1).
pub(super) fn http2_request<B: Body>(
    head: OutboundHead<'_>,
    origin: &Origin,
    authority: uri::Authority,
    body: B,
) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = head.head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    let mut parts = uri::Parts::default();
    parts.scheme = Some(match origin.scheme {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    });
    parts.authority = Some(authority);
    parts.path_and_query = Some(head.path.map_or_else(|| path_and_query(&head.head.uri), Clone::clone));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.headers_mut() = head.head.headers.clone();
    request.headers_mut().remove(HOST);
    for (name, value) in head.authorization.into_iter().flatten() {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    // Some servers want to know it beforehand, also that there will be nothing (RFC 9110 section 8.6).
    if let Some(length) = request.body().size_hint().exact()
        && (length > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH))
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    request
}

/// Waits for a response head. While the body is on its way, the clock runs from its last movement; afterwards the response
/// timeout counts.
pub(super) fn within_time<T, P>(
    mut poll: P,
    progress: Option<Rc<Progress>>,
    timeouts: &Timeouts,
) -> impl Future<Output = Result<T, ExchangeError>>
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
    let finished = progress.finished.get();
    deadline.move_to(progress.last.get().after(if finished { timeouts.response } else { timeouts.body }));
    deadline.poll(cx).map(|()| {
        if finished {
            response_timeout(timeouts)
        } else if progress.starved.get() {
            ExchangeError::new(ExchangeErrorKind::RequestBodyTimeout, "the request body stood still for too long")
        } else {
            let limit = humantime::format_duration(timeouts.body);
            let detail = format!("it took nothing of the request body for {limit}");
            ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, detail)
        }
    })
}

fn response_timeout(timeouts: &Timeouts) -> ExchangeError {
    let limit = humantime::format_duration(timeouts.response);
    ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, format!("no response within {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::CoarseInstant;
    use std::cell::Cell;

    #[test]
    fn two_fields_and_a_path_of_our_own_take_the_place_of_the_callers() {
        let (token, proof) = (HeaderName::from_static("authorization"), HeaderName::from_static("dpop"));
        let request = Request::get("http://caller.test/theirs?x").header(&token, "theirs").header(&proof, "theirs");
        let (head, ()) = request.header(&proof, "again").header("accept", "*/*").body(()).unwrap().into_parts();
        let (path, ours) = (PathAndQuery::from_static("/ours?secret"), HeaderValue::from_static("ours"));
        let outbound = OutboundHead {
            head: &head,
            path: Some(&path),
            authorization: [Some((&token, &ours)), Some((&proof, &ours))],
            ..OutboundHead::plain(&head)
        };
        let origin: Origin = "https://api.test".parse().unwrap();
        let sent = http2_request(outbound, &origin, "api.test".parse().unwrap(), http_body_util::Empty::<Bytes>::new());
        assert_eq!(sent.uri(), "https://api.test/ours?secret");
        for name in [&token, &proof] {
            assert_eq!(sent.headers().get_all(name).iter().collect::<Vec<_>>(), ["ours"]);
        }
        assert!(sent.headers().contains_key("accept"));
        let shown = format!("{outbound:?}");
        assert!(!shown.contains("ours") && !shown.contains("secret"), "{shown}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_the_fault_of_whoever_holds_it_up() {
        let ticker = tokio::spawn(crate::timer::drive());
        tokio::task::yield_now().await;
        let timeouts = Timeouts::default();
        for (finished, starved, expected) in [
            (false, true, ExchangeErrorKind::RequestBodyTimeout),
            (false, false, ExchangeErrorKind::HttpResponseTimeout),
            (true, false, ExchangeErrorKind::HttpResponseTimeout),
        ] {
            let (finished, starved) = (Cell::new(finished), Cell::new(starved));
            let progress = Rc::new(Progress { last: Cell::new(CoarseInstant::now()), finished, starved });
            let waiting = within_time(|_| Poll::<()>::Pending, Some(progress), &timeouts);
            assert_eq!(waiting.await.unwrap_err().kind, expected);
        }
        ticker.abort();
    }
}
