//! What `[credentials.X]` says about holding a token. How it is obtained is in `oauth`'s settings. Plain data.

use crate::oauth::OAuthSettings;
use crate::token::RefreshSettings;

/// One `[credentials.X]`.
#[derive(Debug, Clone)]
pub struct CredentialSettings {
    /// The name in `[credentials.NAME]`: the label of metrics and logs.
    pub name: String,
    /// How a token is obtained.
    pub oauth: OAuthSettings,
    /// When it is replaced.
    pub refresh: RefreshSettings,
    /// `/readyz` waits for it.
    pub required: bool,
}
