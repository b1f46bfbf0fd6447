//! attache
pub mod coarse;
pub mod config;
pub mod credential;
pub mod demo;
pub mod listen;
pub mod local;
pub mod oauth;
pub mod proxy;
pub mod route;
pub mod runtime;
pub mod secret;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod upstream;
