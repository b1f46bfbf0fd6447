//! What `[upstreams.X]` says about requests. Plain data; `config` fills it in.

use http::{Method, StatusCode};

use super::pattern::{PathPattern, PathPrefix};

/// What may pass to an upstream, and what happens to it on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteSettings {
    /// Matched by whole segments on a reverse listener, and stripped.
    pub(crate) path_prefix: Option<PathPrefix>,
    /// Answers that name the upstream's own origin are told in the caller's terms.
    pub(crate) rewrite: bool,
    /// The paths of its origin that it covers; empty for all.
    pub(crate) paths: Vec<PathPattern>,
    /// What may pass; empty for everything.
    pub(crate) allow: Vec<AllowRule>,
    /// What happens to the caller's own `Authorization`.
    pub(crate) caller_authorization: CallerAuthorization,
    /// When a request is sent again with a new token.
    pub(crate) retry: RetrySettings,
    /// What happens when no token can be had.
    pub(crate) on_token_error: OnTokenError,
    /// What happens to a caller's `http://` for an `https` origin.
    pub(crate) http: HttpScheme,
    /// A credential may go out in clear.
    pub(crate) allow_plaintext: bool,
    /// The member of the token response that says which of the upstream's hosts to send requests to.
    pub(crate) origin_from: Option<String>,
    /// Tunnels to it are opened, where there is a local CA and a credential.
    pub(crate) intercept: bool,
    /// The callers that may use it; `None`: every one of the listener's.
    pub(crate) callers: Option<Vec<String>>,
    /// 429 above.
    pub(crate) requests_per_second: Option<u32>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            path_prefix: None,
            rewrite: true,
            paths: Vec::new(),
            allow: Vec::new(),
            caller_authorization: CallerAuthorization::Replace,
            retry: RetrySettings::default(),
            on_token_error: OnTokenError::Fail,
            http: HttpScheme::Upgrade,
            allow_plaintext: false,
            origin_from: None,
            intercept: true,
            callers: None,
            requests_per_second: None,
        }
    }
}

/// One entry of `allow`: a method **and** a path have to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowRule {
    /// Empty for every method.
    pub(crate) methods: Vec<Method>,
    /// Empty for every path.
    pub(crate) paths: Vec<PathPattern>,
}

/// `caller_authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerAuthorization {
    /// The credential's takes its place.
    Replace,
    /// The caller's goes through and nothing is injected.
    Keep,
    /// The request is refused with 400.
    Reject,
}

/// `retry = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// The statuses that mean "this token is no good".
    pub(crate) on: Vec<StatusCode>,
    /// Bytes of a request body that are kept for the replay.
    pub(crate) max_body: u64,
    /// False: the answer goes back as it is.
    pub(crate) enabled: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { on: vec![StatusCode::UNAUTHORIZED], max_body: 1024 * 1024, enabled: true }
    }
}

/// `on_token_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTokenError {
    /// 503 or 502.
    Fail,
    /// The request passes without a token, counted.
    Pass,
}

/// `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpScheme {
    /// It goes out as the origin's `https`.
    Upgrade,
    /// 403.
    Refuse,
}
