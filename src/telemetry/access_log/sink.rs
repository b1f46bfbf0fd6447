//! Where lines are written: standard output, or a file that may be moved away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use super::settings::AccessLogTarget;

/// How often a file is looked at: one that was moved away by a rotation is opened anew.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Lines that are written in one go.
const MAX_LINES: usize = 8192;

pub(super) enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    pub(super) fn open(target: AccessLogTarget) -> io::Result<Self> {
        Ok(match target {
            AccessLogTarget::Stdout => Self::Stdout,
            AccessLogTarget::File(path) => Self::File { file: append(&path)?, path },
        })
    }

    pub(super) fn write_all(&mut self, waiting: &Receiver<String>) {
        let mut looked = SystemTime::now();
        loop {
            let mut batch = match waiting.recv_timeout(POLL_INTERVAL) {
                Ok(line) => line + "\n",
                Err(RecvTimeoutError::Timeout) => String::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for line in waiting.try_iter().take(MAX_LINES) {
                batch.push_str(&line);
                batch.push('\n');
            }
            if looked.elapsed().is_ok_and(|since| since >= POLL_INTERVAL) {
                self.reopen_if_moved();
                looked = SystemTime::now();
            }
            // Only this log could tell, which could not be written; the next lines may fare better.
            let _lost = match self {
                Self::Stdout => io::stdout().lock().write_all(batch.as_bytes()),
                Self::File { file, .. } => file.write_all(batch.as_bytes()),
            };
        }
    }

    pub(super) fn reopen_if_moved(&mut self) {
        let Self::File { path, file } = self else { return };
        if !is_same_file(file, path)
            && let Ok(anew) = append(path)
        {
            *file = anew;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}
