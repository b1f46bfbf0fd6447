//! What leaves a head on its way through, and what is put on.

pub(super) mod credential;
pub(super) mod hop_by_hop;
