//! Sockets out.
mod origin;
mod settings;

pub use origin::{Authority, Host, InvalidAuthority, Origin, OriginPattern, Scheme};
pub use settings::{ConnectTo, PoolSettings, Timeouts, TlsSettings, UpstreamSettings};
