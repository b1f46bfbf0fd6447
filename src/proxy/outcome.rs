//! What a request came to, and what was done about a token that its upstream refused: as metrics, traces and the access log
//! call it.

pub(crate) use crate::telemetry::Outcome;

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
