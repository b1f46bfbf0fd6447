//! What the demo's authorization server knows: its clients, its key, its script, and the tokens that are not revoked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::client::Client;
use super::signing::{Claims, SigningKey, now};
use crate::sync::lock;

/// What the endpoints and the owner of the server share.
pub(super) struct Shared {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) clients: Vec<Client>,
    pub(super) key: SigningKey,
    state: Mutex<ServerState>,
}

#[derive(Default)]
pub(super) struct ServerState {
    pub(super) lifetime: Duration,
    pub(super) delay: Duration,
    pub(super) failures_left: usize,
    pub(super) failure: Option<Failure>,
    pub(super) requests: u64,
    pub(super) issued: u64,
    /// `jti` and end of every token that is not revoked. More exact than `exp`, which has whole seconds only.
    pub(super) live: HashMap<String, Instant>,
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
    pub(super) fn new(issuer: String, audience: String, clients: Vec<Client>, key: SigningKey) -> Self {
        let state = ServerState { lifetime: Duration::from_secs(5 * 60), ..ServerState::default() };
        Self { issuer, audience, clients, key, state: Mutex::new(state) }
    }

    /// Checks signature, time, revocation and audience, in this order.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        let claims = self.key.open(token).ok_or(TokenFault::Unknown)?;
        let expires_at = self.state().live.get(&claims.jti).copied();
        match expires_at {
            Some(expires_at) if Instant::now() >= expires_at => Err(TokenFault::Expired),
            None if now() >= claims.exp => Err(TokenFault::Expired),
            None => Err(TokenFault::Revoked),
            Some(_) if claims.aud != self.audience => Err(TokenFault::WrongAudience),
            Some(_) => Ok(claims),
        }
    }

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
        const REMEMBERED: Duration = Duration::from_secs(60 * 60);
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

    pub(super) fn state(&self) -> MutexGuard<'_, ServerState> {
        lock(&self.state)
    }
}

/// Why a token is not accepted; the text is fit for `error_description` (RFC 6750 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not signed by this server.
    #[error("the token is not one of this server's")]
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
