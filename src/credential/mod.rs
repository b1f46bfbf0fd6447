//! What gets put on a request.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

pub use settings::CredentialSettings;

use crate::token::{Injectable, TokenCache, TokenError, TokenStatus};

/// A configured credential, live. Several may share one [`TokenCache`], when their token requests are equal.
#[derive(Debug)]
pub struct Credential {
    /// The name in `[credentials.NAME]`.
    pub name: String,
    /// `/readyz` waits for it.
    pub required: bool,
    tokens: Arc<TokenCache>,
    /// How long a request waits for a token: a whole token request, and its one quick retry.
    wait: Duration,
}

/// The header field that authorizes one request, and which token it came from.
#[derive(Debug, Clone)]
pub struct Authorization(Injectable);

impl Credential {
    /// A credential on top of a token cache. `timeout` is that of one token request.
    #[must_use]
    pub fn new(name: String, required: bool, tokens: Arc<TokenCache>, timeout: Duration) -> Self {
        Self { name, required, tokens, wait: timeout * 2 + Duration::from_secs(1) }
    }

    /// True if this is where its tokens are.
    #[must_use]
    pub fn is_backed_by(&self, tokens: &Arc<TokenCache>) -> bool {
        Arc::ptr_eq(&self.tokens, tokens)
    }

    /// The authorization, if a usable token is at hand: the request path.
    #[must_use]
    pub fn ready(&self) -> Option<Authorization> {
        self.tokens.usable().map(Authorization)
    }

    /// The authorization, waiting for the token request if need be.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn obtain(&self) -> Result<Authorization, Arc<TokenError>> {
        self.tokens.obtain(self.wait).await.map(Authorization)
    }

    /// An authorization with a newer token than the one that was refused.
    ///
    /// # Errors
    /// Why there is no newer token.
    pub async fn renew(&self, refused: &Authorization) -> Result<Authorization, Arc<TokenError>> {
        self.tokens.renew(refused.0.generation, self.wait).await.map(Authorization)
    }

    /// A new token, whatever there is.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn force_refresh(&self) -> Result<(), Arc<TokenError>> {
        self.tokens.force_refresh(self.wait).await.map(|_| ())
    }

    /// Asks for the first token in the background.
    pub fn prime(&self) {
        self.tokens.prime();
    }

    /// For people and scripts.
    #[must_use]
    pub fn status(&self) -> TokenStatus {
        self.tokens.status()
    }
}

impl Authorization {
    /// The field, which goes out in place of every such field that is there: exactly one authorization leaves (RFC 6750
    /// section 2), and no `Connection` of a caller can name it away.
    #[must_use]
    pub fn field(&self) -> (&HeaderName, &HeaderValue) {
        static FIELD: HeaderName = AUTHORIZATION;
        (&FIELD, &self.0.value)
    }

    /// The token's number.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The token was itself obtained because its predecessor was refused.
    #[must_use]
    pub const fn after_unauthorized(&self) -> bool {
        self.0.after_unauthorized
    }
}
