//! HTTP/2 in whichever direction: bodies on a stream, what callers send and upstreams answer and what goes out to them, and
//! what an error means.
//!
//! hyper's own take a stream that was reset with `NO_ERROR` for one that has ended; these end with `END_STREAM` and nothing else
//! (RFC 9113 section 8.1).

mod fault;
mod received;
mod sending;

pub(crate) use fault::Http2Fault;
pub(crate) use received::{BrokenOff, Received};
pub(crate) use sending::{Sending, Stopped};
