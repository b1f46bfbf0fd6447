//! Sockets in; serves any handler, so the data path and the admin API share it.
//!
//! Every worker has a socket of its own on each TCP address (`SO_REUSEPORT`), and the kernel deals connections out. The
//! connection limit is one for the process ([`Room`]): near it idle connections make room, at it accepting pauses, and what waits
//! in the backlog is not refused.

mod bind;
mod caller;
mod connection;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod incoming;
mod listening;
pub(crate) mod loopback;
mod panics;
mod per_address;
mod settings;
pub(crate) mod socks5;
mod upgrade;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use bind::Accepted;
pub(crate) use bind::inherited::Inherited;
pub(crate) use bind::{BindError, Bound, UnixPath, bind};
pub(crate) use caller::{CallerConnection, Peer};
pub(crate) use connection::drain::Roster;
pub(crate) use connection::room::Room;
pub(crate) use connection::{Serving, serve_stream};
pub(crate) use incoming::Incoming;
pub(crate) use listening::{Listening, ListeningAt};
pub(crate) use per_address::{PerAddress, network_of};
pub use settings::{Limits, ListenAddress};
pub(crate) use upgrade::Upgrade;

/// Answers requests. One value serves all connections of a listener on one worker.
pub(crate) trait Handler: 'static {
    /// The response body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request of this caller's; cannot fail. Whatever outlives the response (a tunnel) keeps the caller, so that
    /// its connection stays counted.
    fn handle(
        &self,
        request: Request<Incoming>,
        caller: &Arc<CallerConnection>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// True if this caller may connect at all; asked once for each connection, before anything is read.
    fn admits(&self, caller: &CallerConnection) -> impl Future<Output = bool> {
        let _ = caller;
        std::future::ready(true)
    }

    /// TLS towards callers; asked for each connection, so that a changed certificate is shown to the next one.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        None
    }

    /// True if answers have the names of their fields in Title-Case over HTTP/1.1; asked for each connection.
    fn title_case(&self) -> bool {
        false
    }

    /// True if callers speak SOCKS 5 here instead of HTTP; asked for each connection.
    fn speaks_socks(&self) -> bool {
        false
    }

    /// Serves one connection of a caller that speaks SOCKS 5, to its end.
    fn serve_socks<S>(&self, stream: S, caller: Arc<CallerConnection>) -> impl Future<Output = ()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        drop((stream, caller));
        std::future::ready(())
    }

    /// The whole HTTP/1.1 answer to a head that could not be read. hyper's own has no body and no explanation.
    fn malformed(why: Unreadable) -> Bytes;
}

/// Why a request head could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is answered with this status.
    Status(StatusCode),
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.3): 400.
    TwoLengths,
}

/// What all listeners share.
#[derive(Debug, Clone)]
pub(crate) struct ListenContext {
    /// `[limits]`.
    pub(crate) limits: Arc<Limits>,
    /// One place for each open connection. The admin listener has a room of its own, so that it always answers.
    pub(crate) room: Arc<Room>,
    /// Connections by where they come from, if that is limited.
    pub(crate) per_address: Option<Arc<PerAddress>>,
    /// Open connections.
    pub(crate) gauge: Gauge,
    /// Panics in the tasks of connections.
    pub(crate) panics: Counter,
}

/// Accepts and serves until the roster drains.
pub(crate) async fn serve<H: Handler>(bound: Bound, handler: Rc<H>, context: ListenContext, roster: Rc<Roster>) {
    let acceptor = match bound.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(target: "attache::listen", %error, "a listening socket cannot be used");
            return;
        }
    };
    let serving = Serving { limits: context.limits, panics: context.panics, roster };
    let room = context.room;
    let begin = |accepted: Accepted, permit: OwnedSemaphorePermit| {
        let peer = accepted.peer();
        let place = match (&context.per_address, peer) {
            (Some(places), Peer::Address(address)) => Some(places.place(address.ip())),
            _ => None,
        };
        let caller = CallerConnection::new(peer, accepted.at(), Some(permit), context.gauge.clone());
        let caller = Arc::new(caller.placed(place));
        let (handler, mine) = (Rc::clone(&handler), serving.clone());
        serving.roster.spawn(async move {
            let panics = mine.panics.clone();
            panics::counted(connection::serve(accepted, handler, caller, mine), &panics).await;
        });
    };
    // While the worker drains there is no time to wait for room.
    let begin_if_room = |accepted: Accepted| {
        if let Some(permit) = room.place_now() {
            begin(accepted, permit);
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = serving.roster.draining() => break,
        };
        match accepted {
            Ok(accepted) => {
                // The permit comes second: held by every socket that nobody comes to, permits would be missing where somebody
                // does. So at the limit each socket has one connection accepted that is not served yet.
                let permit = tokio::select! {
                    permit = room.place() => permit,
                    () = serving.roster.draining() => {
                        begin_if_room(accepted);
                        break;
                    }
                };
                begin(accepted, permit);
            }
            Err(error) => {
                // Mostly EMFILE: connections that end make room. Without a pause this loop would burn the core.
                room.out_of_descriptors(&error);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    for accepted in acceptor.finish() {
        begin_if_room(accepted);
    }
}

#[cfg(test)]
mod tests;
