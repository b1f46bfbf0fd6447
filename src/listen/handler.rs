//! What a listener is given to serve: a handler of connections, and one of requests for those that speak HTTP.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response};
use http_body::Body;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::caller::{CallerAddress, CallerConnection};
use super::connection::proxy_protocol::ProxyHeaderError;
use super::connection::serving::Serving;
use super::incoming::Incoming;
use super::networks::Networks;
use super::unreadable::Unreadable;

/// Serves a connection until it is clear what it speaks.
///
/// A future has room for the largest of its states as long as it lives, and most connections are idle: so this one is boxed by
/// itself, gives the next one, and goes.
pub(crate) type Opening = LocalBoxFuture<'static, Opened>;

/// Serves it from there to its end; `None` where it has ended.
pub(crate) type Opened = Option<LocalBoxFuture<'static, ()>>;

/// Serves connections. One value serves all of a listener on one worker; what it decides is asked for each connection, so that a
/// reload counts from the next one on.
pub(crate) trait ConnectionHandler: 'static {
    /// True if this caller may connect at all; asked before anything is read.
    fn admits(&self, caller: &CallerConnection) -> impl Future<Output = bool> {
        let _ = caller;
        std::future::ready(true)
    }

    /// The proxies in front whose connections begin with a PROXY protocol header, before TLS.
    fn proxy_protocol(&self) -> Option<Arc<Networks>> {
        None
    }

    /// A connection of one of those is closed, since its header could not be read.
    fn refused_proxy_header(&self, why: ProxyHeaderError, caller: &CallerConnection) {
        let _ = (why, caller);
    }

    /// True if connections from there carry the requests of many callers, and are not counted as one caller's.
    fn is_shared(&self, address: CallerAddress) -> bool {
        let _ = address;
        false
    }

    /// TLS towards callers, so that a changed certificate is shown to the next one.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        None
    }

    /// Opens one connection; its TLS, if there is any, stands.
    fn open<S>(self: Rc<Self>, stream: S, caller: Arc<CallerConnection>, serving: Serving) -> Opening
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static;
}

/// How a connection may begin where it is not expected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// A TLS handshake, at a listener in clear.
    Tls,
    /// A PROXY protocol header, from where none is read.
    ProxyHeader,
}

/// Answers requests.
pub(crate) trait Handler: 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request of this caller's; cannot fail. What outlives the response (a tunnel) keeps the caller, so that its
    /// connection stays counted.
    fn handle(
        &self,
        request: Request<Incoming>,
        caller: &Arc<CallerConnection>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// True if answers have the names of their fields in Title-Case over HTTP/1.1; asked for each connection.
    fn title_case(&self) -> bool {
        false
    }

    /// A caller begins with something else than HTTP, which it may well mean.
    fn began_with(&self, what: Misplaced, caller: &CallerConnection) {
        let _ = (what, caller);
    }

    /// The head of a request could not be read, and its caller has been told so.
    fn refused_head(&self, why: Unreadable, caller: &CallerConnection) {
        let _ = (why, caller);
    }

    /// The whole HTTP/1.1 answer to a head that could not be read. hyper's own has no body and no explanation.
    fn malformed(why: Unreadable) -> Bytes;
}
