//! When a token is replaced. Plain data; `config` fills it in.

use std::time::Duration;

/// `refresh_ahead` and `default_lifetime`.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshSettings {
    /// The fraction of the lifetime after which a successor is asked for; `None` for `"off"`.
    pub ahead: Option<f64>,
    /// Lifetime of a token whose server does not say.
    pub default_lifetime: Duration,
    /// Refresh even while nobody uses the token (`required = true`); may be changed later, by `TokenCache::keep_fresh`.
    pub always: bool,
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self { ahead: Some(0.8), default_lifetime: Duration::from_secs(300), always: false }
    }
}
