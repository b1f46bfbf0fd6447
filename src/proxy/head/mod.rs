//! What leaves a head on its way through, and what is put on.

pub(super) mod credential;
pub(super) mod hop_by_hop;
pub(super) mod rewrite;
pub(super) mod via;
