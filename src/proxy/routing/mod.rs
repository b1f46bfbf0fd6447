//! Where a request goes.

pub(super) mod choice;
pub(super) mod destination;
pub(super) mod forward;
pub(super) mod reverse;
pub(super) mod target;
pub(super) mod token_origin;
