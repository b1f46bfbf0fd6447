//! The keys of each table, one file a table.

pub(super) mod admin;
pub(super) mod cache;
pub(super) mod callers;
pub(super) mod client_identity;
pub(super) mod credentials;
pub(super) mod forward;
pub(super) mod front_proxies;
pub(super) mod intercept;
pub(super) mod limits;
pub(super) mod listeners;
pub(super) mod parent_proxy;
mod secret_file;
pub(super) mod secrets;
pub(super) mod telemetry;
pub(super) mod upstreams;
