//! One caller's connection, from its first byte to its last.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::bind::Accepted;
use super::panics::CountingExecutor;
use super::roster::{Roster, Seat};
use super::watched::{Overdue, Standing, Switch, Watched};
use super::{CallerConnection, Handler, Limits};
use crate::coarse::{self, Deadline, Tick};
use crate::tls::server::names_in;

/// RFC 9113 section 3.4: how an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams of one HTTP/2 caller at a time, and how much of their bodies may be under way.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How long a connection without a request in progress stays open while the worker drains: a request that was on its way
/// when the draining began is answered, with `Connection: close`.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// What serving connections needs besides them; one for each worker and kind of listener.
#[derive(Debug, Clone)]
pub struct Serving {
    /// `[limits]`.
    pub limits: Arc<Limits>,
    /// Panics in the tasks of connections.
    pub panics: Counter,
    /// Who is told to finish.
    pub roster: Rc<Roster>,
}

/// Serves an accepted connection.
pub(super) async fn serve<H: Handler>(
    accepted: Accepted,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) {
    if !handler.admits(&caller) {
        return;
    }
    match accepted {
        Accepted::Tcp(stream, _) => serve_secured(stream, handler, caller, serving).await,
        Accepted::Unix(stream) => serve_secured(stream, handler, caller, serving).await,
    }
}

/// A while after the draining began.
async fn grace(draining: impl Future<Output = ()>) {
    draining.await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// TLS first, where the listener has it.
async fn serve_secured<S, H>(stream: S, handler: Rc<H>, caller: Arc<CallerConnection>, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Some(config) = handler.tls() else { return serve_protocol(stream, handler, caller, serving).await };
    let handshake = coarse::timeout(serving.limits.header_timeout, TlsAcceptor::from(config).accept(stream));
    let stream = tokio::select! {
        // Boxed: the state of a handshake is large, and every connection's future would have to have room for it.
        shaken = Box::pin(handshake) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(target: "attache::listen", peer = %caller.peer, %error, "a caller's TLS handshake failed");
                return;
            }
            // Silent for too long.
            Err(_elapsed) => return,
        },
        () = grace(serving.roster.draining()) => return,
    };
    if let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        caller.has_shown(names_in(certificate));
    }
    serve_protocol(stream, handler, caller, serving).await;
}

async fn serve_protocol<S, H>(stream: S, handler: Rc<H>, caller: Arc<CallerConnection>, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    if handler.speaks_socks() {
        handler.serve_socks(stream, caller).await;
    } else {
        serve_stream(stream, BytesMut::new(), handler, caller, serving).await;
    }
}

/// Serves HTTP on any stream, in the version that the caller's first bytes say; `prefix` holds those that have been read
/// already.
pub async fn serve_stream<S, H>(
    mut stream: S,
    mut prefix: BytesMut,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    serving: Serving,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Serving { limits, panics, roster } = serving;
    let seat = roster.seat();
    let limits = &*limits;
    let detected = tokio::select! {
        detected = coarse::timeout(limits.header_timeout, speaks_http2(&mut stream, &mut prefix)) => detected,
        // What it sends may be on its way.
        () = grace(seat.draining()) => return,
    };
    let Ok(Ok(http2)) = detected else {
        // Closed, broken or silent before a single request: nobody to answer.
        return;
    };
    let standing = Arc::new(Standing::default());
    let watched = Watched::new(stream, prefix.freeze(), Arc::clone(&standing), !http2, H::malformed);
    let title_case = handler.title_case();
    let io = TokioIo::new(watched.in_title_case(title_case));
    let service = {
        let standing = Arc::clone(&standing);
        service_fn(move |request: Request<Incoming>| {
            let in_progress = InProgress::new(&standing);
            let (handler, caller) = (Rc::clone(&handler), Arc::clone(&caller));
            let switching = Switching::of(&request, &standing);
            async move {
                let mut answer = handler.handle(request, &caller).await;
                if let Some(switching) = switching {
                    switching.decided_by(&mut answer);
                }
                Ok::<_, std::convert::Infallible>(answer.map(|body| WatchedBody { body, in_progress }))
            }
        })
    };
    if http2 {
        standing.is_http2();
        let connection = http2::Builder::new(CountingExecutor(panics))
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        watch(pin!(connection), http2::Connection::graceful_shutdown, &standing, limits, &seat).await;
    } else {
        let connection = http1::Builder::new()
            // Ours: hyper's would also count the time between requests.
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes)
            .title_case_headers(title_case)
            .serve_connection(io, service)
            .with_upgrades();
        watch(pin!(connection), http1::UpgradeableConnection::graceful_shutdown, &standing, limits, &seat).await;
    }
}

