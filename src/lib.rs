//! attache: an HTTP proxy that gives unmodified programs OAuth 2.0 access.
//!
//! A program that knows nothing of OAuth is pointed at it, with `HTTP_PROXY` or as a base URL; each request to a
//! configured upstream leaves with a valid access token. What users see is in README.md, how it is built and why in
//! ARCHITECTURE.md. This is the code in reading order:
//!
//! | | |
//! |---|---|
//! | [`proxy`] | a request's way through, from `Proxy::handle`: `target`, `headers` (hop-by-hop fields), `replay`, `retry` (401), `tunnel` (CONNECT), `error` |
//! | [`route`] | which requests get what: `table`, `pattern` |
//! | [`renewal`] | when a 401 is worth a new token: `evidence`, `pace` |
//! | [`credential`] | what is put on a request |
//! | [`token`] | access tokens over time: `cache` (read, discard), `refresh` (single flight, refresh ahead, back-off), `expiry` |
//! | [`oauth`] | how a token is obtained: `grant`, `client_auth`, `endpoint`, `response` |
//! | [`dpop`] | proofs that a request's sender has the token's key: `nonces` |
//! | [`jose`] | signed JWTs: `key` (read, sign), `pem`, `jwk` |
//! | [`service`] | the token engine for programs: `TokenService` |
//! | [`dial`] | ways out: `origin`, `names`, `address`, `onward` |
//! | [`upstream`] | sockets out: `connector`, `pool`, `exchange`, `http1` |
//! | [`listen`] | sockets in |
//! | [`caller`] | who may use a listener |
//! | [`runtime`] | the snapshot that one request works with |
//! | [`config`] | `proxy.toml`, into the settings of all of these |
//! | [`app`] | wires it up: threads, start, drain |
//! | [`exec`] | one program beside a proxy: `environment`, `child` |
//! | [`admin`] | status, metrics, a few actions |
//! | [`cli`] | the commands |
//! | [`demo`] | an authorization server and an API, for `attache demo` and the tests |
//! | [`secret`], [`tls`], [`telemetry`], [`coarse`], [`descriptors`], [`http2`], [`interim`], [`threads`], [`together`] | small things that the others stand on |

pub mod admin;
pub mod app;
pub mod caller;
pub mod cli;
pub mod coarse;
pub mod config;
pub mod credential;
pub mod demo;
pub mod descriptors;
pub mod dial;
pub mod dpop;
pub mod exec;
pub mod http2;
pub mod interim;
pub mod jose;
pub mod listen;
pub mod oauth;
pub mod proxy;
pub mod rate;
pub mod renewal;
pub mod route;
pub mod runtime;
pub mod secret;
pub mod service;
pub mod telemetry;
pub mod threads;
pub mod tls;
pub mod together;
pub mod token;
pub mod upstream;
