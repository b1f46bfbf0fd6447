//! Why a program was not isolated, and so not started.

use std::io;

use super::super::child::StartError;
use crate::dial::InvalidAuthority;

/// Why there is no isolated program. It was not started otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IsolateError {
    #[error("--isolate: {what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error("--isolate: ip {command}: {said}")]
    Network { command: String, said: String },
    #[error("--isolate: an origin: {0}")]
    Origin(#[from] InvalidAuthority),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl IsolateError {
    pub(super) const fn at(what: &'static str, error: io::Error) -> Self {
        Self::System { what, error }
    }
}
