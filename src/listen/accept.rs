//! The accept loop of one socket.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use super::bind::{Accepted, Bound};
use super::caller::CallerConnection;
use super::connection::drain::Drain;
use super::connection::room::Room;
use super::connection::serving::Serving;
use super::handler::ConnectionHandler;
use super::per_address::PerAddress;
use super::settings::Limits;
use super::{connection, panics};

/// What all listeners share.
#[derive(Debug, Clone)]
pub(crate) struct ListenContext {
    pub(crate) limits: Arc<Limits>,
    /// A place for each open connection. The admin listener has a room of its own, so that it always answers.
    pub(crate) room: Arc<Room>,
    /// Connections by where they come from, if that is limited.
    pub(crate) per_address: Option<Arc<PerAddress>>,
    /// Open connections.
    pub(crate) gauge: Gauge,
    /// Panics in the tasks of connections.
    pub(crate) panics: Counter,
}

/// Accepts and serves until the worker drains.
pub(crate) async fn serve<H: ConnectionHandler>(
    bound: Bound,
    handler: Rc<H>,
    context: ListenContext,
    drain: Rc<Drain>,
) {
    let acceptor = match bound.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(target: "attache::listen", %error, "a listening socket cannot be used");
            return;
        }
    };
    let serving = Serving { limits: context.limits, panics: context.panics, drain };
    let room = context.room;
    let begin = |accepted: Accepted, permit: OwnedSemaphorePermit| {
        let caller = CallerConnection::new(accepted.peer(), accepted.at(), Some(permit), context.gauge.clone());
        let (handler, caller, mine) = (Rc::clone(&handler), Arc::new(caller), serving.clone());
        let (per_address, panics) = (context.per_address.clone(), mine.panics.clone());
        serving.drain.spawn(panics::counted(connection::serve(accepted, handler, caller, per_address, mine), panics));
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
            () = serving.drain.draining() => break,
        };
        match accepted {
            Ok(accepted) => {
                // The permit comes second: held by each socket that no caller connects to, permits would be missing where one
                // does. So at the limit each socket has one connection accepted that is not served yet.
                let permit = tokio::select! {
                    permit = room.place() => permit,
                    () = serving.drain.draining() => {
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
