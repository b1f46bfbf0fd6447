//! A small authorization server that can be told to misbehave. The demo runs it, and the tests do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

use super::client::Client;
use super::server::Server;
use super::signing::{Claims, SigningKey};
use super::state::{Failure, ServerState, Shared, TokenFault};
use super::token_endpoint;

/// A running authorization server: `POST /token` (client credentials only), `POST /revoke`, `GET /jwks`, and its
/// metadata. Dropping it stops it.
#[derive(Debug)]
pub struct AuthorizationServer {
    server: Server,
    verifier: Verifier,
}

/// Checks this server's tokens. Cheap to clone; goes on working when the server is down.
#[derive(Clone)]
pub struct Verifier(Arc<Shared>);

impl AuthorizationServer {
    /// Starts a server for these clients on `address` (port 0 takes a free one), whose tokens are for `audience`. Runs
    /// on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or no signing key be made.
    pub async fn start(address: SocketAddr, audience: &str, clients: Vec<Client>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::new(issuer, audience.to_owned(), clients, SigningKey::generate()?));
        let server = Server::start(listener, token_endpoint::router(Arc::clone(&shared)))?;
        Ok(Self { server, verifier: Verifier(shared) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its `issuer` (RFC 8414 section 2).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.verifier.0.issuer
    }

    /// What belongs into `token_endpoint`.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// What an API checks tokens with.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    /// Checks a token: see [`Verifier::verify`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        self.verifier.verify(token)
    }

    /// How many tokens it has issued.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.state().issued
    }

    /// How many token requests it has seen, refused and scripted ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Revokes every token issued so far.
    pub fn revoke_all(&self) {
        self.state().live.clear();
    }

    /// Revokes the token with this `jti`.
    pub fn revoke(&self, jti: &str) {
        self.verifier.0.revoke(jti);
    }

    /// The lifetime of tokens issued from now on, in whole seconds; 5 minutes at first.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// Answers the next `n` token requests with this instead.
    pub fn fail_next(&self, n: usize, status: StatusCode, body: impl Into<Bytes>, headers: HeaderMap) {
        let mut state = self.state();
        state.failures_left = n;
        state.failure = Some(Failure { status, body: body.into(), headers });
    }

    /// Lets every token request wait so long before it is answered.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// `false`: connections are closed without an answer, until `true`.
    pub fn set_up(&self, up: bool) {
        self.server.set_up(up);
    }

    /// Stops it; the port is free again soon after.
    pub fn stop(self) {}

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.verifier.0.state()
    }
}

impl Verifier {
    /// Checks signature, time, revocation and audience, in this order.
    ///
    /// # Errors
    /// The first of them that fails.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        self.0.verify(token)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.0.issuer).finish()
    }
}

#[cfg(test)]
mod tests;
