//! When a token is replaced. Plain data; `config` fills it in.

use std::time::Duration;

use super::budget::Budget;

/// `refresh_ahead`, `default_lifetime`, `budget`.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshSettings {
    /// The fraction of the lifetime after which a successor is asked for; `None` for `"off"`.
    pub ahead: Option<f64>,
    /// Lifetime of a token whose server does not say.
    pub default_lifetime: Duration,
    /// Refresh even while nobody uses the token (`required = true`); may be changed later, by `TokenCache::refresh_always`.
    pub always: bool,
    /// The most token requests in a window; `None`: as many as it takes.
    pub budget: Option<Budget>,
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self { ahead: Some(0.8), default_lifetime: Duration::from_secs(300), always: false, budget: None }
    }
}
