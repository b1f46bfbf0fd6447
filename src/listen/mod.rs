//! Sockets in.
mod settings;

pub use settings::{Limits, ListenAddress};
