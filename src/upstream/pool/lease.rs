//! What a request does with its connection, and what it tells the others that use it.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::origin::{Connection, Lease};
use crate::timer::CoarseInstant;
use crate::upstream::connect::Stream;
use crate::upstream::http2;
use crate::upstream::outgoing::BodyError;

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Where the connection leads: to the upstream, or to the parent proxy on the way there.
    pub(in crate::upstream) fn peer(&self) -> Option<SocketAddr> {
        match &self.connection {
            Connection::Http1(connection) => connection.peer,
            Connection::Http2(_, guard) => guard.streams.peer(),
        }
    }

    /// True if others use the connection too.
    pub(in crate::upstream) const fn is_shared(&self) -> bool {
        matches!(self.connection, Connection::Http2(..))
    }

    /// The outcome of a request, for the others that share the connection.
    pub(in crate::upstream) fn note(&self, outcome: fn(&http2::Streams)) {
        if let Connection::Http2(_, guard) = &self.connection {
            outcome(&guard.streams);
        }
    }

    /// Its server wants HTTP/1.1.
    pub(in crate::upstream) fn speak_http1(&self) {
        self.pool.speak_http1();
    }

    /// An answer, or what is left of it, has not come in time; the connection is told, if it is shared.
    pub(in crate::upstream) fn timed_out(&self) {
        self.note(http2::Streams::timed_out);
    }

    /// Not one byte has come in time of a request that left then. Had its connection been idle, the others to its peer that
    /// have been idle since before are closed.
    pub(in crate::upstream) fn distrust_idle_before(&self, left_at: CoarseInstant) {
        if let Connection::Http1(connection) = &self.connection
            && self.reused
            && connection.http1.is_unanswered()
        {
            self.pool.distrust(connection.peer, left_at);
        }
    }

    /// The next frame of the response body on HTTP/1.1.
    pub(in crate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.connection {
            Connection::Http1(connection) => connection.http1.poll_body(cx),
            Connection::Http2(..) => Poll::Ready(None),
        }
    }

    /// What is left of the response body on HTTP/1.1, if that is known.
    pub(in crate::upstream) fn response_length(&self) -> Option<u64> {
        match &self.connection {
            Connection::Http1(connection) => connection.http1.response_length(),
            Connection::Http2(..) => Some(0),
        }
    }

    /// The response is read to its end: the connection is free for the next request.
    pub(in crate::upstream) fn give_back(self) {
        if let Connection::Http1(connection) = self.connection {
            self.pool.give_back(connection);
        }
    }

    /// The bare stream, after a protocol switch; it is no longer counted.
    pub(in crate::upstream) fn into_stream(self) -> Option<(Stream, Bytes)> {
        match self.connection {
            Connection::Http1(connection) => Some(connection.http1.into_stream()),
            Connection::Http2(..) => None,
        }
    }
}
