//! A request's way through.
mod settings;

pub use settings::{AcceptedHosts, ForwardSettings, ListenerMode, PrivateAddresses, Unmatched};
