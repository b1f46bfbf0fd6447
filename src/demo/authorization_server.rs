//! A small authorization server that can be told to misbehave. The demo runs it, and the tests do.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::client::Client;
use super::server::Server;
use super::signing::{Claims, SigningKey, now};
use super::token_endpoint;
use crate::sync::lock;

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

/// Why a token is not accepted; the text is fit for `error_description` (RFC 6750 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not signed by this server.
    #[error("the token is not one of ours")]
    Unknown,
    /// Past its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Revoked before its time.
    #[error("the token has been revoked")]
    Revoked,
    /// Made out for another API.
    #[error("the token is for another audience")]
    WrongAudience,
}

impl AuthorizationServer {
    /// Starts a server for these clients on `address` (port 0 takes a free one), whose tokens are for `audience`. Runs
    /// on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or no signing key be made.
    pub async fn start(address: SocketAddr, audience: &str, clients: Vec<Client>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            issuer: format!("http://{}", listener.local_addr()?),
            audience: audience.to_owned(),
            clients,
            key: SigningKey::generate()?,
            state: Mutex::new(ServerState { lifetime: Duration::from_mins(5), ..ServerState::default() }),
        });
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
        let claims = self.0.key.open(token).ok_or(TokenFault::Unknown)?;
        let expires_at = self.0.state().live.get(&claims.jti).copied();
        match expires_at {
            Some(expires_at) if Instant::now() >= expires_at => Err(TokenFault::Expired),
            None if now() >= claims.exp => Err(TokenFault::Expired),
            None => Err(TokenFault::Revoked),
            Some(_) if claims.aud != self.0.audience => Err(TokenFault::WrongAudience),
            Some(_) => Ok(claims),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.0.issuer).finish()
    }
}

/// What the endpoints and the owner of the server share.
pub(super) struct Shared {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) clients: Vec<Client>,
    pub(super) key: SigningKey,
    state: Mutex<ServerState>,
}

#[derive(Default)]
struct ServerState {
    lifetime: Duration,
    delay: Duration,
    failures_left: usize,
    failure: Option<Failure>,
    requests: u64,
    issued: u64,
    /// `jti` and end of every token that is not revoked. More exact than `exp`, which has whole seconds only.
    live: HashMap<String, Instant>,
}

/// A scripted answer.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
}

/// What the script says about one token request.
pub(super) struct Scripted {
    pub(super) delay: Duration,
    pub(super) failure: Option<Failure>,
}

impl Shared {
    /// Counts a token request, and says what the script has for it.
    pub(super) fn token_requested(&self) -> Scripted {
        let mut state = self.state();
        state.requests += 1;
        let scripted = state.failures_left > 0;
        state.failures_left = state.failures_left.saturating_sub(1);
        Scripted { delay: state.delay, failure: state.failure.clone().filter(|_| scripted) }
    }

    /// Keeps a token in mind until it is revoked, or long over.
    pub(super) fn token_issued(&self, claims: &Claims) {
        const REMEMBERED: Duration = Duration::from_hours(1);
        let (mut state, issued_at) = (self.state(), Instant::now());
        state.issued += 1;
        state.live.retain(|_, expires_at| *expires_at + REMEMBERED > issued_at);
        state.live.insert(claims.jti.clone(), issued_at + Duration::from_secs(claims.exp - claims.iat));
    }

    pub(super) fn revoke(&self, jti: &str) {
        self.state().live.remove(jti);
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.state().lifetime
    }

    /// Every scope that some client may have.
    pub(super) fn scopes(&self) -> BTreeSet<&str> {
        self.clients.iter().flat_map(|client| client.scopes.iter().map(String::as_str)).collect()
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        // Nothing panics while it is held; were it so, counters and maps are whole all the same.
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests;
