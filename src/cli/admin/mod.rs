//! The commands that ask a running attache.

pub(super) mod actions;
mod answered;
mod client;
mod place;
pub(super) mod probes;
mod session;
pub(super) mod status;
mod status_table;
pub(super) mod stop;
