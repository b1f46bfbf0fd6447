//! When a 401 is worth a new token: the evidence, and the bounds. Knows no socket, no token and no HTTP.
//!
//! A 401 can mean that the token is dead, or that one server, one path or one caller's right is bad while the token is
//! fine. [`Renewals`] keeps what one upstream did with one credential's tokens, and decides; [`Pace`] bounds what all
//! upstreams of a credential may cost. docs/design.md has the rule in ten points.

mod decision;
mod evidence;
#[doc(hidden)]
pub(crate) mod fuzzing;
mod pace;
mod places;
mod renewals;
mod rule;

pub(crate) use decision::{Answer, Decision, RefusedToken};
pub(crate) use evidence::Evidence;
pub(crate) use pace::{Allowance, Pace};
pub(crate) use places::RequestPath;
pub(crate) use renewals::Renewals;
