//! A connection in the hands of one request.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Response, StatusCode};
use http_body::{Body, Frame};

use super::Upstream;
use super::body::{BodyError, Outgoing, ResponseBody};
use super::counted::Alive;
use super::error::{ExchangeError, ExchangeErrorKind};
use super::exchange::{OutboundHead, http2_request, within_time};
use super::http1::{self, Stream};
use super::http2::{self, Exchange};
use super::pool::OriginPool;
use super::shared::Streams;
use crate::dial::{Http2Fault, Origin};
use crate::timer::CoarseInstant;

/// A connection in use by one request; dropped instead of given back, an HTTP/1.1 connection is closed.
pub(super) struct Lease<B> {
    speaking: Speaking<B>,
    /// It has carried requests before.
    pub(super) reused: bool,
    pool: Rc<OriginPool<B>>,
}

/// By what the server speaks.
pub(super) enum Speaking<B> {
    /// The whole connection.
    Http1(Box<Owned<B>>),
    /// One stream of a shared one.
    Http2(SendRequest<Bytes>, StreamGuard<B>),
}

/// An HTTP/1.1 connection, counted while it lives.
pub(super) struct Owned<B> {
    pub(super) http1: http1::Connection<B>,
    /// Which machine it leads to, or which parent proxy.
    pub(super) peer: Option<SocketAddr>,
    pub(super) _alive: Alive<B>,
}

/// Counts one stream of a shared connection while it lives; its end, however it comes, may let a waiting request go on.
pub(super) struct StreamGuard<B> {
    streams: Rc<Streams<B>>,
    pool: Rc<OriginPool<B>>,
}

/// What became of a request that was not answered.
pub(super) enum NotSent<B> {
    /// Nothing of it went out.
    Unbegun(Outgoing<B>),
    /// It failed.
    Failed(ExchangeError),
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    pub(super) fn new(speaking: Speaking<B>, reused: bool, pool: &Rc<OriginPool<B>>) -> Self {
        Self { speaking, reused, pool: Rc::clone(pool) }
    }

