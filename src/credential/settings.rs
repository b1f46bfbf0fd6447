//! What `[credentials.X]` says. How a token is obtained is in `oauth`'s settings. Plain data.

use std::sync::Arc;

use http::HeaderName;

use super::inject::Inject;
use crate::oauth::{DpopSettings, OAuthSettings};
use crate::secret::SecretSource;
use crate::token::RefreshSettings;

/// One `[credentials.X]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CredentialSettings {
    /// The name in `[credentials.NAME]`: the label of metrics and logs.
    pub(crate) name: String,
    /// What is put on a request.
    pub(crate) kind: CredentialKind,
    /// `/readyz` waits for it.
    pub(crate) required: bool,
}

/// `kind`, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CredentialKind {
    /// `oauth2`: a token that is asked for.
    OAuth(Arc<TokenSettings>),
    /// `bearer`, `basic`, `header`: a secret that is there already.
    Fixed(Arc<FixedSettings>),
}

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenSettings {
    /// How it is obtained.
    pub(crate) oauth: Arc<OAuthSettings>,
    /// When it is replaced.
    pub(crate) refresh: RefreshSettings,
    /// Where it goes.
    pub(crate) inject: Inject,
    /// It takes part in `[cache] shared`, as far as it can. No part of its identity.
    pub(crate) shared: bool,
}

/// Why tokens stay in the process that obtained them, whatever `[cache]` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unshared {
    /// `shared = false`.
    #[error("`shared` is false")]
    Configured,
    /// `dpop = true`: another process could not prove that it has the key.
    #[error("its tokens are bound to a key of this process (set dpop.private_key)")]
    BoundToProcess,
    /// `token_exchange`: there is a token for each caller.
    #[error("each caller's own token is what is exchanged")]
    Exchanged,
    /// `bearer`, `basic`, `header`.
    #[error("it is a secret that is there already")]
    Fixed,
}

impl TokenSettings {
    /// Why its tokens are not shared with other replicas; `None` if they are, where there is a `[cache]`.
    #[must_use]
    pub(crate) fn unshared(&self) -> Option<Unshared> {
        if self.shared { Unshared::by_nature(&self.oauth) } else { Some(Unshared::Configured) }
    }
}

impl Unshared {
    /// What could not be shared even if it should be.
    #[must_use]
    pub(crate) const fn by_nature(oauth: &OAuthSettings) -> Option<Self> {
        if oauth.grant.is_of_callers() {
            return Some(Self::Exchanged);
        }
        if let Some(DpopSettings::Generated) = oauth.dpop { Some(Self::BoundToProcess) } else { None }
    }
}

/// A secret that is put on requests as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedSettings {
    /// How it is presented.
    pub(crate) scheme: FixedScheme,
    /// Where it comes from.
    pub(crate) secret: SecretSource,
}

/// How a fixed credential is presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FixedScheme {
    /// `bearer`: a token (RFC 6750), and where it goes.
    Bearer(Inject),
    /// `basic` (RFC 7617): no colon and no control character in the user name.
    Basic {
        /// `username`; may be empty.
        username: String,
    },
    /// `header`: the secret is the whole value of this field.
    Header(HeaderName),
}

impl CredentialSettings {
    /// Why nothing of it is shared with other replicas; `None` if its tokens are, where there is a `[cache]`.
    #[must_use]
    pub(crate) fn unshared(&self) -> Option<Unshared> {
        match &self.kind {
            CredentialKind::OAuth(token) => token.unshared(),
            CredentialKind::Fixed(_) => Some(Unshared::Fixed),
        }
    }

    /// The token request's settings; `None` for a kind that has none.
    #[must_use]
    pub(crate) fn oauth(&self) -> Option<&OAuthSettings> {
        match &self.kind {
            CredentialKind::OAuth(token) => Some(&token.oauth),
            CredentialKind::Fixed(_) => None,
        }
    }
}

impl CredentialKind {
    /// A secret that is there already.
    #[must_use]
    pub(crate) fn fixed(settings: FixedSettings) -> Self {
        Self::Fixed(Arc::new(settings))
    }
}

impl FixedScheme {
    /// The word in the configuration.
    #[must_use]
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer",
            Self::Basic { .. } => "basic",
            Self::Header(_) => "header",
        }
    }
}
