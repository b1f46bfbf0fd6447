//! attache
pub mod config;
pub mod credential;
pub mod listen;
pub mod oauth;
pub mod proxy;
pub mod route;
pub mod secret;
pub mod token;
pub mod upstream;
