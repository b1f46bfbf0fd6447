//! What a request came to, and what was done about a token that its upstream refused: as metrics, traces and the access log
//! call it.

use prometheus_client::metrics::counter::Counter;

use crate::telemetry::RouteMetrics;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Injected,
    /// `on_token_error = "pass"`.
    PassedWithoutToken,
    Passed,
    /// CONNECT, and what is opened in it.
    Tunneled,
    /// The caller's fault, or policy.
    Denied,
    /// Attache's, the authorization server's or the upstream's fault.
    Failed,
}

impl Outcome {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::PassedWithoutToken => "passed_without_token",
            Self::Passed => "passed",
            Self::Tunneled => "tunneled",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    pub(crate) const fn counter(self, metrics: &RouteMetrics) -> &Counter {
        match self {
            Self::Injected => &metrics.injected,
            Self::PassedWithoutToken => &metrics.passed_without_token,
            Self::Passed => &metrics.passed,
            Self::Tunneled => &metrics.tunneled,
            Self::Denied => &metrics.denied,
            Self::Failed => &metrics.failed,
        }
    }
}

/// What was done about a refused token (`attache_unauthorized_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnauthorizedOutcome {
    InsufficientScope,
    OtherScheme,
    /// `retry.enabled = false`, or a fixed credential that is what it was.
    Disabled,
    /// The refused token is too new to be replaced.
    FreshToken,
    TokenError,
    BodyTooLarge,
    RetriedOk,
    RetriedFailed,
    /// gRPC's trailers refused it: too late for another try.
    InTrailers,
}

impl UnauthorizedOutcome {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::InsufficientScope => "insufficient_scope",
            Self::OtherScheme => "other_scheme",
            Self::Disabled => "disabled",
            Self::FreshToken => "fresh_token",
            Self::TokenError => "token_error",
            Self::BodyTooLarge => "body_too_large",
            Self::RetriedOk => "retried_ok",
            Self::RetriedFailed => "retried_failed",
            Self::InTrailers => "in_trailers",
        }
    }
}
