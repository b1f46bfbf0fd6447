//! The commands that ask a running attache.

pub(super) mod actions;
mod answered;
mod attention;
mod client;
pub(super) mod log;
mod place;
pub(super) mod probes;
mod session;
mod sparkline;
pub(super) mod status;
mod status_table;
pub(super) mod stop;
pub(super) mod tail;
mod text;
