//! One request over one connection: it is written, and the head of its response is waited for.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::head::OutboundHead;
use super::http1;
use super::http2::{self, Answer, Exchange, Streams};
use super::live::Upstream;
use super::outgoing::{BodyError, Outgoing, Progress};
use super::pool::{Connection, Lease};
use super::timeouts::within_time;
use crate::dial::Origin;
use crate::http2::Http2Fault;
use crate::timer::CoarseInstant;

/// A response head, and the connection that its body comes over.
pub(super) struct Answered<B> {
    pub(super) lease: Lease<B>,
    /// With the stream's own body on HTTP/2.
    pub(super) response: Response<Option<Answer<B>>>,
    /// The request body, which may still be on its way.
    pub(super) upload: Option<Rc<Progress>>,
}

/// Why a request has no answer.
pub(super) enum NotAnswered<B> {
    /// Nothing of it went out.
    NotStarted(Outgoing<B>),
    Failed(ExchangeError),
}

/// Sends the request and waits for the response head. What can be done without waiting is done in the call itself.
pub(super) fn send<'a, B>(
    lease: Lease<B>,
    upstream: &'a Upstream,
    origin: &Origin,
    head: OutboundHead<'_>,
    body: Outgoing<B>,
) -> impl Future<Output = Result<Answered<B>, NotAnswered<B>>> + use<'a, B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let upload = body.progress();
    let state = start(lease, upstream, origin, head, body);
    async move {
        match state {
            SendState::Http1(lease) => answered_by_http1(lease, upstream, upload).await,
            SendState::Http2(lease, exchange) => answered_by_http2(lease, upstream, exchange, upload).await,
            SendState::NotStarted(body) => Err(NotAnswered::NotStarted(body)),
            SendState::NoHost => Err(failed("the origin cannot be written as a Host")),
        }
    }
}

enum SendState<B> {
    Http1(Lease<B>),
    Http2(Lease<B>, Exchange<B>),
    NotStarted(Outgoing<B>),
    /// The origin is none that a request could name.
    NoHost,
}

fn start<B>(
    mut lease: Lease<B>,
    upstream: &Upstream,
    origin: &Origin,
    head: OutboundHead<'_>,
    body: Outgoing<B>,
) -> SendState<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let Some(authority) = upstream.authority(origin) else { return SendState::NoHost };
    match &mut lease.connection {
        Connection::Http1(connection) => {
            connection.http1.begin(head, &authority.0, body);
            SendState::Http1(lease)
        }
        Connection::Http2(sender, guard) => {
            let request = http2::request(head, origin, authority.1.clone(), body);
            match Exchange::begin(sender, request, head.interim.cloned(), &guard.streams) {
                Ok(exchange) => SendState::Http2(lease, exchange),
                Err(body) => {
                    lease.note(Streams::ended);
                    SendState::NotStarted(body)
                }
            }
        }
    }
}

async fn answered_by_http1<B>(
    mut lease: Lease<B>,
    upstream: &Upstream,
    upload: Option<Rc<Progress>>,
) -> Result<Answered<B>, NotAnswered<B>>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let reused = lease.reused;
    let Connection::Http1(connection) = &mut lease.connection else {
        return Err(failed("the connection speaks another protocol"));
    };
    let http1 = &mut connection.http1;
    let left_at = CoarseInstant::now();
    match within_time(|cx| http1.poll_response(cx), upload.clone(), &upstream.settings.timeouts).await {
        Ok(Ok(response)) => Ok(Answered { lease, response: response.map(|()| None), upload }),
        Ok(Err(fault)) => Err(match http1.take_unbegun() {
            Some(body) if matches!(fault, http1::Fault::Ended(_)) => NotAnswered::NotStarted(body),
            _ => NotAnswered::Failed(fault.into_error(reused && http1.is_unanswered())),
        }),
        Err(late) => {
            if late.kind == ExchangeErrorKind::HttpResponseTimeout {
                lease.distrust_idle_before(left_at);
            }
            Err(NotAnswered::Failed(late))
        }
    }
}

async fn answered_by_http2<B>(
    lease: Lease<B>,
    upstream: &Upstream,
    mut exchange: Exchange<B>,
    upload: Option<Rc<Progress>>,
) -> Result<Answered<B>, NotAnswered<B>>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    match within_time(|cx| exchange.poll_answer(cx), upload.clone(), &upstream.settings.timeouts).await {
        Ok(Ok(answer)) => {
            lease.note(Streams::answered);
            Ok(Answered { lease, response: exchange.into_answer(answer).map(Some), upload })
        }
        Ok(Err(fault)) => {
            learn(&lease, &fault);
            let error = fault.into_error(lease.reused);
            Err(NotAnswered::Failed(error))
        }
        Err(late) => {
            // Unless it is the caller who is late.
            if late.kind == ExchangeErrorKind::HttpResponseTimeout {
                lease.timed_out();
            }
            Err(NotAnswered::Failed(late))
        }
    }
}

/// What a fault says of the connection and of its server.
fn learn<B>(lease: &Lease<B>, fault: &http2::Fault)
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let http2::Fault::Ended(error) = fault else { return };
    match Http2Fault::of(error) {
        Http2Fault::Unprocessed => lease.note(Streams::refused),
        Http2Fault::Http11Required => lease.speak_http1(),
        Http2Fault::GoingAway | Http2Fault::Malformed | Http2Fault::Body | Http2Fault::Broken => {}
    }
}

fn failed<B>(detail: &str) -> NotAnswered<B> {
    NotAnswered::Failed(ExchangeError::new(ExchangeErrorKind::HttpProtocolError, detail))
}
