//! A small HTTP server that can go down and come back: the accept loop under the fakes.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A running server. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    up: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a bound listener, on the current runtime.
    pub(super) fn start(listener: TcpListener, router: Router) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (up, seen) = watch::channel(true);
        Ok(Self { address, up, task: tokio::spawn(accept(listener, router, seen)) })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A server that is down closes every connection without an answer, the open ones too.
    pub(super) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The connections belong to the task's JoinSet, so they end with it.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, router: Router, mut up: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = up.changed() => match changed {
                Ok(()) if *up.borrow_and_update() => {}
                Ok(()) => connections.abort_all(),
                Err(_owner_gone) => return,
            },
            Some(_finished) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if *up.borrow() => {
                    connections.spawn(serve(stream, router.clone()));
                }
                Ok((_closed, _)) => {}
                // Out of file descriptors, mostly: a pause lets others close theirs.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::trace!(target: "attache::demo", %error, "a connection of the demo ended early");
    }
}
