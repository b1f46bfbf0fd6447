//! Sockets in; serves any handler, so the data path and the admin API share it.
//!
//! Every worker has a socket of its own on each TCP address (`SO_REUSEPORT`), and the kernel deals connections out. The
//! connection limit is one for the process ([`Room`]): near it idle connections make room, at it accepting pauses, and what waits
//! in the backlog is not refused.

mod accept;
mod bind;
mod caller;
mod connection;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod handler;
mod incoming;
mod listening;
pub(crate) mod loopback;
mod networks;
mod panics;
mod per_address;
mod settings;
mod unreadable;
mod upgrade;

pub(crate) use accept::{ListenContext, serve};
pub(crate) use bind::inherited::Inherited;
pub(crate) use bind::{BindError, Bound, UnixPath, bind};
pub(crate) use caller::{CallerAddress, CallerAt, CallerConnection, Peer, Place};
pub(crate) use connection::drain::Drain;
pub(crate) use connection::proxy_protocol::ProxyHeaderError;
pub(crate) use connection::room::Room;
pub(crate) use connection::serving::Serving;
pub(crate) use connection::{open_http, serve_http};
pub(crate) use handler::{ConnectionHandler, Handler, Misplaced, Opening};
pub(crate) use incoming::Incoming;
pub(crate) use listening::{Listening, ListeningAt};
pub(crate) use networks::{ForwardedField, Networks, TrustedProxies};
pub(crate) use per_address::PerAddress;
pub use settings::{Limits, ListenAddress};
pub(crate) use unreadable::Unreadable;
pub(crate) use upgrade::Upgrade;

#[cfg(test)]
mod tests;
