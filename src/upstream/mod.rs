//! Sockets out. HTTP/1.1 by a sender of attache's own, HTTP/2 by h2.
//!
//! [`Pool::exchange`] is the one interface: a request head and a body stream go in, a response comes out, and behind it the
//! HTTP/1 and HTTP/2 senders may change. What is dialled, verified and named in `Host` comes from the [`Upstream`] and
//! the [`Origin`], never from the request.
//!
//! [`Origin`]: crate::dial::Origin

mod connect;
mod error;
mod exchange;
mod head;
mod http1;
mod http2;
mod live;
mod outgoing;
mod pool;
mod response_body;
mod send;
mod settings;
mod slots;
mod timeouts;
mod trial;

pub(crate) use error::{ExchangeError, ExchangeErrorKind, Resend};
pub(crate) use exchange::Exchanged;
pub(crate) use head::{OutboundField, OutboundHead};
#[doc(hidden)]
pub(crate) use http1::fuzzing;
pub(crate) use live::Upstream;
pub(crate) use outgoing::BodyError;
pub(crate) use pool::Pool;
pub(crate) use response_body::ResponseBody;
pub(crate) use settings::{ConnectTo, PoolSettings, Timeouts, TlsSettings, UpstreamSettings};
pub(crate) use trial::Reached;
