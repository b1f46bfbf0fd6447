//! Tokens that are bound to a key (RFC 9449): each request carries a proof besides the token, made for that request alone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, Method};

use crate::dpop::{DpopKey, Nonces, access_token_hash, htu};
use crate::jose::KeyError;
use crate::token::HeaderToken;

/// A credential's key, and what upstreams want to see in its proofs.
#[derive(Debug)]
pub(crate) struct Binding {
    key: DpopKey,
    /// Those of upstreams; the authorization server's own are its source's (RFC 9449 section 9: they are not mixed).
    nonces: Nonces,
    /// The digest of the newest token, made once.
    newest: ArcSwapOption<(u64, String)>,
}

impl Binding {
    /// Tokens of this credential are bound to `key`.
    #[must_use]
    pub(crate) fn new(key: DpopKey) -> Self {
        Self { key, nonces: Nonces::default(), newest: ArcSwapOption::empty() }
    }

    /// The proof for one request with this token. `origin` and `path` are those that the request goes out with; a proof
    /// never says the query.
    pub(super) fn proof(
        &self,
        token: &HeaderToken,
        method: &Method,
        origin: (&str, &str),
        path: &str,
    ) -> Result<HeaderValue, KeyError> {
        let (scheme, authority) = origin;
        let nonce = self.nonces.get(&server(scheme, authority));
        let hash = self.hash(token);
        self.key.proof(
            method,
            &htu(scheme, authority, path),
            hash.as_ref().map(|hash| hash.1.as_str()),
            nonce.as_deref(),
        )
    }

    /// Takes in the nonce of a response, if there is a new one (RFC 9449 section 9).
    pub(super) fn learn(&self, origin: (&str, &str), headers: &HeaderMap) -> bool {
        self.nonces.learn(&server(origin.0, origin.1), headers)
    }

    fn hash(&self, token: &HeaderToken) -> Option<Arc<(u64, String)>> {
        if let Some(known) = self.newest.load_full().filter(|known| known.0 == token.generation) {
            return Some(known);
        }
        let (_scheme, text) = token.scheme_and_token()?;
        let made = Arc::new((token.generation, access_token_hash(text)));
        self.newest.store(Some(Arc::clone(&made)));
        Some(made)
    }
}

fn server(scheme: &str, authority: &str) -> String {
    format!("{scheme}://{authority}")
}
