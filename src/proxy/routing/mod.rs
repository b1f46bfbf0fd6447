//! Where a request goes. Decided before anything is sent; `attache explain` asks the same question.

pub(super) mod choice;
pub(super) mod destination;
pub(super) mod forward;
mod resolve;
mod reverse;
mod target;
pub(super) mod token_origin;

pub(super) use resolve::resolve;
