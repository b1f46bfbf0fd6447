//! Who may ask, how much, and for what.

pub(super) mod callers;
pub(super) mod forwarded;
pub(super) mod policy;
pub(super) mod rate;
pub(super) mod subject;
pub(super) mod unmatched;
