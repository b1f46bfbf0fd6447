//! Tunnels: CONNECT, SOCKS 5, and what follows a switch of protocols.

mod copy;
pub(super) mod detect;
mod intercept;
mod lifetime;
pub(super) mod open;
pub(super) mod passthrough;
pub(super) mod plan;
mod prefixed_io;
mod resolve;
mod serve;
pub(super) mod socks;
mod socks5;
pub(super) mod socks5_fuzzing;
pub(super) mod switch;
