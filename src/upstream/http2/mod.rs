//! The HTTP/2 side: h2 drives a connection in a task, and the request that uses a stream sends and receives on it.

mod connection;
mod exchange;
mod request;
mod streams;

pub(super) use connection::Connection;
pub(super) use exchange::{Answer, Exchange, Fault};
pub(super) use request::request;
pub(super) use streams::Streams;
