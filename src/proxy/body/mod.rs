//! Bodies on their way through. Enums instead of boxes: a request without a body allocates nothing for it.

mod incoming;
pub(super) mod limit;
pub(super) mod replay;
pub(super) mod replay_memory;
pub(super) mod request;
pub(super) mod response;
