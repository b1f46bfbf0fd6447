//! Which requests get what.

pub mod pattern;
mod settings;
mod table;

use std::sync::Arc;

use http::Method;

pub use settings::{AllowRule, CallerAuthorization, HttpScheme, OnTokenError, RetrySettings, RouteSettings};
pub use table::{Arrival, ForwardTable, ReverseTable, TunnelPorts};

use crate::credential::Credential;
use crate::rate::RateLimit;
use crate::renewal::Renewals;
use crate::upstream::Upstream;

/// An upstream with what is put on its requests and what may pass to it.
#[derive(Debug)]
pub struct Route {
    /// Where requests go.
    pub upstream: Arc<Upstream>,
    /// What authorizes them; `None` passes them without.
    pub credential: Option<Arc<Credential>>,
    /// What may pass, and how.
    pub settings: RouteSettings,
    /// What the upstream did with this credential's tokens.
    pub renewals: Arc<Renewals>,
    /// `requests_per_second`.
    pub rate: Option<RateLimit>,
}

impl Route {
    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.upstream.settings.name
    }

    /// Whether the `allow` rules let this pass.
    #[must_use]
    pub fn permits(&self, method: &Method, path: &str) -> Permission {
        if self.settings.allow.is_empty() {
            return Permission::Granted;
        }
        if pattern::is_ambiguous(path) {
            return Permission::Ambiguous;
        }
        let covered = self.settings.allow.iter().any(|rule| {
            (rule.methods.is_empty() || rule.methods.contains(method))
                && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.covers(path)))
        });
        if covered { Permission::Granted } else { Permission::Denied }
    }
}

/// What the `allow` rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It passes.
    Granted,
    /// No rule covers it.
    Denied,
    /// The path can be read in two ways, so no rule can be relied on.
    Ambiguous,
}
