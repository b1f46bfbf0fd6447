//! One identity's token, as all requests share it.
//!
//! The fields are here and are the room's own. What is done with them goes upwards from file to file: `request` makes one token
//! request, `repeated` makes what one flight does of it, `refresh` has one flight at a time, and `obtain` is what requests call.

mod forced;
mod obtain;
mod policy;
mod refresh;
mod renew;
mod repeated;
mod request;
mod shared;
mod state;
mod status;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

pub(crate) use self::policy::Acquired;
pub use self::policy::CachePolicy;
use self::state::RefreshState;
pub(crate) use self::state::held;
pub(crate) use self::status::TokenStatus;
use super::access_token::AccessToken;
use super::budget::Spent;
use super::clock::Clock;
use super::control::{self, Control};
use super::metrics::TokenMetrics;
use super::requests::TokenRequests;
use super::settings::RefreshSettings;
use super::source::TokenSource;

/// Holds one access token, shared by all requests with the same identity.
///
/// Reading is one snapshot load. A caller that finds no usable token joins the one token request in flight, which runs in a task
/// of its own on the control runtime: a caller that goes away takes nothing with it.
pub struct TokenCache {
    name: String,
    snapshot: ArcSwapOption<AccessToken>,
    refresh: Mutex<RefreshState>,
    source: Box<dyn TokenSource>,
    settings: RefreshSettings,
    /// Refreshed even while nobody uses the token.
    always: AtomicBool,
    /// The newest token that an upstream has taken.
    accepted: AtomicU64,
    waiters: AtomicUsize,
    /// Refreshes that were forced lately.
    forced: Spent,
    clock: Clock,
    control: Control,
    metrics: TokenMetrics,
}

impl TokenCache {
    /// An empty cache. `name` labels its logs and metrics; token requests run on `control`.
    #[must_use]
    pub fn new(
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        control: Handle,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        Self::sharing_budget(Spent::default(), name, source, settings, clock, control, metrics)
    }

    /// The same, with a budget that it shares with others.
    #[must_use]
    pub(crate) fn sharing_budget(
        spent: Spent,
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        control: impl Into<Control>,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        let requests = TokenRequests::new(name, source, settings.clone(), spent, clock.clone(), metrics.clone());
        Self::over(name, Box::new(requests), settings, clock, control, metrics)
    }

    /// The same over a source that counts its requests itself, where it sends any.
    #[must_use]
    pub(crate) fn over(
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        clock: Clock,
        control: impl Into<Control>,
        metrics: TokenMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            snapshot: ArcSwapOption::empty(),
            refresh: Mutex::default(),
            source,
            always: AtomicBool::new(settings.always),
            accepted: AtomicU64::new(0),
            waiters: AtomicUsize::new(0),
            forced: Spent::default(),
            settings,
            clock,
            control: control.into(),
            metrics,
        })
    }

    /// What it is called in logs and metrics.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, RefreshState> {
        control::lock(&self.refresh)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for TokenCache {
    fn drop(&mut self) {
        if let Some(timer) = self.lock().timer.take() {
            timer.abort();
        }
    }
}
