//! Why there is no log, or not by that filter.

use tracing_subscriber::util::TryInitError;

/// Why there is no logging, or not by that filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// `--log`, `ATTACHE_LOG` or what came later is no filter.
    #[error("{0:?} is no log filter; write a level such as \"info\", or targets such as \"warn,attache::token=debug\"")]
    Filter(String),
    /// Another subscriber is installed.
    #[error("logging cannot be started: {0}")]
    Taken(#[from] TryInitError),
    /// There is no log of attache's own.
    #[error("the log is that of the program that attache is a part of; change its level there")]
    Foreign,
}
