//! Bodies on a stream of HTTP/2, in whichever direction: what callers send and upstreams answer, and what goes out to them.
//!
//! hyper's own take a stream that was reset with `NO_ERROR` for one that has ended; these end with `END_STREAM` and nothing else
//! (RFC 9113 section 8.1).

mod received;
mod sending;

pub(crate) use received::{BrokenOff, Received};
pub(crate) use sending::{Sending, Stopped};
