//! The idle HTTP/1.1 connections to one origin, used last in, first out.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use crate::timer::CoarseInstant;
use crate::upstream::http1;
use crate::upstream::outgoing::BodyError;
use crate::upstream::slots::{ConnectionSlot, IdleSlot, UpstreamSlots};

pub(super) struct IdleConnections<B>(RefCell<Vec<Idle<B>>>);

/// An HTTP/1.1 connection, counted while it lives.
pub(in crate::upstream) struct Http1Connection<B> {
    pub(in crate::upstream) http1: http1::Connection<B>,
    /// Which machine it leads to, or which parent proxy.
    pub(super) peer: Option<SocketAddr>,
    pub(super) _slot: ConnectionSlot,
}

struct Idle<B> {
    connection: Box<Http1Connection<B>>,
    since: CoarseInstant,
    _slot: IdleSlot,
}

impl<B> Default for IdleConnections<B> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<B> IdleConnections<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    /// The one that was used last and still stands.
    pub(super) fn take(&self) -> Option<Box<Http1Connection<B>>> {
        let mut connections = self.0.borrow_mut();
        while let Some(Idle { mut connection, .. }) = connections.pop() {
            if connection.http1.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps one whose response has been read to its end, if it may be used again.
    pub(super) fn put(&self, mut connection: Box<Http1Connection<B>>, slots: &Rc<UpstreamSlots>) {
        if connection.http1.is_reusable() {
            connection.http1.rest();
            let idle = Idle { connection, since: CoarseInstant::now(), _slot: IdleSlot::new(slots) };
            self.0.borrow_mut().push(idle);
        }
    }

    /// Closes those that have been idle for this long, or have ended.
    pub(super) fn sweep(&self, now: CoarseInstant, time: Duration) {
        self.0.borrow_mut().retain_mut(|idle| idle.since.after(time) > now && idle.connection.http1.is_alive());
    }
}

impl<B> IdleConnections<B> {
    /// Closes those to this address that have been idle since before then.
    pub(super) fn close_older(&self, peer: Option<SocketAddr>, than: CoarseInstant) {
        self.0.borrow_mut().retain(|idle| idle.connection.peer != peer || idle.since > than);
    }

    /// Since when the one has been idle that has been so for longest.
    pub(super) fn longest(&self) -> Option<CoarseInstant> {
        self.0.borrow().first().map(|idle| idle.since)
    }

    pub(super) fn close_since(&self, since: CoarseInstant) -> bool {
        let mut connections = self.0.borrow_mut();
        let place = connections.iter().position(|idle| idle.since == since);
        // Dropped, it is closed and counts no more.
        place.map(|place| connections.remove(place)).is_some()
    }
}
