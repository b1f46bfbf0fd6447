//! HTTP/1 towards callers, by hyper's server.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::drive::Served;
use super::interim::written_before;
use super::monitored_io::MonitoredIo;
use super::parking::{Parking, TakenApart};
use super::state::{ConnectionState, InProgress, Switch};
use crate::interim::Interims;
use crate::listen::caller::CallerConnection;
use crate::listen::handler::Handler;
use crate::listen::incoming::Incoming;
use crate::listen::settings::Limits;

/// Serves what comes over `stream`, of which `first` has been read already.
pub(super) fn serve<S, H>(
    stream: S,
    first: Bytes,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    state: Arc<ConnectionState>,
    limits: &Limits,
) -> impl Served + Unpin + use<S, H>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let (title_case, header_bytes) = (handler.title_case(), limits.header_bytes);
    let of_connection = Arc::clone(&state);
    let serve = move |stream, first| {
        let (handler, caller, state) = (Rc::clone(&handler), Arc::clone(&caller), Arc::clone(&of_connection));
        let io = MonitoredIo::new(stream, first, Arc::clone(&state), true, H::malformed).in_title_case(title_case);
        serve_anew(io, handler, caller, state, title_case, header_bytes)
    };
    Parking::new(stream, first, serve, state)
}

fn serve_anew<S, H>(
    io: MonitoredIo<S>,
    handler: Rc<H>,
    caller: Arc<CallerConnection>,
    state: Arc<ConnectionState>,
    title_case: bool,
    header_bytes: usize,
) -> impl TakenApart<S> + Unpin
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    // Those of one request at a time.
    let interims = Rc::new(Interims::default());
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let in_progress = InProgress::new(&state);
        let (handler, caller) = (Rc::clone(&handler), Arc::clone(&caller));
        let switching = Switching::of(&request, &state);
        let interims = Rc::clone(&interims);
        let taken = (request.version() == Version::HTTP_11).then(|| Rc::clone(&interims));
        let request = Incoming::of_http1(request, switching.is_some(), taken, in_progress.shared());
        async move {
            let answer = pin!(handler.handle(request, &caller));
            let mut answer = written_before(answer, &interims, in_progress.state(), title_case).await;
            let switched = switching.is_some_and(|switching| switching.decided_by(&mut answer));
            if !switched && in_progress.state().is_last_answer() {
                answer.headers_mut().insert(CONNECTION, close());
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| InProgressBody { body, in_progress }))
        }
    });
    let connection = http1::Builder::new()
        // `ConnectionState` has that deadline: hyper's would also count the time between requests.
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .title_case_headers(title_case)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    Connection {
        inner: connection,
        finish: http1::UpgradeableConnection::graceful_shutdown,
        take_apart: |connection: http1::UpgradeableConnection<TokioIo<MonitoredIo<S>>, _>| {
            connection.into_parts().map(|parts| (parts.io.into_inner().into_inner(), parts.read_buf))
        },
    }
}

/// What an answer says that is the last one on its connection.
const fn close() -> HeaderValue {
    HeaderValue::from_static("close")
}

/// hyper's connection, and how it is told to finish and taken apart.
struct Connection<C, S> {
    inner: C,
    finish: fn(Pin<&mut C>),
    take_apart: fn(C) -> Option<(S, Bytes)>,
}

impl<C: Future<Output = hyper::Result<()>> + Unpin, S> Future for Connection<C, S> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl<C: Future<Output = hyper::Result<()>> + Unpin, S> Served for Connection<C, S> {
    type Error = hyper::Error;

    fn finish(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        (this.finish)(Pin::new(&mut this.inner));
    }
}

impl<C: Future<Output = hyper::Result<()>> + Unpin, S> TakenApart<S> for Connection<C, S> {
    fn into_stream(self) -> Option<(S, Bytes)> {
        (self.take_apart)(self.inner)
    }
}

/// A request to switch protocols, until its answer.
struct Switching {
    connect: bool,
    state: Arc<ConnectionState>,
}

impl Switching {
    fn of(request: &Request<hyper::body::Incoming>, state: &Arc<ConnectionState>) -> Option<Self> {
        if state.switch() == Switch::No {
            return None;
        }
        let connect = request.method() == Method::CONNECT;
        let asks = connect || request.headers().contains_key(UPGRADE);
        asks.then(|| Self { connect, state: Arc::clone(state) })
    }

    /// True if it happens.
    fn decided_by<B>(self, answer: &mut Response<B>) -> bool {
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success()) {
            self.state.set_switch(Switch::Yes);
            return true;
        }
        if self.state.switch() == Switch::Overrun {
            // What came behind the request was meant for another protocol, and passed by unread.
            answer.headers_mut().insert(CONNECTION, close());
        } else {
            self.state.set_switch(Switch::No);
        }
        false
    }
}

pin_project_lite::pin_project! {
    /// A response body that keeps its connection busy until its end.
    struct InProgressBody<B> {
        #[pin]
        body: B,
        in_progress: InProgress,
    }
}

impl<B: Body<Data = Bytes>> Body for InProgressBody<B> {
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
