//! What outlives its request (tunnels, and what follows a switch of protocols) ends when its caller is removed or has another
//! password.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;

use crate::listen::Serving;
use crate::proxy::admit::callers::still_admits;
use crate::proxy::source::TunnelSource;
use crate::proxy::state::Proxy;

/// Runs what passes unread for as long as its caller may use the listener: no request inside of it asks. `None` if it was
/// ended.
pub(super) async fn while_admitted<T>(
    proxy: &Proxy,
    source: &TunnelSource,
    passing: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        passed = passing => Some(passed),
        () = turned_away(proxy, source) => None,
    }
}

/// Serves the requests of an opened tunnel. Each asks for itself; once its caller may no longer use the listener, those in
/// progress finish and the tunnel ends.
pub(super) async fn serve_while_admitted<F>(proxy: &Proxy, source: &TunnelSource, serve: impl FnOnce(Serving) -> F)
where
    F: Future<Output = ()>,
{
    let drain = proxy.serving.drain.apart();
    let serving = Serving { drain: Rc::clone(&drain), ..proxy.serving.clone() };
    // Boxed as a trait object: what is served here may hold a tunnel again.
    let mut served: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(serve(serving));
    let outside = &proxy.serving.drain;
    let turned_away = pin!(turned_away(proxy, source));
    let ends = async {
        tokio::select! {
            () = turned_away => {}
            () = outside.draining() => {}
        }
    };
    let mut ends = pin!(ends);
    loop {
        tokio::select! {
            () = &mut served => return,
            () = &mut ends => break,
            () = outside.end_announced(), if !drain.is_end_announced() => drain.announce_end(),
        }
    }
    drain.begin_drain();
    served.await;
}

/// Ready when the caller is no longer one of its listener's, or what authenticated it is no longer good. A listener that is
/// gone has no callers; what came over it without a name finishes as its connections do.
async fn turned_away(proxy: &Proxy, source: &TunnelSource) {
    let proven = source.proven.as_ref();
    let mut changes = proxy.runtime.changes();
    loop {
        let admitted = match proxy.runtime.current().listener(source.listener) {
            Some(listener) => still_admits(listener, proven, &source.connection),
            None => proven.is_none(),
        };
        if !admitted {
            tracing::debug!(target: "attache::proxy", peer = %source.address, caller = proven.map(|proven| &*proven.name), "a tunnel ends: its caller may no longer use the listener");
            return;
        }
        if changes.changed().await.is_err() {
            // Nothing will change any more: the program ends.
            return std::future::pending().await;
        }
    }
}
