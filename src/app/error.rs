//! Why attache does not start.

use std::io;

use crate::app::sources::BuildError;
use crate::listen::BindError;
use crate::secret::SecretError;

/// Why attache did not start: a sentence.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] StartFailure);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    /// A listening address.
    #[error("listener {name:?}: {error}")]
    Bind {
        /// The listener.
        name: String,
        /// What is wrong with it.
        error: BindError,
    },
    /// A socket of the service manager's that no listener takes.
    #[error("{0}")]
    Inherited(String),
    /// A trust store, secret or endpoint.
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("telemetry.otlp_endpoint: {0}")]
    Traces(String),
    /// `admin.token`.
    #[error("admin.token: {0}")]
    AdminToken(SecretError),
    /// The system refused a thread.
    #[error("a thread cannot be started, or the access log not opened: {0}")]
    Thread(#[from] io::Error),
}
