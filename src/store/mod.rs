//! A server of the Redis protocol: one connection, looked after in the background. Knows no token.

mod error;
mod settings;

pub(crate) use error::{Refusal, StoreError};
pub(crate) use settings::{SentinelSettings, StoreAddress, StoreSettings, StoreTlsSettings};
