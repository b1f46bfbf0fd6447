//! The commands that ask a running attache.

mod client;
pub(super) mod probes;
pub(super) mod status;
mod status_table;
