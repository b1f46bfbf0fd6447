//! One request on a stream, and its answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::super::state::{ConnectionState, InProgress};
use super::answer;
use super::body::RequestBody;
use super::head;
use super::tunnel::Tunnel;
use crate::interim::Interims;
use crate::listen::caller::CallerConnection;
use crate::listen::handler::Handler;
use crate::listen::incoming::Incoming;
use crate::listen::upgrade::Upgrade;

/// What the streams of one connection have in common.
pub(in crate::listen) struct Context<H> {
    pub(in crate::listen) handler: Rc<H>,
    pub(in crate::listen) caller: Arc<CallerConnection>,
    pub(in crate::listen) state: Arc<ConnectionState>,
    /// How long an answer may stand still because its caller takes nothing.
    pub(in crate::listen) write_timeout: Duration,
}

/// A CONNECT, until its answer says whether there will be a tunnel.
struct Opening {
    stream: RecvStream,
    tunnel: oneshot::Sender<Tunnel>,
}

/// Has one request answered, to the end of the answer's body or of the stream.
pub(super) async fn serve<H: Handler>(
    context: Rc<Context<H>>,
    in_progress: InProgress,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let interims = Rc::new(Interims::default());
    let (request, opening) = received(request, &interims);
    let answer = {
        // Pinned where it is made: handed on by value, it would have its room twice.
        let handling = pin!(context.handler.handle(request, &context.caller));
        answered(handling, &interims, &mut respond).await
    };
    // There is none where the caller has given up.
    let Some(answer) = answer else { return };
    let (head, body) = head::split(answer);
    let tunnel = opening.filter(|_| head.status().is_success());
    let ends = tunnel.is_none() && body.is_end_stream();
    let stream = match respond.send_response(head, ends) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(target: "attache::listen", %error, "an answer could not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
    };
    if let Some(opening) = tunnel {
        // If the handler no longer waits for it, it is dropped, which resets the stream.
        let _unwanted = opening.tunnel.send(Tunnel::new(stream, opening.stream, in_progress));
    } else if !ends && let Err(stopped) = answer::send(stream, body, context.write_timeout).await {
        tracing::debug!(target: "attache::listen", %stopped, "an answer did not get out whole");
    }
}

/// The request as every handler sees it.
fn received(request: Request<RecvStream>, interims: &Rc<Interims>) -> (Request<Incoming>, Option<Opening>) {
    let (mut head, stream) = request.into_parts();
    if head.method != Method::CONNECT {
        let body = RequestBody::new(stream, &head.headers, interims);
        let interims = Rc::clone(interims);
        return (Request::from_parts(head, Incoming::of_http2(body, interims)), None);
    }
    let (tunnel, opened) = oneshot::channel();
    let upgrade = Upgrade::of_http2(opened, head.extensions.remove::<h2::ext::Protocol>());
    (Request::from_parts(head, Incoming::of_connect(upgrade)), Some(Opening { stream, tunnel }))
}

/// Waits for the answer; `None` if the caller gives up first, which ends what was begun for it.
async fn answered<B>(
    mut handling: Pin<&mut impl Future<Output = Response<B>>>,
    interims: &Interims,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<B>> {
    poll_fn(|cx| {
        let polled = handling.as_mut().poll(cx);
        for interim in interims.take() {
            // A caller that is gone, or fields that HTTP/2 does not know: nothing depends on it.
            let _dropped = respond.send_informational(interim);
        }
        match polled {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => respond.poll_reset(cx).map(|_reset| None),
        }
    })
    .await
}