/// Reads until it is clear whether this is HTTP/2 with prior knowledge. Whatever was read is in `prefix`.
async fn speaks_http2<S: AsyncRead + Unpin>(stream: &mut S, prefix: &mut BytesMut) -> std::io::Result<bool> {
    loop {
        let read = &prefix[..prefix.len().min(PREFACE.len())];
        if !PREFACE.starts_with(read) {
            return Ok(false);
        }
        if read.len() == PREFACE.len() {
            return Ok(true);
        }
        if stream.read_buf(prefix).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Drives a connection, and ends it when it is overdue or the worker drains.
async fn watch<C>(
    mut connection: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
    standing: &Standing,
    limits: &Limits,
    seat: &Seat,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut deadline = Deadline::at(Tick::now());
    let mut finishing = false;
    // Since when the worker drains.
    let mut draining: Option<Tick> = None;
    let ended = std::future::poll_fn(|cx| {
        if draining.is_none() && seat.must_finish(cx) {
            draining = Some(Tick::now());
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        let patience = draining.map(|since| since.after(DRAIN_GRACE));
        if let Some(patience) = patience
            && !finishing
            && (standing.may_finish_now() || Tick::now() >= patience)
        {
            finishing = true;
            finish(connection.as_mut());
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        let (at, overdue) = match (standing.deadline(limits), patience.filter(|_| !finishing)) {
            (Some((at, overdue)), Some(patience)) if at <= patience => (at, overdue),
            (_, Some(patience)) => (patience, Overdue::Idle),
            (Some(deadline), None) => deadline,
            (None, None) => return Poll::Pending,
        };
        deadline.move_to(at);
        std::task::ready!(deadline.poll(cx));
        match overdue {
            Overdue::Idle if !finishing => {
                finishing = true;
                finish(connection.as_mut());
                connection.as_mut().poll(cx)
            }
            Overdue::Head => {
                standing.expire();
                // Lets the answer out; the connection is dropped whether it has ended or not.
                let _last = connection.as_mut().poll(cx);
                Poll::Ready(Ok(()))
            }
            Overdue::Idle | Overdue::Blocked => Poll::Ready(Ok(())),
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(target: "attache::listen", %error, "caller connection ended");
    }
}

/// A request to switch protocols, until its answer.
struct Switching {
    connect: bool,
    standing: Arc<Standing>,
}

impl Switching {
    fn of(request: &Request<Incoming>, standing: &Arc<Standing>) -> Option<Self> {
        if standing.switch() == Switch::No {
            return None;
        }
        let connect = request.method() == Method::CONNECT;
        let asks = connect || request.headers().contains_key(UPGRADE);
        asks.then(|| Self { connect, standing: Arc::clone(standing) })
    }

    fn decided_by<B>(self, answer: &mut Response<B>) {
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success()) {
            self.standing.set_switch(Switch::Yes);
        } else if self.standing.switch() == Switch::Overrun {
            // What came behind the request was meant for another protocol, and passed by unread.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        } else {
            self.standing.set_switch(Switch::No);
        }
    }
}

/// Marks a connection as busy while it lives.
struct InProgress(Arc<Standing>);

impl InProgress {
    fn new(standing: &Arc<Standing>) -> Self {
        standing.begin_request();
        Self(Arc::clone(standing))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

pin_project_lite::pin_project! {
    /// A response body that keeps its connection busy until its end.
    struct WatchedBody<B> {
        #[pin]
        body: B,
        in_progress: InProgress,
    }
}

impl<B: Body<Data = Bytes>> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
