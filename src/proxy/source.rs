//! Who came in, over which listener, and whether it still may be there. Requests ask with each of them; what outlives its
//! request (tunnels, and what follows a switch of protocols) ends when its caller is removed or its password is another one.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::caller::Proven;
use crate::listen::{CallerConnection, Peer, Serving};
use crate::proxy::Proxy;
use crate::proxy::tunnel::intercept::Inside;
use crate::runtime::{ListenerRuntime, Stranger};

/// How a request came: over which listener, through which tunnel, from whom.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) listener: usize,
    pub(super) inside: Option<&'a Inside>,
    pub(super) caller: &'a Arc<CallerConnection>,
}

/// A request that has been let in.
pub(super) struct Visit<'a> {
    pub(super) arrived: Arrived<'a>,
    /// As whom its caller has proven itself.
    pub(super) proven: Option<Proven>,
    pub(super) began: Instant,
}

impl Visit<'_> {
    /// The caller's name.
    pub(super) fn caller(&self) -> Option<&str> {
        self.proven.as_ref().map(|proven| &*proven.name)
    }

    /// For what outlives the request.
    pub(super) fn entrance(&self) -> Entrance {
        let Arrived { listener, caller, .. } = self.arrived;
        Entrance { listener, caller: Arc::clone(caller), proven: self.proven.clone() }
    }
}

/// Where a tunnel came in; kept for its life, so that its caller's connection stays counted.
#[derive(Clone)]
pub(super) struct Entrance {
    pub(super) listener: usize,
    pub(super) caller: Arc<CallerConnection>,
    /// As whom it has proven itself.
    pub(super) proven: Option<Proven>,
}

/// True if whoever has proven itself like this, or did not have to, may still use the listener.
pub(super) fn still_admits(listener: &ListenerRuntime, proven: Option<&Proven>, connection: &CallerConnection) -> bool {
    is_still_user(listener, connection)
        && match (&listener.callers, proven) {
            (None, _) => true,
            (Some(callers), Some(proven)) => callers.still_knows(proven, connection),
            (Some(_), None) => false,
        }
}

/// `listeners.L.users` once more: the user at the other end of a unix socket is known for as long as it is open.
pub(super) fn is_still_user(listener: &ListenerRuntime, connection: &CallerConnection) -> bool {
    match (&listener.users, connection.peer) {
        (Some(users), Peer::User(uid)) => uid.is_some_and(|uid| users.contains(&uid)),
        _ => true,
    }
}

impl Proxy {
    /// Runs what passes unread for as long as its caller may use the listener: nobody asks inside of it. `None` if it was ended.
    pub(super) async fn while_admitted<T>(&self, entrance: &Entrance, passing: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            passed = passing => Some(passed),
            () = self.turned_away(entrance) => None,
        }
    }

    /// Serves the requests of an opened tunnel. Each asks for itself; once its caller may no longer use the listener, those in
    /// progress finish and the tunnel ends.
    pub(super) async fn serve_while_admitted<F>(&self, entrance: &Entrance, serve: impl FnOnce(Serving) -> F)
    where
        F: Future<Output = ()>,
    {
        let drain = self.serving.drain.apart();
        let serving = Serving { drain: Rc::clone(&drain), ..self.serving.clone() };
        // Boxed as a trait object: what is served here may hold a tunnel in its turn.
        let mut served: std::pin::Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(serve(serving));
        tokio::select! {
            () = &mut served => return,
            () = self.turned_away(entrance) => {}
            () = self.serving.drain.draining() => {}
        }
        drain.begin_drain();
        served.await;
    }

    /// The number of lines that were held back, if one about what strangers do at this listener is to be shown now.
    pub(super) fn may_say(&self, listener: usize, what: Stranger) -> Option<u64> {
        self.runtime.current().listener(listener)?.strangers.take(what)
    }

    /// Ready when the caller is no longer one of its listener's, or what it has proven itself by is no longer good. A listener
    /// that is gone has no callers; what came over it without a name finishes as its connections do.
    async fn turned_away(&self, entrance: &Entrance) {
        let proven = entrance.proven.as_ref();
        let mut changes = self.runtime.changes();
        loop {
            let admitted = match self.runtime.current().listener(entrance.listener) {
                Some(listener) => still_admits(listener, proven, &entrance.caller),
                None => proven.is_none(),
            };
            if !admitted {
                tracing::debug!(target: "attache::proxy", peer = %entrance.caller.peer, caller = proven.map(|proven| &*proven.name), "a tunnel ends: its caller may no longer use the listener");
                return;
            }
            if changes.changed().await.is_err() {
                // Nothing will change any more: the program ends.
                return std::future::pending().await;
            }
        }
    }
}