    /// True if others use the connection too.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self.speaking, Speaking::Http2(..))
    }

    /// Sends the request and waits for the response head. What can be done without waiting is done in the call itself.
    pub(super) fn send<'a>(
        self,
        upstream: &'a Upstream,
        origin: &Origin,
        head: OutboundHead<'_>,
        body: Outgoing<B>,
    ) -> impl Future<Output = Result<Response<ResponseBody<B>>, NotSent<B>>> + use<'a, B> {
        let begun = self.begin(upstream, origin, head, body);
        async move {
            match begun {
                Begun::Http1(lease, progress) => lease.answered_by_http1(upstream, progress).await,
                Begun::Http2(lease, exchange, progress) => lease.answered_by_http2(upstream, exchange, progress).await,
                Begun::Unbegun(body) => Err(NotSent::Unbegun(body)),
                Begun::Not => {
                    let detail = "the origin cannot be written as a Host";
                    Err(NotSent::Failed(ExchangeError::new(ExchangeErrorKind::HttpProtocolError, detail)))
                }
            }
        }
    }

    /// What became of a request, for the others that share the connection.
    fn note(&self, what: fn(&Streams<B>)) {
        if let Speaking::Http2(_, stream) = &self.speaking {
            what(&stream.streams);
        }
    }

    /// An answer, or what is left of it, has not come in time; the connection is told, if it is shared.
    pub(super) fn timed_out(&self) {
        self.note(Streams::timed_out);
    }

    /// The same of an answer that has not begun, unless it is the caller who is late.
    fn late(&self, error: ExchangeError) -> ExchangeError {
        if error.kind == ExchangeErrorKind::HttpResponseTimeout {
            self.timed_out();
        }
        error
    }

    /// Why a request over HTTP/2 was not answered; what that says of the connection and of its server is kept in mind.
    fn failed(&self, fault: http2::Fault) -> ExchangeError {
        let error = match fault {
            http2::Fault::Ended(error) => error,
            fault => return ExchangeError::from_http2(fault),
        };
        match Http2Fault::of(&error) {
            Http2Fault::Unprocessed => self.note(Streams::refused),
            Http2Fault::Http11Required => self.pool.speak_http1(),
            Http2Fault::GoingAway | Http2Fault::Malformed | Http2Fault::Body | Http2Fault::Broken => {}
        }
        ExchangeError::from_h2(&error, self.reused)
    }

    fn begin(mut self, upstream: &Upstream, origin: &Origin, head: OutboundHead<'_>, body: Outgoing<B>) -> Begun<B> {
        let progress = body.progress();
        let Some(authority) = upstream.authority(origin) else { return Begun::Not };
        match &mut self.speaking {
            Speaking::Http1(connection) => {
                connection.http1.begin(head, &authority.0, body);
                Begun::Http1(self, progress)
            }
            Speaking::Http2(sender, stream) => {
                let request = http2_request(head, origin, authority.1.clone(), body);
                match Exchange::begin(sender, request, head.interim.cloned(), &stream.streams) {
                    Ok(exchange) => Begun::Http2(self, exchange, progress),
                    Err(body) => {
                        self.note(Streams::ended);
                        Begun::Unbegun(body)
                    }
                }
            }
        }
    }

    async fn answered_by_http2(
        self,
        upstream: &Upstream,
        mut exchange: Exchange<B>,
        progress: Option<Rc<super::body::Progress>>,
    ) -> Result<Response<ResponseBody<B>>, NotSent<B>> {
        let timeouts = &upstream.settings.timeouts;
        match within_time(|cx| exchange.poll_answer(cx), progress.clone(), timeouts).await {
            Ok(Ok(answer)) => {
                self.note(Streams::answered);
                let answer = exchange.into_answer(answer);
                Ok(answer.map(|body| ResponseBody::new(self, Some(body), timeouts.body, progress)))
            }
            Ok(Err(fault)) => Err(NotSent::Failed(self.failed(fault))),
            Err(late) => Err(NotSent::Failed(self.late(late))),
        }
    }

    async fn answered_by_http1(
        mut self,
        upstream: &Upstream,
        progress: Option<Rc<super::body::Progress>>,
    ) -> Result<Response<ResponseBody<B>>, NotSent<B>> {
        let timeouts = &upstream.settings.timeouts;
        let Speaking::Http1(connection) = &mut self.speaking else {
            let detail = "the connection speaks another protocol";
            return Err(NotSent::Failed(ExchangeError::new(ExchangeErrorKind::HttpProtocolError, detail)));
        };
        let http1 = &mut connection.http1;
        let left_at = CoarseInstant::now();
        let answer = match within_time(|cx| http1.poll_response(cx), progress.clone(), timeouts).await {
            Ok(answer) => answer,
            Err(error) => {
                if self.reused && error.kind == ExchangeErrorKind::HttpResponseTimeout && http1.is_unanswered() {
                    self.pool.distrust(connection.peer, left_at);
                }
                return Err(NotSent::Failed(error));
            }
        };
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Ok(response.map(|()| ResponseBody::switched(self, timeouts.body)))
            }
            Ok(response) => Ok(response.map(|()| ResponseBody::new(self, None, timeouts.body, progress))),
            Err(fault) => Err(match http1.take_unbegun() {
                Some(body) if matches!(fault, http1::Fault::Ended(_)) => NotSent::Unbegun(body),
                _ => NotSent::Failed(ExchangeError::from_fault(fault, self.reused && http1.is_unanswered())),
            }),
        }
    }

    /// The next frame of the response body on HTTP/1.1.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.speaking {
            Speaking::Http1(connection) => connection.http1.poll_body(cx),
            Speaking::Http2(..) => Poll::Ready(None),
        }
    }

    /// What is left of the response body on HTTP/1.1, if that is known.
    pub(super) fn response_length(&self) -> Option<u64> {
        match &self.speaking {
            Speaking::Http1(connection) => connection.http1.response_length(),
            Speaking::Http2(..) => Some(0),
        }
    }

    /// The response is read to its end: the connection is free for the next request.
    pub(super) fn give_back(self) {
        match self.speaking {
            Speaking::Http1(connection) => {
                self.pool.give_back(connection);
                self.pool.announce_change();
            }
            Speaking::Http2(_, stream) => drop(stream),
        }
    }

    /// The bare stream, after a protocol switch; it is no longer counted.
    pub(super) fn into_stream(self) -> Option<(Stream, Bytes)> {
        match self.speaking {
            Speaking::Http1(connection) => Some(connection.http1.into_stream()),
            Speaking::Http2(..) => None,
        }
    }
}

enum Begun<B> {
    Http1(Lease<B>, Option<Rc<super::body::Progress>>),
    Http2(Lease<B>, Exchange<B>, Option<Rc<super::body::Progress>>),
    Unbegun(Outgoing<B>),
    Not,
}

impl<B> StreamGuard<B> {
    pub(super) fn new(streams: &Rc<Streams<B>>, pool: &Rc<OriginPool<B>>) -> Self {
        streams.begin();
        Self { streams: Rc::clone(streams), pool: Rc::clone(pool) }
    }
}

impl<B> Drop for StreamGuard<B> {
    fn drop(&mut self) {
        self.streams.end(&self.pool.bounds);
        self.pool.announce_change();
    }
}
