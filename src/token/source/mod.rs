//! What a token source is asked and gives: the one trait between holding tokens and obtaining them.

mod ask;
mod shared;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use self::ask::Held;
pub use self::ask::{Ask, Why};
pub use self::shared::{Shared, TokenOrigin};
use super::error::TokenError;
use crate::secret::Secret;

/// Where tokens come from. A trait, because tests script it.
pub trait TokenSource: Send + Sync + 'static {
    /// Comes by a token, by one token request at most. Has its own deadline; never waits for ever.
    fn fetch(&self, ask: Ask) -> Fetching<'_>;

    /// Host and port of the server that is asked, where there is one.
    fn server(&self) -> Option<(&str, u16)> {
        None
    }

    /// An upstream has taken a token that was obtained because of a 401.
    fn accepted(&self, _token: &Shared) {}
}

/// A token on its way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<FetchedToken, TokenError>> + Send + 'a>>;

/// A successful answer (RFC 6749 section 5.1), checked.
#[derive(Debug)]
pub struct FetchedToken {
    /// It may enter a header: `judge_token`.
    pub access_token: Secret,
    /// How it is presented.
    pub token_type: TokenType,
    /// What the server said about its life.
    pub expires: Expires,
    /// It is not used longer than this, whatever the server said: what it was obtained for ends then.
    pub not_after: Option<SystemTime>,
    /// `scope`, if the server sent one.
    pub scope: Option<String>,
    /// What was asked for and is not in `scope`; empty where the server did not say.
    pub missing_scope: Vec<String>,
    /// The server's clock, from `Date`: for reporting skew, never for extending a life.
    pub server_date: Option<SystemTime>,
    /// When the request was **sent**: lifetimes count from here, so that a slow answer never extends a token.
    pub requested_at: Instant,
    /// How old the token was then: nothing, unless it was obtained by another.
    pub age: Duration,
    /// Its standing among the replicas of a fleet, if it is one of theirs.
    pub shared: Option<Shared>,
    /// What is told to people and to routes.
    pub detail: FetchDetail,
}

impl FetchedToken {
    /// A bearer token that has just come to a request of that moment, of which nothing else was said.
    #[must_use]
    pub fn bearer(access_token: Secret, expires: Expires, requested_at: Instant) -> Self {
        Self {
            access_token,
            token_type: TokenType::Bearer,
            expires,
            not_after: None,
            scope: None,
            missing_scope: Vec::new(),
            server_date: None,
            requested_at,
            age: Duration::ZERO,
            shared: None,
            detail: FetchDetail::default(),
        }
    }
}

/// What an answer brought besides the token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchDetail {
    /// Which of several secrets the server took; `None` where there is only one.
    pub proven_by: Option<String>,
    /// Text members of the answer that were asked for, by name.
    pub members: Vec<(String, String)>,
    /// The status of the answer.
    pub status: Option<u16>,
}

/// `token_type`, in any case (RFC 6749 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// RFC 6750.
    Bearer,
    /// RFC 9449.
    DPoP,
    /// One that attache does not know: for a credential alone whose `inject` says how it is presented.
    Unknown,
}

impl TokenType {
    /// The authentication scheme in its registered spelling: Bearer also where the type is not known, because that is what
    /// nearly every program takes it for.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer | Self::Unknown => "Bearer",
            Self::DPoP => "DPoP",
        }
    }
}

/// How long a token lives, in the server's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// `expires_in`; zero or less is zero: for those who wait on it only.
    In(Duration),
    /// No `expires_in`, but the token is a JWT with this `exp`.
    At(SystemTime),
    /// Neither: the configured default stands.
    Unsaid,
}
