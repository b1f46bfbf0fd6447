//! What is made for people and editors: the schema, the reference, and a file to begin with.

pub(super) mod draft;
pub(super) mod keys;
pub(super) mod manual;
pub(super) mod reference;
pub(super) mod schema;
pub(super) mod starter;
