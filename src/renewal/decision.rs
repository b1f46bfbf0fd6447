//! The words of the rule: what an upstream answers, how sure it is what that means, and what to do about it.

use super::evidence::Evidence;
use super::pace::Allowance;

/// What to do about a refused token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Another token is asked for, and the request sent again with it.
    Renew(Evidence),
    /// The request is sent again with the token that it had: another server of the same upstream may take it.
    SendAgain,
    /// The answer goes back.
    GiveBack,
}

/// What an upstream's answer says about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was good.
    Taken,
    Refused,
    /// Nothing: an error, a redirect, or an answer that needs no token.
    Neither,
}

/// What the credential says about the token that was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedToken {
    /// The token's number.
    pub(crate) generation: u64,
    /// It was itself obtained because of a 401, and no upstream has taken it yet: another one is hardly better.
    pub(crate) fresh: bool,
    /// What [`Pace`] has room for.
    pub(crate) allowance: Allowance,
}

/// What an acceptance tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acceptance {
    /// No token as new as this had been taken here.
    pub(crate) first: bool,
    /// A renewal on this evidence has helped, which could not be tried when it was made: see [`Pace::helped`].
    pub(crate) proved: Option<Evidence>,
}
