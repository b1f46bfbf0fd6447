//! The log: events on stderr, as text or JSON, by a filter that can be changed while the program runs.

mod error;
mod filter;
pub(crate) mod journal;

use std::sync::{Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

pub(crate) use self::error::LogError;
use self::journal::Stderr;
use crate::sync::lock;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: by which filter now, and by which from the next reload on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogFilter {
    /// In use.
    pub(crate) filter: String,
    /// Of the command line or the environment.
    pub(crate) configured: String,
}

/// The log of this process: there is one, as there is one stderr.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    layer: reload::Handle<Targets, Registry>,
    filter: Mutex<LogFilter>,
}

/// Sends events to stderr; stdout is for data.
///
/// # Errors
/// A filter that cannot be read, or a subscriber that is there already.
pub(crate) fn init(filter: &str, format: LogFormat, colour: bool) -> Result<(), LogError> {
    let (targets, handle) = reload::Layer::new(filter::parse(filter)?);
    let registry = tracing_subscriber::registry();
    let layer = fmt::layer().with_writer(Stderr::here()).with_ansi(colour);
    match format {
        LogFormat::Text => registry.with(layer.with_filter(targets)).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(targets)).try_init()?,
    }
    let filter = LogFilter { filter: filter.to_owned(), configured: filter.to_owned() };
    // The subscriber was installed by this call, so there was none before.
    let _first = LOG.set(Log { layer: handle, filter: Mutex::new(filter) });
    Ok(())
}

/// The filter in use; `None` where the log is another program's, which has this one as a library.
pub(crate) fn current() -> Option<LogFilter> {
    Some(lock(&LOG.get()?.filter).clone())
}

/// Logs by this filter from now on, until [`restore`]; gives the one before.
///
/// # Errors
/// [`LogError::Filter`]; [`LogError::Foreign`] where [`current`] is `None`.
pub(crate) fn change(filter: &str) -> Result<String, LogError> {
    let log = LOG.get().ok_or(LogError::Foreign)?;
    let targets = filter::parse(filter)?;
    let mut current = lock(&log.filter);
    log.layer.reload(targets).map_err(|_gone| LogError::Foreign)?;
    Ok(std::mem::replace(&mut current.filter, filter.to_owned()))
}

/// Logs by the configured filter again, if another one is in use, and says so.
pub(crate) fn restore() {
    let Some(LogFilter { filter, configured }) = current() else { return };
    if filter != configured && change(&configured).is_ok() {
        tracing::info!(target: "attache::telemetry", before = filter, filter = configured, "the configured log filter is in use again");
    }
}
