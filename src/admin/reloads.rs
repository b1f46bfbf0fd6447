//! Reloads: how one is asked for, and the outcome of the last ones.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::sync::lock;

/// How many are remembered.
const MAX_HISTORY: usize = 20;

/// Where reloads are asked for and remembered; who carries them out holds the other end.
#[derive(Debug)]
pub(crate) struct Reloads {
    history: Mutex<VecDeque<Reload>>,
    waiting: Mutex<Option<WaitingFile>>,
    asked: mpsc::Sender<ReloadRequest>,
    last: watch::Sender<Option<Reload>>,
}

/// A caller asks for a reload, and waits for its outcome.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    /// Who asks.
    pub cause: ReloadCause,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Reload>,
}

/// A changed file that is not taken over by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingFile {
    /// Since when (RFC 3339).
    pub(crate) since: String,
    /// What in it decides where or how secrets are sent, one line for each thing.
    pub(crate) because: Vec<String>,
    /// How it is taken over.
    pub(crate) next_step: String,
}

/// How a file that waits is taken over.
pub(crate) const TAKE_IT: &str =
    "a changed file alone does not decide where secrets go: take it with SIGHUP, `attache reload` or a restart";

/// Why the configuration is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadCause {
    /// SIGHUP.
    Signal,
    /// The file has changed.
    File,
    /// `POST /api/reload`.
    Api,
    /// One of a later version.
    #[serde(other)]
    Other,
}

impl fmt::Display for ReloadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "signal",
            Self::File => "file",
            Self::Api => "api",
            Self::Other => "other",
        })
    }
}

/// The outcome of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When (RFC 3339).
    pub at: String,
    /// Why.
    pub cause: ReloadCause,
    /// True if the new configuration is live; otherwise the old one still is.
    pub ok: bool,
    /// What is different now, one line for each thing.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Why it was refused: all problems of the file, as `attache check` tells them.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl Reload {
    /// The new configuration is live.
    #[must_use]
    pub fn done(cause: ReloadCause, changes: Vec<String>) -> Self {
        Self { at: now(), cause, ok: true, changes, problems: Vec::new() }
    }

    /// The old configuration stays.
    #[must_use]
    pub fn refused(cause: ReloadCause, problems: Vec<String>) -> Self {
        Self { at: now(), cause, ok: false, changes: Vec::new(), problems }
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

impl Reloads {
    /// The two ends.
    #[must_use]
    pub(crate) fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (asked, requests) = mpsc::channel(4);
        (Self { history: Mutex::default(), waiting: Mutex::default(), asked, last: watch::Sender::default() }, requests)
    }

    /// Has the configuration read again, and waits for the outcome.
    pub(crate) async fn ask(&self, cause: ReloadCause) -> Reload {
        let (answer, outcome) = oneshot::channel();
        let stopping = |()| Reload::refused(cause, vec!["attache is stopping".to_owned()]);
        if self.asked.send(ReloadRequest { cause, answer }).await.is_err() {
            return stopping(());
        }
        outcome.await.unwrap_or_else(|_stopped| stopping(()))
    }

    /// Remembers an outcome.
    pub(crate) fn remember(&self, reload: Reload) {
        let mut history = lock(&self.history);
        self.last.send_replace(Some(reload.clone()));
        history.push_front(reload);
        history.truncate(MAX_HISTORY);
    }

    /// Remembers why a changed file is not taken over by itself; nothing, if there is no such file any more.
    pub(crate) fn wait(&self, because: Vec<String>) {
        *lock(&self.waiting) =
            (!because.is_empty()).then(|| WaitingFile { since: now(), because, next_step: TAKE_IT.to_owned() });
    }

    /// Sees each outcome, as long as it looks in time.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Reload>> {
        self.last.subscribe()
    }

    #[must_use]
    pub(crate) fn waiting(&self) -> Option<WaitingFile> {
        lock(&self.waiting).clone()
    }

    /// The last ones, the newest first.
    #[must_use]
    pub(crate) fn history(&self) -> Vec<Reload> {
        lock(&self.history).iter().cloned().collect()
    }
}
