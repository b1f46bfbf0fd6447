//! Why there is no token. One value is shared by all who waited for it.

use std::time::Duration;

/// A failed token request, or none made.
///
/// The text names the endpoint's host and the OAuth error; never a secret, a token or a response body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    /// What kind of failure: decides the status towards the caller and how soon to try again.
    pub kind: TokenErrorKind,
    /// The `error` member of an RFC 6749 section 5.2 answer, filtered to its own character set.
    pub code: Option<String>,
    /// A sentence for a person: what happened, lower case, no full stop; behind a semicolon the remedy, if one is known.
    pub message: String,
    /// What to do about it, for those who show it apart.
    pub remedy: Option<String>,
    /// The server's own `Retry-After`, or how long the remembered failure still stands.
    pub retry_after: Option<Duration>,
    /// What did not suit, where that is known.
    pub about: Option<About>,
    /// Seconds by which the server's clock is ahead of this machine's, where its answer had a `Date`.
    pub clock_skew: Option<i64>,
    /// The status of the server's answer, where there was one.
    pub status: Option<u16>,
}

/// What about a token request did not suit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The client: its id, its secret or key, or how they are sent. Another secret may do.
    Client,
    /// The certificate of the server.
    Certificate,
    /// The name that the server's certificate is for.
    CertificateName,
    /// What is spoken there: no TLS, or none that suits.
    Handshake,
    /// The proxy that the request was to go through.
    ParentProxy,
    /// That it was one of too many: the server answered 429.
    Rate,
    /// How many may be sent: none was.
    Budget,
}

/// The kinds of product and library interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenErrorKind {
    /// The authorization server refused: nothing changes until the configuration does.
    Permanent,
    /// Down, overloaded or unreachable: trying again can help.
    Transient,
    /// An answer that is none: HTML, a redirect, a token that may not enter a header.
    InvalidResponse,
    /// Nothing was sent: a secret cannot be read, an argument is blank.
    Configuration,
    /// The one who asked no longer wants it.
    Cancelled,
    /// No answer in time.
    Timeout,
    /// None was asked for: replicas that share their tokens have had as many because of 401s as may be.
    Held,
    /// None was asked for yet, as the shared cache is away and the token that there is lives long enough; or none at all, where there
    /// is no time to wait.
    PutOff,
}

impl TokenErrorKind {
    /// What a token request can end in. Of the others none is sent.
    pub(super) const OF_REQUESTS: [Self; 6] =
        [Self::Permanent, Self::Transient, Self::InvalidResponse, Self::Configuration, Self::Cancelled, Self::Timeout];

    /// The word in `token --json`, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::InvalidResponse => "invalid_response",
            Self::Configuration => "configuration",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Held => "held",
            Self::PutOff => "put_off",
        }
    }

    /// True where only a person can mend it, so that the back-off is long.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Permanent | Self::Configuration)
    }
}

impl TokenError {
    /// An error of this kind with a sentence.
    #[must_use]
    pub(crate) fn new(kind: TokenErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            remedy: None,
            retry_after: None,
            about: None,
            clock_skew: None,
            status: None,
        }
    }

    /// The same error with what to do about it, if that is known; behind what is known of it already. Its message ends with the
    /// whole.
    #[must_use]
    pub(crate) fn with_remedy<'a>(mut self, remedy: impl Into<Option<&'a str>>) -> Self {
        let Some(remedy) = remedy.into() else { return self };
        self.message = format!("{}; {remedy}", self.message);
        self.remedy = Some(match self.remedy {
            Some(before) => format!("{before}; {remedy}"),
            None => remedy.to_owned(),
        });
        self
    }

    /// The same error with the server's or attache's own `Retry-After`.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// The same error, of which it is known what it is about.
    #[must_use]
    pub(crate) const fn about(mut self, about: About) -> Self {
        self.about = Some(about);
        self
    }

    /// The control runtime is ending.
    pub(super) fn shut_down() -> Self {
        Self::new(TokenErrorKind::Cancelled, "the token request was ended by the shutdown")
    }

    /// The one who waited has waited long enough.
    pub(super) fn unanswered() -> Self {
        Self::new(TokenErrorKind::Timeout, "the token request has not been answered yet")
    }
}
