//! attache: an HTTP proxy that gives unmodified programs OAuth 2.0 access.
//!
//! A program that knows nothing of OAuth is pointed at it, with `HTTP_PROXY` or as a base URL; each request to a
//! configured upstream leaves with a valid access token. README.md says how it is used, ARCHITECTURE.md how it is built.
//!
//! As a library it is these four: [`service`], the token engine for programs; [`app`], the whole proxy, which [`config`]
//! configures; [`demo`], an authorization server and an API to try them with.

pub(crate) mod admin;
pub mod app;
#[doc(hidden)]
pub mod bench;
pub(crate) mod blocking;
pub(crate) mod caller;
pub(crate) mod cli;
pub(crate) mod coalesce;
pub mod config;
pub(crate) mod connection_fields;
pub(crate) mod credential;
pub mod demo;
pub(crate) mod descriptors;
pub(crate) mod dial;
pub(crate) mod digest;
pub(crate) mod dpop;
pub(crate) mod exec;
pub(crate) mod fleet;
pub(crate) mod http2;
pub(crate) mod http_auth;
pub(crate) mod interim;
pub(crate) mod jose;
pub(crate) mod listen;
pub(crate) mod oauth;
pub(crate) mod proxy;
pub(crate) mod rate;
pub(crate) mod renewal;
pub(crate) mod response_head;
pub(crate) mod route;
pub(crate) mod runtime;
pub(crate) mod secret;
pub mod service;
pub(crate) mod store;
pub(crate) mod sync;
pub(crate) mod telemetry;
pub(crate) mod timer;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod upstream;

#[doc(hidden)]
pub use crate::cli::main;
