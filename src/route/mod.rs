//! Which requests get what.

pub(crate) mod fuzzing;
mod paths;
pub(crate) mod pattern;
mod permission;
mod reading;
mod settings;
mod table;

use std::sync::Arc;

use http::Method;

pub use paths::{NoRoute, PathTable, Selector};
pub(crate) use permission::Permission;
pub(crate) use settings::{AllowRule, CallerAuthorization, HttpScheme, OnTokenError, RetrySettings, RouteSettings};
pub use table::{Arrival, ForwardTable, Found, ReverseTable, TunnelPorts};

use self::permission::permitted;
use crate::credential::Credential;
use crate::rate::RateLimit;
use crate::renewal::Renewals;
use crate::upstream::Upstream;

/// An upstream with what is put on its requests and what may pass to it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Where requests go.
    pub(crate) upstream: Arc<Upstream>,
    /// What authorizes them; `None` passes them without.
    pub(crate) credential: Option<Arc<Credential>>,
    /// What may pass, and how.
    pub(crate) settings: Arc<RouteSettings>,
    /// What the upstream did with this credential's tokens.
    pub(crate) renewals: Arc<Renewals>,
    /// `requests_per_second`.
    pub(crate) rate: Option<RateLimit>,
}

impl Route {
    /// The upstream's name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.upstream.settings.name
    }

    /// Whether the `allow` rules let this pass.
    #[must_use]
    pub(crate) fn permits(&self, method: &Method, path: &str) -> Permission {
        if self.settings.allow.is_empty() { Permission::Granted } else { permitted(&self.settings.allow, method, path) }
    }

    /// Which requests of its origin it is for.
    #[must_use]
    pub(crate) fn selector(&self) -> Selector<'_> {
        let opened = self.credential.is_some() && self.settings.intercept;
        Selector { paths: &self.settings.paths, callers: self.settings.callers.as_deref(), opened }
    }
}
