//! Sockets in; serves any handler, so the data path and the admin API share it.
//!
//! Every worker has a socket of its own on each TCP address (`SO_REUSEPORT`), and the kernel deals connections out. The
//! connection limit is one for the process: at the limit accepting pauses, and what waits in the backlog is not refused.

mod bind;
mod connection;
mod panics;
mod roster;
mod settings;
pub mod socks5;
mod watched;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use bind::{BindError, Bound, UnixPath, bind};
pub use roster::Roster;
pub use settings::{Limits, ListenAddress};

/// Answers requests. One value serves all connections of a listener on one worker.
pub trait Handler: 'static {
    /// The response body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static;

    /// Answers one request; cannot fail.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>>;

    /// The whole HTTP/1.1 answer to a head that could not be read. hyper's own has no body and no explanation.
    fn malformed(status: StatusCode) -> Bytes;
}

/// What all listeners share.
#[derive(Debug, Clone)]
pub struct ListenContext {
    /// `[limits]`.
    pub limits: Arc<Limits>,
    /// One permit for each open connection of the process; `None` for the admin listener, which always answers.
    pub permits: Option<Arc<Semaphore>>,
    /// Open connections.
    pub gauge: Gauge,
    /// Panics in the tasks of connections.
    pub panics: Counter,
}

/// Accepts and serves until the roster drains.
pub async fn serve<H: Handler>(bound: Bound, handler: Rc<H>, context: ListenContext, roster: Rc<Roster>) {
    let acceptor = match bound.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(target: "attache::listen", %error, "a listening socket cannot be used");
            return;
        }
    };
    loop {
        let next = async {
            let accepted = acceptor.accept().await;
            // The permit comes second: held by every socket that nobody comes to, permits would be missing where somebody
            // does. So at the limit each socket has one connection accepted that is not served yet.
            let permit = permit(context.permits.as_ref()).await;
            (accepted, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            () = roster.draining() => return,
        };
        match accepted {
            Ok(stream) => {
                let open = Open { _permit: permit, gauge: context.gauge.clone() };
                open.gauge.inc();
                let (handler, limits) = (Rc::clone(&handler), Arc::clone(&context.limits));
                let (seat, panics) = (roster.seat(), context.panics.clone());
                roster.spawn(async move {
                    let _open = open;
                    let served = connection::serve(stream, handler, &limits, seat, panics.clone());
                    panics::counted(served, &panics).await;
                });
            }
            Err(error) => {
                // Mostly EMFILE: connections that end make room. Without a pause this loop would burn the core.
                tracing::warn!(target: "attache::listen", %error, "accepting pauses");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn permit(permits: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match permits {
        // Never closed, so this only fails to acquire by waiting.
        Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
        None => None,
    }
}

/// Counts one connection while it lives.
struct Open {
    _permit: Option<OwnedSemaphorePermit>,
    gauge: Gauge,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests;
